"""Figures on a foreign alphabet say so, in every task and with every tokenizer that knows unknown tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gatework import tasks
from gatework.cli import main
from gatework.errors import InputError
from tests.contracts.task_examples import EXAMPLES

# A tagger's tokens are words, and there is no option for it.
CASES = [
    (name, kind)
    for name in tasks.names()
    for kind in ("character", "word")
    if "tokenizer" in tasks.get(name).Options.model_fields
]
SAID = ("label", "tags", "audio")  # what is said of a text, and no text


def foreign(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """The same texts in letters that no training data has."""

    def turned(text: Any) -> Any:
        if isinstance(text, list):
            return [turned(each) for each in text]
        return "".join(chr(ord("α") + ord(letter) % 20) if letter.isalpha() else letter for letter in text)

    return [
        {column: value if column in SAID else turned(value) for column, value in row.items()} for row in rows
    ]


@pytest.mark.parametrize(("name", "tokenizer"), CASES)
def test_a_foreign_alphabet_is_said_and_marked(
    name: str, tokenizer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = EXAMPLES[name]
    options = {**some.options, "tokenizer": tokenizer, "max_steps": 2}
    model = tasks.get(name)(**options).fit(some.rows, valid=some.valid, out=tmp_path / "run")
    assert all(share == 0 for share in model.metrics_["unknown"].values())
    assert "not in the vocabulary" not in capsys.readouterr().err

    figures = tasks.load(tmp_path / "run").evaluate(foreign(some.valid))
    assert figures["unknown"]
    assert all(share > 0.5 for share in figures["unknown"].values()), figures
    said = capsys.readouterr().err
    for part, share in figures["unknown"].items():
        assert f"{share:.0%} of the given {part}'s tokens are not in the vocabulary" in said

    kind = tasks.get(name)
    kind(**options).fit(foreign(some.rows), valid=foreign(some.valid), from_run=tmp_path / "run")
    said = capsys.readouterr().err
    assert "of the training" in said
    assert "of the validation" in said

    file = tmp_path / "foreign.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in foreign(some.valid)))
    assert main(["evaluate", str(tmp_path / "run"), str(file)]) == 0
    assert "not in the vocabulary: " in capsys.readouterr().out


@pytest.mark.parametrize(("name", "tokenizer"), [*CASES, *((name, "bpe") for name in dict(CASES))])
def test_a_frequency_that_leaves_nothing_is_refused(name: str, tokenizer: str, tmp_path: Path) -> None:
    some = EXAMPLES[name]
    options = {**some.options, "tokenizer": tokenizer, "min_frequency": 100_000}
    model = tasks.get(name)(**options)
    if tokenizer == "bpe":  # bytes know everything; merges alone have a frequency
        assert model.fit(some.rows, valid=some.valid).predict(some.inputs, **some.settings)
        return
    with pytest.raises(InputError, match="min_frequency is 100000, and no token"):
        model.fit(some.rows, valid=some.valid, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
