"""The linear rivals: scikit-learn's own pipeline gives the same, and a run's arrays give them back."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union

from gatework.baselines import LinearSeries, LinearText
from gatework.baselines.linear import LinearRival
from gatework.errors import InputError, MissingExtraError
from tests.tolerances import MINIMA

CLOSE = {"rel": MINIMA[torch.float64].relative, "abs": MINIMA[torch.float64].absolute}
WORDS = {
    "joy": "glad happy joyful wonderful",
    "anger": "furious awful hate terrible",
    "fear": "afraid scary horror dark",
}
COMMON = "the a it was and film story"


def texts(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    generator = np.random.default_rng(seed)
    labels = [str(label) for label in generator.choice(list(WORDS), count)]
    made = []
    for label in labels:
        other = str(generator.choice(list(WORDS)))
        pool = f"{COMMON} {WORDS[label]} {WORDS[other]}".split()
        made.append(" ".join(map(str, generator.choice(pool, generator.integers(3, 12)))))
    return made, labels


def series(count: int, seed: int = 0) -> tuple[list[Any], list[str]]:
    generator = np.random.default_rng(seed)
    labels = [str(label) for label in generator.choice(["low", "high"], count)]
    return [
        generator.normal(size=(generator.integers(1, 9), 2)) + 2 * (label == "high") for label in labels
    ], labels


def fitted(kind: str) -> tuple[LinearRival, list[Any], list[Any]]:
    if kind == "series":
        inputs, labels = series(60)
        return LinearSeries().fit(inputs, labels), inputs, labels
    inputs, labels = texts(120)
    if kind == "text":
        return LinearText().fit(inputs, labels), inputs, labels
    sets = [
        [label, *(["long"] if len(text) > 40 else [])] for text, label in zip(inputs, labels, strict=True)
    ]
    return LinearText(several=True).fit(inputs, sets), inputs, sets


@pytest.mark.parametrize("classes", [2, 3])
def test_texts_are_classified_as_by_scikit_learns_pipeline(classes: int) -> None:
    inputs, labels = texts(200)
    kept = [index for index, label in enumerate(labels) if classes == 3 or label != "fear"]
    inputs, labels = [inputs[index] for index in kept], [labels[index] for index in kept]
    peer = make_pipeline(
        make_union(
            TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\w+|[^\w\s]", sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
        ),
        LogisticRegression(max_iter=200),
    ).fit(inputs, labels)
    new, _ = texts(50, seed=1)
    new += ["", "unknown words only", "!"]
    rival = LinearText().fit(inputs, labels)
    assert rival.labels_ == list(peer.classes_)
    # One text's features that stand in a row of the hash that another one has would show here.
    assert np.abs(rival.probabilities(new) - peer.predict_proba(new)).max() < 0.02
    assert rival.predict(new[:50]) == list(peer.predict(new[:50]))


@pytest.mark.parametrize("kind", ["text", "several", "series"])
def test_its_arrays_give_it_back(kind: str) -> None:
    rival, inputs, _ = fitted(kind)
    arrays = rival.to_arrays()
    again = type(rival).from_arrays(
        {name: torch.from_numpy(it).clone().numpy() for name, it in arrays.items()}
    )
    assert np.array_equal(again.probabilities(inputs), rival.probabilities(inputs))
    assert again.predict(inputs) == rival.predict(inputs)


@pytest.mark.parametrize("kind", ["text", "several", "series"])
def test_what_is_no_rival_is_refused(kind: str) -> None:
    rival, _, _ = fitted(kind)
    arrays = rival.to_arrays()
    for name, array in arrays.items():
        with pytest.raises(ValueError, match=r"damaged|lacks|Expecting"):
            type(rival).from_arrays({**arrays, name: array[:-1]})
        if name != "thresholds":  # without them it is one label an example
            with pytest.raises(ValueError, match="lacks"):
                type(rival).from_arrays({key: value for key, value in arrays.items() if key != name})
        if array.dtype.kind == "f":
            damaged = array.copy()
            damaged.flat[0] = np.nan
            with pytest.raises(ValueError, match="damaged"):
                type(rival).from_arrays({**arrays, name: damaged})
    bad = np.frombuffer(b'["a", "a", "b"]', np.uint8)
    with pytest.raises(ValueError, match="labels are damaged"):
        type(rival).from_arrays({**arrays, "labels": bad})


def test_several_labels_have_thresholds_that_were_chosen_on_unseen_examples() -> None:
    rival, inputs, sets = fitted("several")
    assert rival.labels_ == ["anger", "fear", "joy", "long"]
    probabilities = rival.probabilities(inputs)
    assert rival.predict(inputs) == [
        [label for label, p, least in zip(rival.labels_, row, rival.thresholds_, strict=True) if p >= least]
        for row in probabilities
    ]
    new, labels = texts(300, seed=2)
    right = [label in found for label, found in zip(labels, rival.predict(new), strict=True)]
    assert np.mean(right) > 0.6
    assert any(threshold != 0.5 for threshold in rival.thresholds_)
    assert sets[0][0] in rival.labels_


def test_sequences_are_told_apart_by_their_statistics() -> None:
    inputs, labels = series(80)
    rival = LinearSeries().fit(inputs, labels)
    new, wanted = series(100, seed=1)
    assert np.mean([a == b for a, b in zip(rival.predict(new), wanted, strict=True)]) > 0.9
    assert rival.probabilities(new).sum(axis=1) == pytest.approx(np.ones(100), **CLOSE)
    as_lists = [one.tolist() for one in new]
    assert rival.predict(as_lists) == rival.predict(new)
    flat = LinearSeries().fit([[0.0, 1.0], [5.0, 6.0, 7.0]], ["a", "b"])
    assert flat.predict([[0.0], [6.0, 6.0]]) == ["a", "b"]


def test_little_data_give_an_answer() -> None:
    assert LinearText().fit(["", " "], ["a", "b"]).probabilities(["x"]) == pytest.approx(
        np.full((1, 2), 0.5), **CLOSE
    )
    assert LinearText().fit(["x", "y"], ["a", "a"]).predict(["x", ""]) == ["a", "a"]
    one = LinearText(several=True).fit(["x", "y", "z"], [["a"], [], []])
    assert one.probabilities(["x"]).shape == (1, 1)
    assert one.predict([]) == []
    with pytest.raises(InputError, match="no labels"):
        LinearText(several=True).fit(["x"], [[]])
    with pytest.raises(InputError, match="no labels"):
        LinearText().fit([], [])


def test_how_much_data_they_are() -> None:
    assert LinearText().size(["ab", "", "c"]) == 3
    assert LinearSeries().size([np.zeros((3, 2)), [1.0, 2.0]]) == 8


def test_without_scikit_learn_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (
        "sklearn",
        "sklearn.feature_extraction.text",
        "sklearn.linear_model",
        "sklearn.exceptions",
    ):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match="scikit-learn"):
        LinearText().fit(["a", "b"], ["a", "b"])
    with pytest.raises(MissingExtraError, match="scikit-learn"):
        LinearSeries().fit([[1.0], [2.0]], ["a", "b"])
