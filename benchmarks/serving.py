"""The service under load, from a second process on loopback: latencies, throughput beside LitServe, streams, rubbish.

    python benchmarks/serving.py [--seconds 60] [--parts load,litserve,streams,malformed]

The runs are small ones of made-up data: what is measured is how requests are answered together, beside how long one
client alone waits. Every answer is compared with `predict` before anything is timed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from commands import write_result
from machine import machine

import gatework as gw

HERE = Path(__file__).resolve().parent
CLIENTS = 64
STREAMS = 200
IDLE = 1000
KINDS = ("schemas", "requests", "frames", "bytes")  # of what is malformed
ROUNDS = 3  # of a contestant in the comparison, in turns
TEXT = "the film was long and slow but its music and light were lovely in a way that few are now"
WORDS = TEXT.split(" ")


def make_runs(folder: Path) -> dict[str, Path]:
    """A classifier and a language model of ordinary sizes, trained for a few steps."""
    texts = [" ".join(WORDS[n % 7 : n % 7 + 12]) for n in range(400)]
    rows = [{"text": text, "label": "good" if n % 2 else "bad"} for n, text in enumerate(texts)]
    classifier, language_model = folder / "classifier", folder / "language-model"
    gw.Classifier(max_steps=20, device="cpu", rivals=False).fit(rows, valid=rows[:20], out=classifier)
    gw.LanguageModel(max_steps=20, device="cpu", hidden_size=256, ngram_order=2).fit(
        [{"text": text} for text in texts], out=language_model
    )
    return {"classifier": classifier, "language-model": language_model}


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[tuple[str, int]]:
    """A server as a process of its own, while inside: its address and its process id."""
    environment = {
        **os.environ,
        "OMP_WAIT_POLICY": "PASSIVE",
    }  # as gatework has it by itself: the peer has it too
    command = [sys.executable, *arguments]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    reader = None
    try:
        for line in process.stderr or ():
            if found := re.search(r"(http://[\d.]+:\d+)", line):
                break
        else:
            raise SystemExit(f"{arguments} did not start")
        with open(os.devnull, "w") as nothing:  # nobody waits for what it prints
            reader = subprocess.Popen(["cat"], stdin=process.stderr, stdout=nothing)
        deadline = time.monotonic() + 240
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(found[1]).status_code < 500:
                    break
            if time.monotonic() > deadline:
                raise SystemExit(f"{arguments} does not answer")
            time.sleep(0.2)
        yield found[1], process.pid
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(40)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it started and left behind
        process.wait(10)
        if reader is not None:
            reader.wait(10)


def client(*arguments: object) -> dict[str, Any]:
    """What `serving_client.py` measured, in a process of its own."""
    command = [sys.executable, str(HERE / "serving_client.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def resident_mib(pid: int) -> float:
    """Memory of a process, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return round(int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024, 1)


def served(runs: dict[str, Path], *more: str) -> contextlib.AbstractContextManager[tuple[str, int]]:
    return started("-m", "gatework", "serve", *map(str, runs.values()), "--port", "0", *more)


def check(url: str, runs: dict[str, Path], texts: list[str]) -> None:
    """Answers are those of `predict`."""
    expected = gw.load(runs["classifier"]).predict(texts)
    answer = httpx.post(f"{url}/v1/runs/classifier/predict", json={"inputs": texts}, timeout=60)
    for record, own in zip(answer.json()["records"], expected, strict=True):
        if record["output"] != own["output"] or abs(record["probability"] - own["probability"]) > 1e-5:
            sys.exit(f"the service answers {record}, and predict {own}")


def load(runs: dict[str, Path], seconds: float) -> dict[str, Any]:
    """One client, then many, and the server's memory before and after."""
    text = TEXT
    with served(runs) as (url, pid):
        check(url, runs, [text, "a lovely film"])
        path, body = "/v1/runs/classifier/predict", json.dumps({"inputs": [text]})
        client("load", url, path, body, CLIENTS, 2)  # compiles what is compiled once
        before = resident_mib(pid)
        one = client("load", url, path, body, 1, min(seconds, 15))
        many = client("load", url, path, body, CLIENTS, seconds)
        metrics = httpx.get(f"{url}/metrics").text
        inputs, batches = (
            float(re.findall(rf'batch_inputs_{kind}{{run="classifier"}} (\S+)', metrics)[0])
            for kind in ("sum", "count")
        )
        return {
            "one_client": one,
            f"{CLIENTS}_clients": many,
            "inputs_a_batch": round(inputs / batches, 1),
            "resident_mib": {"before": before, "after": resident_mib(pid)},
        }


def litserve(runs: dict[str, Path], seconds: float) -> dict[str, Any]:
    """Throughput of many clients, in turns with LitServe, which calls the same `predict` with batches of as many."""
    text = TEXT
    peer = [str(HERE / "serving_peer.py"), str(runs["classifier"])]
    ours: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    body, other = json.dumps({"inputs": [text]}), json.dumps({"input": text})
    with served(runs) as (url, _), started(*peer) as (peer_url, _):
        own = httpx.post(f"{url}/v1/runs/classifier/predict", content=body).json()["records"][0]
        deadline = time.monotonic() + 60
        while "output" not in (
            answer := httpx.post(f"{peer_url}/predict", json=json.loads(other), timeout=60).json()
        ):
            if time.monotonic() > deadline:  # its workers load the run after it has begun to listen
                sys.exit(f"LitServe answers {answer}")
            time.sleep(0.2)
        if answer["output"] != own["output"] or abs(answer["probability"] - own["probability"]) > 1e-5:
            sys.exit(f"LitServe answers {answer}, and the service {own}")
        for _ in range(ROUNDS):
            ours.append(client("load", url, "/v1/runs/classifier/predict", body, CLIENTS, seconds))
            theirs.append(client("load", peer_url, "/predict", other, CLIENTS, seconds))
    ratios = [a["answers_a_second"] / b["answers_a_second"] for a, b in zip(ours, theirs, strict=True)]
    return {
        "gatework": ours,
        "litserve": theirs,
        "ratio": round(statistics.median(ratios), 2),
        "ratios": ratios,
    }


def streams(runs: dict[str, Path]) -> dict[str, Any]:
    """One stream, then many at once: each completes a text, token by token."""
    with served(runs) as (url, pid):
        client("streams", url, 2, 20)
        before = resident_mib(pid)
        return {
            "one_stream": client("streams", url, 1, 100),
            f"{STREAMS}_streams": client("streams", url, STREAMS, 100),
            f"{IDLE}_idle_streams": client("idle", url, IDLE, pid),
            "resident_mib": {"before": before, "after": resident_mib(pid)},
        }


def malformed(runs: dict[str, Path], count: int) -> dict[str, Any]:
    """Rubbish of four kinds at once, in two rounds, with the server's memory after each; then it answers as before."""
    share = -(-count // (2 * len(KINDS)))
    with served(runs) as (url, pid):
        check(url, runs, ["a lovely film"])
        memory = {"before": resident_mib(pid)}
        rounds: list[dict[str, Any]] = []
        for seed in (1, 2):  # the second one shows whether memory grows with what is sent
            with ThreadPoolExecutor(len(KINDS)) as pool:
                each = [pool.submit(client, "malformed", url, kind, share, seed) for kind in KINDS]
                found = {kind: sent.result() for kind, sent in zip(KINDS, each, strict=True)}
            memory[f"after_round_{seed}"] = resident_mib(pid)
            rounds.append(found)
        check(url, runs, ["a lovely film"])
        every = [each for found in rounds for each in found.values()]
        totals = {name: sum(each[name] for each in every) for name in ("sent", "refused", "server_errors")}
        return {**totals, "rounds": rounds, "resident_mib": memory}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="of the load of many clients")
    parser.add_argument("--parts", default="load,litserve,streams,malformed")
    parser.add_argument("--malformed", type=int, default=12_000, help="requests and frames that are spoiled")
    chosen = parser.parse_args()
    path = HERE / "results" / "serving.json"
    result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        runs = make_runs(Path(folder))
        measures = {
            "load": lambda: load(runs, chosen.seconds),
            "litserve": lambda: litserve(runs, min(chosen.seconds, 15)),
            "streams": lambda: streams(runs),
            "malformed": lambda: malformed(runs, chosen.malformed),
        }
        for part in chosen.parts.split(","):
            described = machine()  # each part with the load that it found
            result[part] = measures[part]() | {"machine": described}
            print(json.dumps(result[part], indent=2))
            write_result("serving", result)


if __name__ == "__main__":
    main()
