"""Whether what a report names as the reason of an answer is it: the named steps are left out, and as many others.

    gatework demo                                          # into runs/demo: a translator of dates
    python benchmarks/reasons.py runs/demo [--inputs 100]

Dates of days that the run has not seen are given to `model.inspect`, as a person does. Of every outcome that a report
explains (the whole translation, and each of its first five characters) it is noted by how much its log-probability
changes without the tenth of the steps that the report names, and by how much on average without as many others.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from commands import write_result
from machine import machine

import gatework as gw
from gatework.cli.demos.dates import dates, split_days
from gatework.inspect import Reason

WHOLE = "the whole translation"


def changes(reason: Reason) -> tuple[float, float]:
    """Of an outcome in nats: without the steps that are named, and on average without as many others."""
    others = [abs(value - reason.value) for value in reason.without_others]
    return abs(reason.without - reason.value), statistics.fmean(others)


def summary(found: list[tuple[float, float]]) -> dict[str, Any]:
    """How often the named steps change an outcome more than others, and the medians of both."""
    return {
        "outcomes": len(found),
        "named_change_more": sum(named > others for named, others in found),
        "median_named_nats": round(statistics.median(named for named, _ in found), 4),
        "median_others_nats": round(statistics.median(others for _, others in found), 6),
    }


def measure(model: Any, inputs: list[str]) -> dict[str, Any]:
    """Of reports of inputs; kinds of outcomes apart."""
    kinds: dict[str, list[tuple[float, float]]] = {WHOLE: [], "a character": []}
    seconds = []
    for text in inputs:
        began = time.perf_counter()
        whole, *characters = model.inspect(text).reasons
        seconds.append(time.perf_counter() - began)
        kinds[WHOLE].append(changes(whole))
        kinds["a character"] += [changes(each) for each in characters]
    results = {kind: summary(found) for kind, found in kinds.items()}
    return {"inputs": len(inputs), "results": results, "median_seconds": round(statistics.median(seconds), 2)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the folder of `gatework demo`")
    parser.add_argument("--inputs", type=int, default=100)
    given = parser.parse_args()
    unseen = split_days()[2]
    texts = [row["source"] for row in dates(given.inputs, unseen, seed=4)]
    found = measure(gw.load(given.run), texts)
    print(found)
    write_result("reasons", {"machine": machine(), **found})
