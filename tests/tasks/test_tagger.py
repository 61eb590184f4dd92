"""The tagger: what it learns, what its figures are by hand, what it says of spans, and what it refuses."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import gatework as gw
from gatework.baselines import AveragedPerceptron
from gatework.data import Tagging, is_well_formed, scheme_of, spans_of
from gatework.errors import InputError, RunError
from gatework.tasks.example_task import Example
from gatework.tasks.tagger import Tagger
from gatework.tasks.tagger.mentions import replaced
from gatework.tasks.tagger.span_lists import SpanLists
from gatework.tasks.tagger.tag_set import Gazetteers
from tests.tolerances import PREDICTIONS, close_to

CITIES = ["rome", "oslo", "new york", "los angeles", "rio de janeiro", "miles"]
ARTISTS = ["miles davis", "nina simone", "oscar peterson trio", "bach"]
SMALL: dict[str, Any] = {
    "embedding_size": 12,
    "character_size": 8,
    "hidden_size": 16,
    "side_rows": 512,
    "learning_rate": 0.02,
    "batch_tokens": 200,
    "dropout": 0.1,
    "device": "cpu",
    "rivals": False,
}


def sentence(chooser: random.Random) -> dict[str, Any]:
    kind = chooser.choice(["travel", "music"])
    before, names, after = {
        "travel": (["book a flight to", "go to", "from oslo to"], CITIES, "please"),
        "music": (["play some", "play", "i want to hear"], ARTISTS, "now"),
    }[kind]
    start, name = chooser.choice(before).split(), chooser.choice(names).split()
    tag = "city" if kind == "travel" else "artist"
    tags = ["O"] * len(start) + [f"B-{tag}"] + [f"I-{tag}"] * (len(name) - 1) + ["O"]
    if start[0] == "from":
        tags[1] = "B-city"
    return {"tokens": [*start, *name, after], "tags": tags, "label": kind}


def sentences(count: int, seed: int = 0) -> list[dict[str, Any]]:
    chooser = random.Random(seed)
    return [sentence(chooser) for _ in range(count)]


@pytest.fixture(scope="module")
def model() -> Tagger:
    return Tagger(**SMALL | {"rivals": True, "epochs": 8}).fit(sentences(150), valid=sentences(40, seed=1))


def test_it_learns_tags_and_labels_beside_its_baselines(model: Tagger) -> None:
    figures = model.evaluate(sentences(40, seed=2))
    assert figures["model"]["span_f1"] == figures["model"]["label_accuracy"] == 1
    assert figures["model"]["sentence_accuracy"] == figures["model"]["tags_right"] == 1
    assert set(figures["baselines"]) == {"most_frequent_tag", "perceptron"}
    assert (
        figures["baselines"]["perceptron"]["span_f1"] > figures["baselines"]["most_frequent_tag"]["span_f1"]
    )
    assert figures["by_type"]["city"]["f1"] == 1


def test_spans_have_the_characters_of_the_text(model: Tagger) -> None:
    text = "Go to  New York, please!"
    record = model.predict(text)[0]
    assert record["tokens"] == ["Go", "to", "New", "York", ",", "please", "!"]
    (span,) = record["spans"]
    assert (span["type"], span["text"], text[span["start"] : span["end"]]) == ("city", "New York", "New York")
    assert (span["first"], span["last"]) == (2, 4)
    assert record["label"] == "travel"
    assert 0.5 < span["probability"] <= min(record["probabilities"][2:4]) <= 1
    for best, second in zip(record["probabilities"], record["second"], strict=True):
        total = best + second["probability"]
        assert total < 1 or total == close_to(1.0)
    listed = model.predict([["go", "to", "new", "york"]])[0]
    assert listed["spans"][0]["text"] == "new york" == "go to new york"[listed["spans"][0]["start"] :]
    brief = model.predict(text, confidence=False)[0]
    assert brief["output"] == record["output"]
    assert {"probabilities", "second", "label_probability"}.isdisjoint(brief)
    assert "probability" not in brief["spans"][0]


def test_unusual_inputs(model: Tagger) -> None:
    empty, blank, long, listed = model.predict(["", " \n", "x" * 10_000, "rome " * 2500], confidence=False)
    assert empty["output"] == blank["output"] == empty["tokens"] == []
    assert empty["warnings"] == ["the input has no words"]
    assert len(long["output"]) == 1
    assert long["warnings"] == ["no word of the input is in the vocabulary"]
    assert len(listed["output"]) == len(listed["tokens"]) == 2000
    assert "first 2,000" in listed["warnings"][0]
    with_confidence = model.predict([""])[0]
    beside = model.predict(["", "go to rome"])[0]  # in a batch with words
    assert beside["label_probability"] == close_to(with_confidence["label_probability"])
    assert with_confidence["probabilities"] == with_confidence["second"] == []
    with pytest.raises(InputError, match="is not an input"):
        model.predict([["fly", 3]])


@pytest.mark.parametrize(
    "options", [{"crf": False}, {"side_path": False}, {"character_size": 0}, {"learn_label": False}]
)
def test_each_part_can_be_switched_off(options: Mapping[str, Any], tmp_path: Path) -> None:
    rows = sentences(80)
    trained = Tagger(**SMALL | {"epochs": 12, "batch_tokens": 60} | options).fit(
        rows, valid=rows[:30], out=tmp_path / "run"
    )
    assert trained.metrics_["model"]["span_f1"] > 0.9
    assert ("label_accuracy" in trained.metrics_["model"]) == options.get("learn_label", True)
    assert gw.load(tmp_path / "run").predict("go to rome") == trained.predict("go to rome")


def test_malformed_data_is_repaired_and_said_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*sentences(30), {"tokens": ["oslo", "now"], "tags": ["I-city", "O"], "label": "travel"}]
    trained = Tagger(**SMALL | {"max_steps": 1}).fit(rows, valid=rows)
    assert (
        "1 sentences with malformed BIO tags are repaired, the first at data, row 31"
        in capsys.readouterr().err
    )
    assert scheme_of(trained.tag_set_.tags) == "BIO"
    with pytest.raises(
        InputError, match=r"row 31: has malformed BIO tags \(I-city O\).*malformed_tags=repair"
    ):
        Tagger(**SMALL | {"malformed_tags": "error"}).fit(rows, valid=rows)


def test_one_tag_that_marks_no_span_is_said_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*sentences(30), {"tokens": ["oslo", "now"], "tags": ["city", "O"], "label": "travel"}]
    trained = Tagger(**SMALL | {"max_steps": 1}).fit(rows, valid=sentences(5))
    said = capsys.readouterr().err
    assert said.count("warning") == 1
    assert "data, row 31 has the tag 'city', which marks no span" in said
    assert trained.tag_set_.scheme == "plain"
    with pytest.raises(InputError, match=r"row 31: has the tag 'city'.*malformed_tags=repair"):
        Tagger(**SMALL | {"malformed_tags": "error"}).fit(rows, valid=rows)


def test_what_training_has_not_seen_is_counted_and_still_evaluated(
    model: Tagger, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"tokens": ["go", "to", "rome", "please"], "tags": ["O", "O", "B-city", "O"], "label": "travel"}
    other = {"tokens": ["go", "to", "rome", "please"], "tags": ["O", "O", "B-town", "O"], "label": "trip"}
    figures = model.evaluate([known, other])
    said = capsys.readouterr().err
    assert "1 tags are none that training has seen: B-town" in said
    assert "1 labels are none that training has seen: trip" in said
    assert figures["unseen_tags"] == {"B-town": 1}
    assert figures["unseen_labels"] == {"trip": 1}
    assert figures["model"]["span_f1"] == figures["model"]["label_accuracy"] == 0.5
    assert figures["model"]["loss"] == close_to(model.evaluate([known])["model"]["loss"])
    assert "loss" not in model.evaluate([other])["model"], "there is nothing to take a mean of"
    with pytest.raises(InputError, match="validation data: has no output that the training data has"):
        Tagger(**SMALL | {"max_steps": 1}).fit([known] * 3, valid=[other])


def test_sentences_without_a_label_count_for_their_tags_alone(
    model: Tagger, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"tokens": ["go", "to", "rome", "please"], "tags": ["O", "O", "B-city", "O"], "label": "travel"}
    without = {name: known[name] for name in ("tokens", "tags")}
    (mixed, plain) = (model.evaluate(rows)["model"] for rows in ([known, without], [without]))
    assert "1 sentences have no label" in capsys.readouterr().err
    assert mixed["label_accuracy"] == mixed["sentence_accuracy"] == plain["sentence_accuracy"] == 1
    assert "label_accuracy" not in plain


def test_sentences_that_are_too_long_are_left_out_of_figures(
    model: Tagger, capsys: pytest.CaptureFixture[str]
) -> None:
    long = {"tokens": ["go"] * 2001, "tags": ["O"] * 2001, "label": "travel"}
    assert model.evaluate([*sentences(2), long])["examples"] == 2
    assert "1 sentences of more than 2,000 words are left out, the first at data, row 3" in (
        capsys.readouterr().err
    )


def test_a_file_with_words_in_columns_is_predicted_by_sentences(model: Tagger, tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("go O\nto O\nrome B-city\n\nplay\nbach\n")
    assert [record["input"] for record in model.predict(path)] == [["go", "to", "rome"], ["play", "bach"]]


def test_a_bare_list_of_words_is_several_texts_and_that_is_said(
    model: Tagger, capsys: pytest.CaptureFixture[str]
) -> None:
    records = model.predict(["go", "to", "rome"])
    assert [record["tokens"] for record in records] == [["go"], ["to"], ["rome"]]
    assert "each of the 3 words is tagged as a text of its own" in capsys.readouterr().err
    (record,) = model.predict([["go", "to", "rome"]])
    assert record["tokens"] == ["go", "to", "rome"]
    for texts in (["go to rome", "play"], ["rome"], "rome", [["rome"], ["oslo"]]):
        model.predict(texts)
    assert not capsys.readouterr().err


def test_one_tag_alone_and_numbered_sentences() -> None:
    rows = [{"tokens": ["a"] * (index % 4 + 1), "tags": ["O"] * (index % 4 + 1)} for index in range(20)]
    trained = Tagger(**SMALL | {"max_steps": 3}).fit(rows)
    assert trained.metrics_["model"]["accuracy"] == 1
    record = trained.predict("a b")[0]
    assert record["output"] == ["O", "O"]
    assert record["second"] == [None, None]
    assert "label" not in record


def test_spans_that_cut_words(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": "fly to Rome", "spans": [[7, 11, "city"]]} for _ in range(10)]
    rows.append({"text": "fly to Oslo", "spans": [[7, 9, "city"]]})
    with pytest.raises(InputError, match=r"row 11, span 1: 'Os'"):
        Tagger(**SMALL).fit(rows)
    Tagger(**SMALL | {"max_steps": 1, "cut_spans": "widen"}).fit(rows)
    assert (
        "1 spans that do not fit the words are widened, the first at data, row 11" in capsys.readouterr().err
    )


def test_gazetteers_are_features_and_travel_with_the_run(tmp_path: Path) -> None:
    cities = tmp_path / "cities.txt"
    cities.write_text("Rome\nNew York\nNew York City\n\n")
    lists = Gazetteers.read([str(cities)])
    assert lists.marks(["in", "new", "york", "city", "rome", "york"]) == {
        "cities": [False, True, True, True, True, False]
    }
    rows = sentences(40)
    options = SMALL | {"gazetteers": (str(cities),), "max_steps": 5}
    trained = Tagger(**options).fit(rows, valid=rows, out=tmp_path / "run")
    cities.unlink()
    assert gw.load(tmp_path / "run").predict("to new york") == trained.predict("to new york")
    with pytest.raises(InputError, match="side path"):
        Tagger(**options | {"side_path": False}).fit(rows)


def test_span_lists_leave_a_sentences_own_spans_out() -> None:
    words = [["to", "New", "york"], ["to", "york"], ["new", "york", "or", "Oslo"]]
    tags = [("O", "B-city", "I-city"), ("O", "B-name"), ("B-city", "I-city", "O", "B-city")]
    taggings = [Tagging(each) for each in tags]
    lists = SpanLists.learn(words, taggings, "BIO")
    assert lists.counts == {"new york": {"city": 2}, "york": {"name": 1}, "oslo": {"city": 1}}
    found = lists.marks(["york", "new", "york", "in"])
    assert found == {
        "has city": [True, True, True, False],
        "has name": [True, False, True, False],
        "B city": [False, True, False, False],
        "E city": [False, False, True, False],
        "S name": [True, False, True, False],
    }
    own = lists.marks(words[2], taggings[2])  # another sentence has New York, none has Oslo
    assert own["B city"] == own["has city"][:1] + [False] * 3 == [True, False, False, False]
    assert "S city" not in own
    assert lists.marks(words[1], taggings[1]) == {"has city": [False, True]}
    assert lists.joined(lists).counts["new york"] == {"city": 4}


def test_span_lists_travel_with_the_run(tmp_path: Path) -> None:
    options = SMALL | {"span_lists": True, "max_steps": 5}
    trained = Tagger(**options).fit(sentences(40), valid=sentences(5), out=tmp_path / "run")
    known, unknown = (trained._encode(["go", "to", city]) for city in ("rome", "roma"))
    assert len(known["features"]) > len(unknown["features"])
    alone = Example("", ["to", "rome"], Tagging(("O", "B-city")))
    first = Tagger(**options).fit(
        [{"tokens": ["to", "rome"], "tags": ["O", "B-city"]}] * 2, valid=sentences(5)
    )
    assert len(first._encode_training(alone)["features"]) == len(first._encode(*alone[1:])["features"])
    loaded = gw.load(tmp_path / "run")
    assert loaded.predict("to new york") == trained.predict("to new york")
    other = Tagger(**SMALL | {"max_steps": 2}).fit(sentences(40), valid=sentences(5), out=tmp_path / "other")
    with pytest.raises(InputError, match="span_lists"):
        gw.load(tmp_path / "run", other.run_.path)
    further = Tagger(max_steps=1, rivals=False, device="cpu").fit(sentences(10), from_run=tmp_path / "run")
    assert sum(further._span_lists.counts["rome"].values()) > sum(trained._span_lists.counts["rome"].values())
    with pytest.raises(InputError, match="side path"):
        Tagger(**options | {"side_path": False}).fit(sentences(10))


def test_several_trainings_read_the_data_and_fit_the_rival_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    read, fit = Tagger._read, AveragedPerceptron.fit
    monkeypatch.setattr(Tagger, "_read", lambda *given: calls.append("read") or read(*given))
    monkeypatch.setattr(AveragedPerceptron, "fit", lambda *given: calls.append("fit") or fit(*given))
    rows, options = sentences(60), SMALL | {"rivals": True, "max_steps": 2}
    Tagger(**options, restarts=3).fit(rows, out=tmp_path / "several")
    assert calls == ["read", "fit"]
    alone = Tagger(**options, seed=1).fit(rows, out=tmp_path / "alone")
    second = gw.load(tmp_path / "several" / "restarts" / "2")
    assert second.metrics_ == alone.metrics_
    assert "perceptron" in second.metrics_["baselines"]
    for file in ("rival-perceptron.safetensors", "model.safetensors"):
        assert (second.run_.path / file).read_bytes() == (alone.run_.path / file).read_bytes()


STREAMING = SMALL | {
    "subword_rows": 64,
    "crf": False,
    "bidirectional": False,
    "learn_label": False,
    "max_steps": 60,
}


@pytest.mark.parametrize(("cell", "crf"), [("lstm", False), ("gru", True)])
def test_a_word_at_a_time_is_the_whole_sentence(cell: str, crf: bool) -> None:
    trained = Tagger(**STREAMING | {"cell": cell, "crf": crf}).fit(sentences(60), valid=sentences(20, seed=1))
    stream, agreed = trained.word_stream(), 0
    for words in (["go", "to", "new", "york", "please", "unheard"], ["rome"], ["york", "York"] * 4):
        steps = [stream.step(word) for word in words]
        (*_, record) = stream.finish()
        whole = trained.predict([words])[0]
        assert record["output"] == whole["output"]
        assert record["probabilities"] == close_to(whole["probabilities"], table=PREDICTIONS)
        assert is_well_formed([tag for tag, _ in steps], "BIO")
        assert len(set(whole["output"])) > 1 or len(words) == 1  # it has learned something
        for count, (tag, probability) in enumerate(steps, start=1):
            (begun,) = trained.predict([words[:count]])
            if begun["output"][-1] == tag:
                agreed += 1
                assert probability == close_to(begun["probabilities"][-1], table=PREDICTIONS)
    assert agreed > 5


def test_streams_of_whole_sentences_are_refused(model: Tagger) -> None:
    with pytest.raises(
        InputError, match=r"session: this tagger reads whole.*bidirectional=false and learn_label"
    ):
        model.word_stream()


def test_spans_get_the_words_of_others_of_their_type() -> None:
    rows = sentences(60)
    train = [
        Example(f"row {n}", row["tokens"], Tagging(tuple(row["tags"]), row["label"]))
        for n, row in enumerate(rows)
    ]
    made = replaced(train, "BIO", copies=2, seed=0)
    assert made == replaced(train, "BIO", copies=2, seed=0) != replaced(train, "BIO", copies=2, seed=1)
    assert 60 < len(made) < 120, "a copy in which nothing was replaced is left out"
    names = {"city": {*CITIES, "oslo"}, "artist": {*ARTISTS}}
    originals = {each.where: each for each in train}
    differ = 0
    for each in made:
        source = originals[each.where]
        assert is_well_formed(each.output.tags, "BIO")
        assert len(each.input) == len(each.output.tags)
        spans, before = (spans_of(one.output.tags, "BIO") for one in (each, source))
        assert [span.type for span in spans] == [span.type for span in before]
        assert all(" ".join(each.input[s.start : s.end]) in names[s.type] for s in spans)
        assert each.output.label == source.output.label
        outside = [
            [w for w, tag in zip(one.input, one.output.tags, strict=True) if tag == "O"]
            for one in (each, source)
        ]
        assert outside[0] == outside[1]
        differ += each.input != source.input
    assert differ > len(made) / 2


def test_a_language_model_and_pieces_of_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = sentences(60)
    sizes = {"embedding_size": 12, "hidden_size": 16, "device": "cpu", "cell": "gru"}
    texts = [" ".join(row["tokens"]) for row in rows]
    for tokenizer in ("word", "character"):
        language = gw.LanguageModel(
            **sizes, tokenizer=tokenizer, num_layers=1, max_steps=3, batch_size=2, bptt=12, ngram_order=2
        )
        language.fit(texts, valid=texts[:20], out=tmp_path / tokenizer)
    own = {name: value for name, value in SMALL.items() if name not in sizes}
    options = own | {"max_steps": 8, "subword_rows": 64, "replaced_copies": 1, "device": "cpu"}
    model = Tagger(**options).fit(
        rows, valid=sentences(10, seed=1), from_run=tmp_path / "word", out=tmp_path / "tagger"
    )
    assert "a layer begins as its own" in capsys.readouterr().err
    assert gw.load(tmp_path / "tagger").predict("go to rome") == model.predict("go to rome")
    with pytest.raises(RunError, match="not words"):
        Tagger(**options).fit(rows, from_run=tmp_path / "character")


@pytest.mark.parametrize("crf", [False, True])
def test_temperatures_come_from_the_validation_data_and_change_no_tag(crf: bool, tmp_path: Path) -> None:
    """Validation data half of which is mislabelled makes a run less sure, with the same weights and the same tags."""
    rows, valid = sentences(80), sentences(40, seed=1)
    wrong = [
        row | {"tags": ["O"] * len(row["tags"]), "label": "music"} if n % 2 else row
        for n, row in enumerate(valid)
    ]
    options = SMALL | {"crf": crf, "max_steps": 25, "select_by": "loss", "validate_every": 25}
    runs = [
        Tagger(**options).fit(rows, valid=data, out=tmp_path / str(n))
        for n, data in enumerate((valid, wrong))
    ]
    sure, unsure = runs
    weights = [run.network_.state_dict() for run in runs]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    found = [run.network_.temperatures for run in runs]
    assert found[0][0] < found[1][0]
    assert found[0][1] < found[1][1]
    texts = [" ".join(row["tokens"]) for row in sentences(20, seed=3)]
    for one, other in zip(sure.predict(texts), unsure.predict(texts), strict=True):
        assert (one["output"], one["label"]) == (other["output"], other["label"])
        assert one["label_probability"] > other["label_probability"]
    assert unsure.evaluate(wrong)["model"]["loss"] < sure.evaluate(wrong)["model"]["loss"]
    loaded = gw.load(tmp_path / "1")
    assert loaded.predict(texts) == unsure.predict(texts)


def test_intervals_of_spans(model: Tagger) -> None:
    rows = [
        row if n % 5 else row | {"tags": ["O"] * len(row["tags"])}
        for n, row in enumerate(sentences(100, seed=4))
    ]
    figures = model.evaluate(rows)
    for name, (low, high) in figures["intervals"].items():
        assert low <= figures["model"][name] <= high
        assert high - low < 0.3
    low, high = figures["intervals"]["span_f1"]
    assert low < high
