"""Embeddings that start from vectors in a file, frozen or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatework as gw
from gatework.errors import InputError
from gatework.tasks.language_model import LanguageModel
from tests.tasks.conftest import SMALL

WORDS = {**SMALL, "tokenizer": "word", "embedding_size": 3, "hidden_size": 8, "tie_weights": False}
VECTORS = "cat 1 2 3\ndog -4 5 6\nmat 0 0 1\nunseen 1 1 1\n"
ROWS = [{"text": "the cat sat", "label": "a"}, {"text": "a dog ran", "label": "b"}] * 6
PAIRS = [{"source": "the cat sat", "target": "die katze sass"}, {"source": "a dog", "target": "ein hund"}] * 6


@pytest.fixture
def vectors(tmp_path: Path) -> str:
    path = tmp_path / "vectors.vec"
    path.write_text(VECTORS)
    return str(path)


def directions(rows: Any) -> Any:
    return np.asarray(rows) / np.linalg.norm(rows, axis=-1, keepdims=True)


CAT_AND_DOG = directions([[1, 2, 3], [-4, 5, 6]])


def assert_cat_and_dog(rows: torch.Tensor) -> None:
    assert np.abs(directions(rows.detach().numpy()) - CAT_AND_DOG).max() < 1 / 2**20


def test_a_language_model_starts_from_vectors(
    corpus: Path, vectors: str, capsys: Any, tmp_path: Path
) -> None:
    model = LanguageModel(**WORDS, max_steps=3, word_vectors=vectors, freeze_vectors=True)
    model.fit(corpus, out=tmp_path / "run")
    assert (
        f"2 of {model.tokenizer_.vocabulary_size} words start from their vectors" in capsys.readouterr().err
    )
    rows = model.network_.embedding.weight[[model.tokenizer_.id("cat"), model.tokenizer_.id("dog")]]
    assert_cat_and_dog(rows)
    again = gw.load(tmp_path / "run")
    assert torch.equal(again.network_.embedding.weight, model.network_.embedding.weight)
    moving = LanguageModel(**WORDS, max_steps=3, word_vectors=vectors).fit(corpus)
    assert not torch.equal(moving.network_.embedding.weight, model.network_.embedding.weight)


def test_a_resumed_training_needs_the_file_no_more(corpus: Path, vectors: str, tmp_path: Path) -> None:
    options = {**WORDS, "word_vectors": vectors, "freeze_vectors": True, "checkpoint_every": 2}
    LanguageModel(**options, max_steps=2).fit(corpus, out=tmp_path / "run")
    Path(vectors).unlink()
    model = LanguageModel(max_steps=4).fit(corpus, out=tmp_path / "run", resume=True)
    assert_cat_and_dog(
        model.network_.embedding.weight[[model.tokenizer_.id("cat"), model.tokenizer_.id("dog")]]
    )


def test_a_classifier_starts_from_vectors(vectors: str) -> None:
    sizes = {"embedding_size": 3, "hidden_size": 4, "character_size": 2, "side_rows": 64}
    options = {**sizes, "max_steps": 2, "word_vectors": vectors, "freeze_vectors": True, "rivals": False}
    model = gw.Classifier(**options).fit(ROWS, valid=ROWS)
    ids = [model._inputs.vocabulary.word_id(word) for word in ("cat", "dog")]
    assert_cat_and_dog(model.network_.encoder.embedding.weight[ids])


def test_a_translator_starts_each_side_from_its_vectors(vectors: str, tmp_path: Path) -> None:
    (tmp_path / "german.vec").write_text("katze 1 2 3\nhund -4 5 6\n")
    sizes = {"tokenizer": "word", "embedding_size": 3, "hidden_size": 4, "tie_weights": False}
    files = {"word_vectors": vectors, "target_vectors": str(tmp_path / "german.vec")}
    model = gw.Translator(**sizes, **files, freeze_vectors=True, max_steps=2).fit(PAIRS, valid=PAIRS)
    sides = (model.network_.source_embedding, model.network_.target_embedding)
    for embedding, vocabulary, words in zip(
        sides, model.vocabularies_, [("cat", "dog"), ("katze", "hund")], strict=True
    ):
        assert_cat_and_dog(embedding.weight[[vocabulary.tokenizer.id(word) for word in words]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": "character"}, "the tokens are not words"),
        ({"embedding_size": 4}, "has vectors of 3 numbers, and embedding_size is 4. Give embedding_size=3"),
        ({"freeze_vectors": True, "tie_weights": True}, "Give tie_weights=false too"),
        ({"word_vectors": "nowhere.vec"}, "no such file"),
    ],
)
def test_what_cannot_start_from_vectors_is_said(
    corpus: Path, vectors: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        LanguageModel(**{**WORDS, "max_steps": 1, "word_vectors": vectors, **options}).fit(corpus)


def test_vectors_of_other_words_are_refused(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "a.vec").write_text("katze 1 2 3\n")
    with pytest.raises(InputError, match="a vector for none of the"):
        LanguageModel(**WORDS, max_steps=1, word_vectors=str(tmp_path / "a.vec")).fit(corpus)


def test_vectors_beside_another_run_are_refused(corpus: Path, vectors: str, tmp_path: Path) -> None:
    LanguageModel(**WORDS, max_steps=1).fit(corpus, out=tmp_path / "first")
    with pytest.raises(InputError, match="has vectors of its own"):
        LanguageModel(max_steps=1, word_vectors=vectors).fit(corpus, from_run=tmp_path / "first")
