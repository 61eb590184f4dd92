"""A chat bot on CamRest676: its figures, and a conversation with it.

    python benchmarks/chat.py [--max-minutes M] [--runs FOLDER]

676 dialogues, split 3 : 1 : 1 in the order of the file, as the corpus' own configuration does; the text is as people
wrote it, nothing is delexicalised. The data is looked for in $GATEWORK_DATA.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import tempfile
from pathlib import Path

from commands import DATA, HERE, gatework, write_result
from machine import machine

CORPUS = DATA / "chat" / "camrest676" / "CamRest676.json.gz"
CONFIG = "camrest676.yaml"
SAID = (
    "Hello, I am looking for a cheap restaurant in the north part of town.",
    "What is the phone number?",
    "And the address?",
    "Thank you, goodbye.",
    "/reset",
    "I want an expensive place that serves Italian food.",
    "Any area is fine.",
    "Can I have the post code, please?",
    "Thanks, bye!",
    "/reset",
    "Tell me a joke about penguins.",
)


def dialogues() -> list[list[str]]:
    """The turns of each dialogue, the user's and the system's."""
    text = gzip.decompress(CORPUS.read_bytes()).decode()
    body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return [
        [said for turn in each["dial"] for said in (turn["usr"]["transcript"], turn["sys"]["sent"])]
        for each in json.loads(body)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--max-minutes", type=float, help="for a trial: nothing is kept")
    parser.add_argument("--runs", type=Path, help="where to keep the run; else it is removed")
    arguments = parser.parse_args()
    if not CORPUS.exists():
        parser.error(f"there is no data in {CORPUS}: set GATEWORK_DATA")
    every = dialogues()
    cuts = {"train": (0, 3), "valid": (3, 4), "test": (4, 5)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.runs or Path(temporary)) / "camrest676"
        folder.mkdir(parents=True)
        for part, (first, last) in cuts.items():
            some = every[len(every) * first // 5 : len(every) * last // 5]
            rows = (json.dumps({"turns": turns}, ensure_ascii=False) + "\n" for turns in some)
            (folder / f"{part}.jsonl").write_text("".join(rows))
        shutil.copyfile(HERE / "configs" / CONFIG, folder / CONFIG)
        limit = [] if arguments.max_minutes is None else ["--max-minutes", str(arguments.max_minutes)]
        trained, shown = gatework(
            "train", "chatbot", "train.jsonl", "--valid", "valid.jsonl", "--config", CONFIG, *limit,
            "--out", "run", folder=folder,
        )  # fmt: skip
        print(shown)
        evaluated, figures = gatework("evaluate", "run", "test.jsonl", "--json", folder=folder)
        print(figures)
        chatted, replies = gatework("chat", "run", folder=folder, given="\n".join(SAID))
    transcript = []
    for said, replied in zip(SAID, replies.splitlines(), strict=True):
        transcript += ["---"] if said == "/reset" else [f"you: {said}", f"bot: {replied}"]
    print("\n".join(transcript))
    if arguments.max_minutes is None:
        result = {
            "config": (HERE / "configs" / CONFIG).read_text(),
            "commands": [trained, evaluated, chatted],
            "figures": json.loads(figures),
            "transcript": transcript,
            "machine": machine(),
        }
        write_result("chat_camrest676", result)


if __name__ == "__main__":
    main()
