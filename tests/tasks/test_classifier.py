"""The classifier's own: pooling, the side path, decisions on validation data, what weighed, sequences, figures."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

import gatework as gw
from gatework.baselines.linear_text import LinearText
from gatework.errors import InputError, RunError
from gatework.tasks.classifier import Classifier
from gatework.tasks.classifier.figures import label_remarks, label_scores, probability_figures
from gatework.tasks.classifier.network import ClassifierEnsemble, ClassifierNetwork
from gatework.tasks.classifier.pooling import Pooling
from tests.tolerances import PREDICTIONS, close_to

SMALL: dict[str, Any] = {
    "embedding_size": 8,
    "hidden_size": 8,
    "character_size": 4,
    "subword_rows": 64,
    "min_frequency": 1,
    "side_rows": 256,
    "batch_tokens": 60,
    "learning_rate": 0.02,
    "dropout": 0.1,
    "device": "cpu",
}
ADJECTIVES = {"great": "good", "lovely": "good", "awful": "bad", "boring": "bad"}
NOUNS = ("film", "book", "song", "play", "walk", "meal")


def reviews(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """The label follows from an adjective and from `not` before it: no sum over words can tell."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        adjective, negated = draw.choice(list(ADJECTIVES)), draw.random() < 0.5
        label = ADJECTIVES[adjective]
        if negated:
            label = "bad" if label == "good" else "good"
        text = f"the {draw.choice(NOUNS)} was {'not ' if negated else ''}{adjective} and {draw.choice(NOUNS)}"
        rows.append({"text": text, "label": label})
    return rows


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    out = tmp_path_factory.mktemp("runs") / "reviews"
    return Classifier(**SMALL, side_path=False, epochs=12).fit(reviews(400), valid=reviews(60, 1), out=out)


# Pooling


@pytest.mark.parametrize("directions", [1, 2])
def test_each_pooling_by_hand(directions: int) -> None:
    torch.manual_seed(0)
    states, lengths = torch.randn(5, 3, 4, dtype=torch.float64), torch.tensor([5, 1, 3])
    pooling = Pooling(("attention", "max", "mean", "last"), 4, directions).double()
    found = pooling(states, lengths)
    weights = pooling.weights(states, lengths)
    assert pooling.attention is not None
    for row, length in enumerate(lengths.tolist()):
        own = states[:length, row]
        share = pooling.attention(own).softmax(0)
        last = own[-1] if directions == 1 else torch.cat([own[-1, :2], own[0, 2:]])
        expected = torch.cat([(share * own).sum(0), own.max(0).values, own.mean(0), last])
        torch.testing.assert_close(found[row], expected)
        torch.testing.assert_close(weights[:length, row], share[:, 0])
        assert not weights[length:, row].any()
    with pytest.raises(ValueError, match="no attention"):
        Pooling(("max",), 4, 1).weights(states, lengths)


# The side path


def test_the_network_begins_as_the_linear_model() -> None:
    """With the recurrent part's scores taken away, the side path alone learns what a linear model can."""
    rows = [{"text": f"a {a} {n}", "label": label} for a, label in ADJECTIVES.items() for n in NOUNS]
    model = Classifier(**SMALL, epochs=15, pooling=("mean",)).fit(rows, valid=rows[::3])
    network = model.network_
    assert isinstance(network, ClassifierNetwork)
    with torch.no_grad():
        network.output.weight.zero_()
    assert [record["output"] for record in model.predict([row["text"] for row in rows])] == [
        row["label"] for row in rows
    ]


def test_a_recurrent_part_learns_what_no_sum_over_words_can(trained: Classifier) -> None:
    figures = trained.evaluate(reviews(300, 2))
    assert figures["model"]["accuracy"] > 0.97
    assert not figures["below_baseline"]
    assert figures["labels"]["good"]["support"] + figures["labels"]["bad"]["support"] == 300


# Decisions


def test_decisions_are_made_on_validation_data_alone(tmp_path: Path) -> None:
    """Other validation data, other decisions and the same weights; the training data has no part in it."""
    rows = [{"text": row["text"], "label": [row["label"]]} for row in reviews(80)]
    runs = []
    for number in range(2):
        valid = [{"text": row["text"], "label": [row["label"]]} for row in reviews(30, 5 + number)]
        valid = [row | {"label": [*row["label"], "good"]} if number else row for row in valid]
        model = Classifier(**SMALL, several=True, max_steps=6, select_by="loss")
        runs.append(model.fit(rows, valid=valid, out=tmp_path / str(number)))
    one, other = (run.network_.state_dict() for run in runs)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert runs[0].decisions_ != runs[1].decisions_
    loaded = gw.load(tmp_path / "1")
    assert isinstance(loaded, Classifier)
    assert loaded.decisions_ == runs[1].decisions_


def test_balanced_weights_are_set_right_again(tmp_path: Path) -> None:
    """A label that one in ten has: its mean probability is its share, though it weighed as much as the other."""
    draw = random.Random(3)
    rows = [
        {"text": f"{draw.choice(NOUNS)} {draw.choice(NOUNS)}", "label": "rare" if n % 10 == 0 else "often"}
        for n in range(300)
    ]
    means = {}
    for weights in ("equal", "balanced"):
        model = Classifier(**SMALL, weights=weights, side_path=False, epochs=3, select_by="loss")
        model.fit(rows, valid=rows)
        network = model.network_
        assert isinstance(network, ClassifierNetwork)
        records = model.predict([row["text"] for row in rows])
        means[weights] = np.mean([record["probabilities"]["rare"] for record in records])
        assert bool(network.calibration.bias) == (weights == "balanced")
    assert 0.09 < means["balanced"] < 0.11


@pytest.mark.parametrize("several", [False, True])
def test_the_rivals_probabilities_are_mixed_in(several: bool, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = reviews(120)
    valid = [*reviews(40, 1), {"text": "so so", "label": "neutral"}]
    if several:
        rows, valid = ([{**row, "label": [row["label"], "text"]} for row in some] for some in (rows, valid))
    options: dict[str, Any] = SMALL | {"several": several, "max_steps": 4, "side_path": False}
    model = Classifier(**options, mix_rival=True).fit(rows, valid=valid, out=tmp_path / "mixed")
    alone = Classifier(**options).fit(rows, valid=valid, out=tmp_path / "alone")
    share = model.decisions_.rival_share
    assert 0 < share <= 1
    assert alone.decisions_.rival_share == 0
    texts = [row["text"] for row in reviews(9, 2)]
    rival = cast("LinearText", model.rivals_["tf_idf"])
    own, beside = alone.predict(texts), rival.probabilities(texts)
    for record, before, others in zip(model.predict(texts), own, beside, strict=True):
        for label, value, other in zip(rival.labels_, record["probabilities"].values(), others, strict=True):
            expected = (1 - share) * before["probabilities"][label] + share * other
            assert value == close_to(expected, table=PREDICTIONS)
    assert gw.load(tmp_path / "mixed").predict(texts) == model.predict(texts)
    joint = model.ensemble(model)
    assert joint.decisions_.rival_share == share
    assert [each["output"] for each in joint.predict(texts)] == [
        each["output"] for each in model.predict(texts)
    ]
    with pytest.raises(InputError, match="mix_rival"):
        model.ensemble(alone)
    with pytest.raises(InputError, match="rivals=true"):
        Classifier(**options, mix_rival=True, rivals=False).fit(rows, valid=valid)
    (model.run_.path / "rival-tf_idf.safetensors").unlink()
    with pytest.raises(RunError, match="rival"):
        gw.load(tmp_path / "mixed").predict(texts)


def test_damaged_decisions_are_refused(trained: Classifier, tmp_path: Path) -> None:
    trained.save(tmp_path / "copy")
    run = tmp_path / "copy"
    for damage in (
        {"thresholds": [0.5]},
        {"temperature": 0.0},
        {"bias": [1.0, 2.0, 3.0]},
        {"temperature": "x"},
    ):
        (run / "decisions.json").write_text(json.dumps({"temperature": 1.0} | damage))
        gw.training.RunFolder(run).complete()
        with pytest.raises(RunError, match="decisions"):
            gw.load(run)


# Answers


def test_abstention_and_alternatives(trained: Classifier) -> None:
    (record,) = trained.predict("the film was not great", alternatives=5)
    assert [each["label"] for each in record["alternatives"]] == ["bad", "good"]
    assert record["probability"] == max(record["probabilities"].values())
    assert sum(record["probabilities"].values()) == close_to(1.0, table=PREDICTIONS)
    (unsure,) = trained.predict("the film was not great", abstain_below=1.0)
    assert unsure["output"] is None
    figures = trained.evaluate(reviews(20, 4), abstain_below=1.0)
    assert (figures["abstained"], figures["model"]["accuracy"]) == (20, 0.0)


def test_what_weighed_is_the_gradient_through_the_states(trained: Classifier) -> None:
    text = "the film was not great and walk"
    (record,) = trained.predict(text, explain=True)
    tokens = record["tokens"]
    assert [each["token"] for each in tokens] == text.split()
    assert all(text[slice(*each["span"])] == each["token"] for each in tokens)
    assert sum(each["attention"] for each in tokens) == close_to(1.0, table=PREDICTIONS)
    network = trained.network_
    assert isinstance(network, ClassifierNetwork)
    assert all(parameter.grad is None for parameter in network.parameters())
    label = trained.labels_.index(record["output"])
    batch = trained._collate([trained._encode(text)])
    with torch.no_grad():
        encoder = cast("Any", network.encoder)
        vectors = encoder.inputs(batch.source)
        scores = [
            network.score(encoder.states(values, batch.source.lengths), batch)[0, label].item()
            for values in (vectors, torch.zeros_like(vectors))
        ]
    # Completeness (Sundararajan et al. 2017, proposition 1).
    added = sum(each["gradient"] for each in tokens)
    assert abs(added - (scores[0] - scores[1])) < abs(scores[0] - scores[1]) / 20
    words = {each["token"]: each["gradient"] for each in tokens}
    assert min(words["not"], words["great"]) > 4 * max(abs(words["film"]), abs(words["walk"])), (
        "nouns say nothing"
    )
    assert trained.predict([text, "awful"], explain=True)[0]["tokens"][0].keys() == tokens[0].keys()


def test_half_of_a_surrogate_pair_is_a_character_like_another(trained: Classifier) -> None:
    assert trained.predict("a great \ud800")[0]["output"] in trained.labels_


def test_a_long_text_is_read_by_its_ends(trained: Classifier) -> None:
    model = Classifier(**SMALL | {"max_length": 6}, max_steps=2).fit(reviews(40), valid=reviews(10, 1))
    ends = ["a b c", "x y z"]
    texts = [" ".join([ends[0], middle, ends[1]]) for middle in ("", "long " * 5, "other " * 20_000)]
    records = model.predict(texts, explain=True)
    assert [each["token"] for each in records[2]["tokens"]] == ["a", "b", "c", "x", "y", "z"]
    first, *others = (list(record["probabilities"].values()) for record in records)
    assert all(other == close_to(first, table=PREDICTIONS) for other in others)


@pytest.mark.parametrize("tokenizer", ["bpe", "character"])
def test_other_tokens(tokenizer: str, tmp_path: Path) -> None:
    options = SMALL | {"tokenizer": tokenizer, "epochs": 12, "vocabulary_size": 300}
    model = Classifier(**options).fit(reviews(300), valid=reviews(40, 1), out=tmp_path / "run")
    assert model.evaluate(reviews(100, 2))["model"]["accuracy"] > 0.9
    (record,) = gw.load(tmp_path / "run").predict("the film was great", explain=True)
    assert "".join(each["token"] for each in record["tokens"]).replace(" ", "") == "thefilmwasgreat"


def test_an_ensemble_decides_together(tmp_path: Path) -> None:
    rows = [{"text": row["text"], "label": [row["label"]]} for row in reviews(60)]
    members = [
        Classifier(**SMALL, several=True, max_steps=6, seed=seed).fit(rows, valid=rows[::3])
        for seed in (0, 1)
    ]
    joint = members[0].ensemble(members[1])
    assert isinstance(joint.network_, ClassifierEnsemble)
    expected = np.mean([member.decisions_.thresholds for member in members], axis=0)
    assert joint.decisions_.thresholds == pytest.approx(tuple(expected))
    text = rows[0]["text"]
    alone = [list(member.predict(text)[0]["probabilities"].values()) for member in members]
    mean = np.mean(alone, axis=0).tolist()
    assert list(joint.predict(text)[0]["probabilities"].values()) == close_to(mean, table=PREDICTIONS)


# Sequences


def waves(count: int, channels: int, seed: int = 0) -> list[dict[str, Any]]:
    """Two kinds that differ in the order of their steps alone: rising or falling, then back."""
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        steps = int(draw.integers(6, 20))
        bow = np.abs(np.linspace(-1, 1, steps)) * (1 if number % 2 else -1)
        values = 100 + 5 * bow[:, None] + draw.normal(0, 1, (steps, channels))
        rows.append({"sequence": (values if channels > 1 else values[:, 0]).tolist(), "label": number % 2})
    return rows


def archived(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows as a file of the time-series archives."""
    sides = [np.reshape(row["sequence"], (len(row["sequence"]), -1)).T.tolist() for row in rows]
    lines = [":".join(",".join(map(str, side)) for side in some) for some in sides]
    text = "".join(f"{line}:{row['label']}\n" for line, row in zip(lines, rows, strict=True))
    path.write_text(f"@classLabel true 0 1\n@data\n{text}")
    return path


@pytest.mark.parametrize("channels", [1, 3])
def test_numeric_sequences(channels: int, tmp_path: Path) -> None:
    columns = None if channels == 1 else {"sequence": "sequence"}
    options = {"hidden_size": 12, "learning_rate": 0.02, "device": "cpu", "dropout": 0.1, "epochs": 15}
    model = Classifier(**options, pooling=("mean", "last")).fit(
        waves(200, channels), valid=waves(40, channels, 1), columns=columns, out=tmp_path / "run"
    )
    loaded = gw.load(tmp_path / "run")
    test = waves(80, channels, 2)
    assert loaded.evaluate(test, columns=columns)["model"]["accuracy"] > 0.9
    records = loaded.predict([row["sequence"] for row in test])
    assert model.predict([row["sequence"] for row in test]) == records
    from_file = loaded.predict(archived(tmp_path / "test.ts", test))
    assert [each["output"] for each in from_file] == [each["output"] for each in records]
    written = json.dumps(test[0]["sequence"])  # as in a line of standard input
    (first,) = loaded.predict(written, explain=True)
    assert first["probabilities"] == records[0]["probabilities"]
    assert [each["token"] for each in first["tokens"]] == [str(t) for t in range(len(test[0]["sequence"]))]
    with pytest.raises(InputError, match="not a number"):
        loaded.predict(["a text"])
    wrong = [[1.0] * (channels + 1)] * 4
    with pytest.raises(InputError, match=f"has {channels + 1} numbers a step"):
        loaded.predict([wrong])
    text = Classifier(**SMALL, max_steps=2).fit(reviews(30), valid=reviews(9, 1))
    with pytest.raises(InputError, match="not a text"):
        text.predict([[1.0, 2.0]])


# Figures


def test_figures_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    known = ["a", "b", "c"]
    for several in (False, True):
        for _ in range(30):
            outputs: list[Any]
            references: list[Any]
            if several:
                tables = draw.random((2, 20, 3)) < 0.4
                outputs, references = (
                    [[name for name, given in zip(known, row, strict=True) if given] for row in table]
                    for table in tables
                )
                got = label_scores(outputs, references, known)
                assert got["accuracy"] == pytest.approx(accuracy_score(tables[1], tables[0]))
                assert got["macro_f1"] == pytest.approx(
                    f1_score(tables[1], tables[0], average="macro", zero_division=0)
                )
            else:
                outputs = draw.choice(known, 20).tolist()
                references = draw.choice([*known, "unseen"], 20).tolist()
                got = label_scores(outputs, references, known)
                assert got["accuracy"] == pytest.approx(accuracy_score(references, outputs))
                assert got["macro_f1"] == pytest.approx(
                    f1_score(references, outputs, average="macro", zero_division=0)
                )


def test_labels_that_were_never_seen_are_named_and_counted(
    trained: Classifier, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        *reviews(20, 6),
        {"text": "the film was odd", "label": "strange"},
        {"text": "hm", "label": "strange"},
    ]
    figures = trained.evaluate(rows)
    assert figures["unseen_labels"] == {"strange": 2}
    assert figures["labels"]["strange"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 2}
    assert figures["model"]["accuracy"] <= 20 / 22
    assert "1 labels are not in the training data: strange (2)" in capsys.readouterr().err
    table = figures["confusion"]
    assert table["labels"] == ["bad", "good", "strange"]
    assert sum(map(sum, table["table"])) == 22
    assert np.isfinite(figures["model"]["loss"])
    assert "loss" not in trained.evaluate(rows[-2:])["model"], "there is nothing to take a mean of"


def test_intervals_hold_the_figure() -> None:
    outputs, references = ["a"] * 70 + ["b"] * 30, ["a"] * 60 + ["b"] * 40
    remarks = label_remarks(outputs, references, ["a", "b"])
    low, high = remarks["intervals"]["accuracy"]
    assert low < 0.9 < high
    assert high - low < 0.15
    confident = np.array([[1.0, 0.0]] * 70 + [[0.0, 1.0]] * 30)
    figures = probability_figures(confident, references, ["a", "b"])
    assert figures["expected_calibration_error"] == pytest.approx(0.1)
    assert figures["brier_score"] == pytest.approx(0.2)


# Bad data


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([{"text": "a", "label": "x"}] * 4, "all 4 examples have the label 'x'"),
        ([{"text": "a", "lable": "x"}] * 4, "no column 'label'.*lable"),
        ([{"text": "a", "label": None}] * 4, "row 1: the label is missing"),
        ([{"text": "a", "label": ["x", "y"]}] * 4, "2 labels"),
    ],
)
def test_data_of_which_nothing_can_be_learned(rows: list[dict[str, Any]], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Classifier(**SMALL, max_steps=2).fit(rows, valid=rows)


def test_a_class_with_one_example_and_a_word_of_ten_thousand_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [*reviews(30), {"text": "x" * 10_000, "label": "one of its kind"}, {"text": "", "label": "good"}]
    model = Classifier(**SMALL, max_steps=5, weights="balanced").fit(rows, valid=reviews(10, 1))
    assert "one of its kind" in model.labels_
    assert "1 labels have a single example in the training data: one of its kind" in capsys.readouterr().err
    (record,) = model.predict("y" * 10_000)
    assert set(record["probabilities"]) == {"bad", "good", "one of its kind"}


# From a language model


@pytest.mark.parametrize("tokenizer", ["word", "bpe"])
def test_a_language_model_gives_its_rows_and_layers(
    tokenizer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [row["text"] for row in reviews(120, 8)]
    sizes = {"embedding_size": 8, "hidden_size": 8, "num_layers": 2, "device": "cpu"}
    tokens = {"tokenizer": tokenizer, "vocabulary_size": 300 if tokenizer == "bpe" else None}
    language = gw.LanguageModel(
        **sizes, **tokens, cell="gru", max_steps=5, batch_size=2, bptt=12, ngram_order=2
    )
    language.fit(texts, valid=texts[:20], out=tmp_path / "language")
    options = SMALL | {"max_steps": 1, "learning_rate": 1e-9, "num_layers": 2}
    for name in ("embedding_size", "hidden_size"):
        options.pop(name)
    data = [*reviews(30), {"text": "the zebra was great", "label": "good"}]
    out = tmp_path / "classifier"
    model = Classifier(**options, unfreeze_every=1.0).fit(
        data, valid=reviews(10, 1), from_run=tmp_path / "language", out=out
    )
    said = capsys.readouterr().err
    assert "2 layers begin as its own" in said
    assert "tokens, the language model knows" in said
    own, theirs = model.network_.encoder, language.network_
    row = language.tokenizer_.id("film") if tokenizer == "word" else None
    if row is not None:
        id = model._inputs.vocabulary.word_id("film")
        expected = theirs.embedding.weight[row] * theirs.embedding_scale
        torch.testing.assert_close(own.embedding.weight[id], expected)
        assert model._inputs.vocabulary.word_id("zebra") > 0
    mine, source = dict(own.recurrent.named_parameters()), dict(theirs.recurrent.named_parameters())
    first = source["weight_ih_l0"]
    torch.testing.assert_close(mine["weight_ih_l0"][:, : first.shape[1]], first)
    torch.testing.assert_close(mine["weight_hh_l1"], source["weight_hh_l1"])
    assert gw.load(out).predict("the film was great") == model.predict("the film was great")
    with pytest.raises(InputError, match="embedding_size"):
        Classifier(**SMALL | {"embedding_size": 9}).fit(data, from_run=tmp_path / "language")
    pairs = [{"source": "a b", "target": "b a"}] * 9
    translator = gw.Translator(embedding_size=8, hidden_size=8, max_steps=1, tokenizer="word")
    translator.fit(pairs, valid=pairs, out=tmp_path / "translator")
    with pytest.raises(RunError, match="not a classifier or a language-model"):
        Classifier(**SMALL).fit(data, from_run=tmp_path / "translator")
