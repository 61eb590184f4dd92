"""JoeyNMT's time for the sizes of benchmarks/configs/small_parallel_enja.yaml: training, greedy search and a beam of 5.

    python benchmarks/joeynmt_speed.py PYTHON [--updates 150]

PYTHON is the interpreter of an environment that has JoeyNMT (`pip install torch==2.13.0 joeynmt importlib_metadata`);
it is measured in processes of its own, and by what it logs. Its recurrent decoder reads the last attentional vector
again and has a projection more than ours, so that this is the nearest configuration rather than the same model. A model
trained this shortly does not know where to end: its searches run for a fixed number of steps.
"""

from __future__ import annotations

import argparse
import gzip
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from commands import DATA, write_result
from machine import machine

CORPUS = DATA / "translation" / "small_parallel_enja"
LONGEST, SENTENCES = 20, 500


def configuration(folder: Path, updates: int) -> dict[str, Any]:
    side = {"level": "word", "voc_min_freq": 2, "max_length": 100}
    return {
        "name": "enja",
        "model_dir": str(folder / "model"),
        "use_cuda": False,
        "data": {
            "train": str(folder / "train"),
            "dev": str(folder / "dev"),
            "test": str(folder / "test"),
            "dataset_type": "plain",
            "src": {"lang": "en", **side},
            "trg": {"lang": "ja", **side},
        },
        "training": {
            "optimizer": "adamw",
            "scheduling": "exponential",
            "learning_rate": 0.002,
            "label_smoothing": 0.1,
            "clip_grad_norm": 1.0,
            "batch_size": 2000,
            "batch_type": "token",
            "epochs": 10,
            "updates": updates,
            "logging_freq": 25,
            "validation_freq": updates,
            "early_stopping_metric": "loss",
            "overwrite": True,
        },
        "testing": {
            "beam_size": 1,
            "batch_size": 64,
            "batch_type": "sentence",
            "max_output_length": LONGEST,
            "min_output_length": LONGEST,
        },
        "model": {
            "initializer": "xavier_uniform",
            "bias_initializer": "zeros",
            "embed_initializer": "xavier_uniform",
            "encoder": {
                "type": "recurrent", "rnn_type": "gru", "bidirectional": True, "num_layers": 1, "dropout": 0.3,
                "hidden_size": 256, "embeddings": {"embedding_dim": 256, "dropout": 0.3},
            },
            "decoder": {
                "type": "recurrent", "rnn_type": "gru", "num_layers": 1, "dropout": 0.3, "hidden_size": 256,
                "input_feeding": True, "hidden_dropout": 0.3, "init_hidden": "bridge", "attention": "bahdanau",
                "embeddings": {"embedding_dim": 256, "dropout": 0.3},
            },
        },
    }  # fmt: skip


def joey(python: str, mode: str, config: Path) -> str:
    """Runs it, and gives its log."""
    done = subprocess.run(
        [python, "-m", "joeynmt", mode, str(config), "--skip-test"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout + done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python")
    parser.add_argument("--updates", type=int, default=150)
    arguments = parser.parse_args()
    if not CORPUS.is_dir():
        parser.error(f"there is no data in {CORPUS}: set GATEWORK_DATA")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for part in ("train", "dev", "test"):
            for side in ("en", "ja"):
                lines = gzip.decompress((CORPUS / f"{part}.{side}.gz").read_bytes()).decode().splitlines()
                kept = lines if part == "train" else lines[:SENTENCES]
                (folder / f"{part}.{side}").write_text("\n".join(kept) + "\n")
        config = folder / "config.yaml"
        written = configuration(folder, arguments.updates)
        config.write_text(yaml.safe_dump(written))
        log = joey(arguments.python, "train", config)
        speeds = [float(found) for found in re.findall(r"Tokens per Sec:\s+([\d.]+)", log)]
        result: dict[str, Any] = {"target_tokens_per_second": statistics.median(speeds[1:]), "logged": speeds}
        written["testing"]["load_model"] = str(folder / "model" / "best.ckpt")
        for name, beam in (("greedy", 1), ("beam", 5)):
            written["testing"]["beam_size"] = beam
            config.write_text(yaml.safe_dump(written))
            log = joey(arguments.python, "test", config)
            seconds = [float(found) for found in re.findall(r"Generation took ([\d.]+)", log)]
            result[f"{name}_seconds"] = seconds[-1]
    result |= {"sentences": SENTENCES, "steps": LONGEST}
    print(result)
    version = subprocess.run(
        [arguments.python, "-c", "from importlib.metadata import version; print(version('joeynmt'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    write_result(
        "joeynmt_speed", {"joeynmt": version.stdout.strip(), "results": result, "machine": machine()}
    )


if __name__ == "__main__":
    main()
