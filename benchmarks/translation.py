"""What the translator reaches within forty minutes on small_parallel_enja, with attention and without.

    python benchmarks/translation.py [--directions en-ja,ja-en] [--decoders bahdanau_gru,gru] [--max-minutes M]
                                     [--runs FOLDER]

50,000 sentence pairs of 4 to 16 words, tokens as given; BLEU of the 500 test sentences with sacrebleu's signature and a
bootstrap interval, and by the length of the source. `gru` is the same network without attention. The options are those
of benchmarks/configs/small_parallel_enja.yaml. A run's result takes the place of the one that the same direction and
decoder had. The data is looked for in $GATEWORK_DATA.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from commands import DATA, HERE, gatework, write_result
from machine import machine
from sacrebleu.metrics import BLEU

CORPUS = DATA / "translation" / "small_parallel_enja"
CONFIG = "small_parallel_enja.yaml"
RESAMPLES = 1000
LENGTHS = ((1, 6), (7, 9), (10, 12), (13, 99))  # words of the source


def lines(name: str) -> list[str]:
    return gzip.decompress((CORPUS / f"{name}.gz").read_bytes()).decode().splitlines()


def bleu(outputs: list[str], references: list[str]) -> dict[str, Any]:
    """BLEU of tokens as given, with the interval of 95 % of the resampled test sets."""
    metric = BLEU(tokenize="none", force=True)
    score = metric.corpus_score(outputs, [references], n_bootstrap=RESAMPLES)
    return {
        "bleu": score.score,
        "interval": [score._mean - score._ci, score._mean + score._ci],
        "sentences": len(outputs),
        "signature": str(metric.get_signature()),
    }


def measure(source: str, target: str, decoder: str, runs: Path, max_minutes: float | None) -> dict[str, Any]:
    """Train in one direction and translate the test sentences."""
    folder = runs / f"{source}_{target}_{decoder}"
    folder.mkdir(parents=True)
    shutil.copyfile(HERE / "configs" / CONFIG, folder / CONFIG)
    for part in ("train", "dev", "test"):
        for side in (source, target):
            shutil.copyfile(CORPUS / f"{part}.{side}.gz", folder / f"{part}.{side}.gz")
    limit = [] if max_minutes is None else ["--max-minutes", str(max_minutes)]
    begun = time.monotonic()
    trained, shown = gatework(
        "train", "translator", f"train.{source}.gz", f"train.{target}.gz",
        "--valid", f"dev.{source}.gz", "--valid", f"dev.{target}.gz",
        "--config", CONFIG, "--set", f"decoder_cell={decoder}", *limit, "--out", "run", folder=folder,
    )  # fmt: skip
    seconds = time.monotonic() - begun
    print(shown)
    evaluated, figures = gatework(
        "evaluate", "run", f"test.{source}.gz", f"test.{target}.gz", "--json", folder=folder
    )
    predicted, records = gatework("predict", "run", f"test.{source}.gz", folder=folder)
    outputs = [json.loads(record)["output"] for record in records.splitlines()]
    sources, references = lines(f"test.{source}"), lines(f"test.{target}")
    by_length = {}
    for low, high in LENGTHS:
        some = [n for n, text in enumerate(sources) if low <= len(text.split()) <= high]
        if some:
            scored = bleu([outputs[n] for n in some], [references[n] for n in some])
            by_length[f"{low}-{high}"] = {key: scored[key] for key in ("bleu", "interval", "sentences")}
    history = [json.loads(line) for line in (folder / "run" / "history.jsonl").read_text().splitlines()]
    result = {
        "direction": f"{source}-{target}",
        "decoder": decoder,
        "commands": [trained, evaluated, predicted],
        "training_seconds": round(seconds, 1),
        "figures": json.loads(figures),
        "test": bleu(outputs, references),
        "by_source_length": by_length,
        "validations": [record for record in history if record["kind"] == "validation"],
        "machine": machine(),
    }
    print(
        json.dumps(
            {key: result[key] for key in ("direction", "decoder", "test", "by_source_length")}, indent=1
        )
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directions", default="en-ja,ja-en")
    parser.add_argument("--decoders", default="bahdanau_gru,gru")
    parser.add_argument("--max-minutes", type=float, help="of training, instead of the configuration's")
    parser.add_argument("--runs", type=Path, help="where to keep the runs; else they are removed")
    arguments = parser.parse_args()
    if not CORPUS.is_dir():
        parser.error(f"there is no data in {CORPUS}: set GATEWORK_DATA")
    path = HERE / "results" / "translation.json"
    kept = json.loads(path.read_text())["results"] if path.exists() else []
    results = {(result["direction"], result["decoder"]): result for result in kept}
    with tempfile.TemporaryDirectory() as temporary:
        for direction in arguments.directions.split(","):
            source, target = direction.split("-")
            for decoder in arguments.decoders.split(","):
                runs = arguments.runs or Path(temporary)
                results[direction, decoder] = measure(source, target, decoder, runs, arguments.max_minutes)
    config = (HERE / "configs" / CONFIG).read_text()
    write_result("translation", {"config": config, "results": list(results.values())})


if __name__ == "__main__":
    main()
