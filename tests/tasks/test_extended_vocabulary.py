"""A run that starts from another one with a larger vocabulary keeps what is known of every token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import gatework as gw
from gatework.errors import InputError
from gatework.tasks.language_model import LanguageModel
from tests.tasks.conftest import SMALL

NEW = "the horse sat on a bench .\nthe cat ate the hay .\n" * 40
WORDS = {**SMALL, "tokenizer": "word", "hidden_size": 12}
STILL = {
    "learning_rate": 1e-9,
    "schedule": "constant",
    "max_steps": 1,
    "weight_decay": 0.0,
}  # weights stay as they are
PAIRS = [{"source": "the cat sat", "target": "die katze sass"}, {"source": "a dog", "target": "ein hund"}] * 6
NEW_PAIRS = [
    {"source": "the horse sat", "target": "das pferd sass"},
    {"source": "a cat", "target": "eine katze"},
] * 6
KINDS = {
    "words": {**WORDS, "tie_weights": True},
    "characters": {**SMALL, "tie_weights": False},
    "clusters": {**WORDS, "adaptive_softmax": "on", "cutoffs": [4, 8]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_language_model_with_more_tokens(kind: str, corpus: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "new.txt").write_text(NEW + "zebra žůč\n")
    first = LanguageModel(**KINDS[kind], max_steps=20).fit(corpus, out=tmp_path / "first")
    capsys.readouterr()
    model = LanguageModel(**STILL, extend_vocabulary=True)
    model.fit(tmp_path / "new.txt", out=tmp_path / "second", from_run=tmp_path / "first")
    old, new = first.tokenizer_.vocabulary_size, model.tokenizer_.vocabulary_size
    assert new > old
    assert f"{new - old} tokens of tokenizer.json are new, {old} keep their rows" in capsys.readouterr().err
    assert [model.tokenizer_.token(id) for id in range(old)] == [
        first.tokenizer_.token(id) for id in range(old)
    ]
    mine, theirs = model.network_.state_dict(), first.network_.state_dict()
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(mine[name][: len(value)], value, msg=name)
    assert mine["softmax.bias"].shape == (new,)
    assert (mine["softmax.bias"][old:] <= theirs["softmax.bias"].min() + 1 / 2**16).all()
    size = mine["embedding.weight"][old:].std() / theirs["embedding.weight"].std()
    assert 0.5 < size < 2
    again = gw.load(tmp_path / "second")
    assert again.predict("the cat", temperature=0)[0] == model.predict("the cat", temperature=0)[0]
    assert again.tokenizer_.unknown_id not in again.tokenizer_.encode(
        "the cat ž" if kind == "characters" else "horse"
    )


@pytest.mark.parametrize("shared", [False, True])
def test_a_translator_with_more_words(shared: bool, tmp_path: Path) -> None:
    sizes = {"tokenizer": "word", "embedding_size": 6, "hidden_size": 4, "shared_vocabulary": shared}
    first = gw.Translator(**sizes, max_steps=5).fit(PAIRS, valid=PAIRS, out=tmp_path / "first")
    model = gw.Translator(**STILL, extend_vocabulary=True)
    model.fit(NEW_PAIRS, valid=NEW_PAIRS, out=tmp_path / "second", from_run=tmp_path / "first")
    mine, theirs = model.network_.state_dict(), first.network_.state_dict()
    sides = ("source_embedding.weight", "target_embedding.weight")
    for name, before, after in zip(sides, first.vocabularies_, model.vocabularies_, strict=True):
        assert after.size > before.size
        torch.testing.assert_close(mine[name][: before.size - 1], theirs[name][:-1])
        torch.testing.assert_close(mine[name][-1], theirs[name][-1])  # the boundary
    before = first.vocabularies_[1]
    assert mine["softmax.bias"].shape == (model.vocabularies_[1].size,)
    torch.testing.assert_close(mine["softmax.bias"][: before.size - 1], theirs["softmax.bias"][:-1])
    torch.testing.assert_close(mine["softmax.bias"][-1], theirs["softmax.bias"][-1])
    assert gw.load(tmp_path / "second").predict("a horse") == model.predict("a horse")


def test_without_the_option_the_vocabulary_is_the_other_runs(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text(NEW)
    first = LanguageModel(**WORDS, max_steps=1).fit(corpus, out=tmp_path / "first")
    model = LanguageModel(max_steps=1).fit(tmp_path / "new.txt", from_run=tmp_path / "first")
    assert model.tokenizer_.vocabulary_size == first.tokenizer_.vocabulary_size


def test_a_vocabulary_that_cannot_grow_is_said(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is for a run that starts from another one"):
        LanguageModel(**WORDS, max_steps=1, extend_vocabulary=True).fit(corpus)
    pairs = {**SMALL, "tokenizer": "bpe", "vocabulary_size": 300}
    LanguageModel(**pairs, max_steps=1).fit(corpus, out=tmp_path / "first")
    with pytest.raises(InputError, match="byte pairs know every text"):
        LanguageModel(max_steps=1, extend_vocabulary=True).fit(corpus, from_run=tmp_path / "first")


def test_a_resumed_training_keeps_its_vocabulary(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text(NEW)
    LanguageModel(**WORDS, max_steps=1).fit(corpus, out=tmp_path / "first")
    second = LanguageModel(max_steps=2, extend_vocabulary=True)
    second.fit(tmp_path / "new.txt", out=tmp_path / "second", from_run=tmp_path / "first")
    resumed = LanguageModel(max_steps=4)
    resumed.fit(tmp_path / "new.txt", out=tmp_path / "second", resume=True)
    assert resumed.tokenizer_.vocabulary_size == second.tokenizer_.vocabulary_size
