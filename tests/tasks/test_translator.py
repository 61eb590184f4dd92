"""The translator on a language that is easily learned: words turned round and mapped one to one."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

import gatework as gw
from gatework import tasks
from gatework.cli import main
from gatework.errors import InputError, RunError
from gatework.inspect.recorded import parts_of
from gatework.seq2seq import EncoderDecoder
from gatework.tasks.translator import Translation, Translator, TranslatorOptions
from gatework.training import ExampleProblem
from tests.tolerances import FOUR_DECIMALS, PREDICTIONS, close_to

WORDS = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf", "six": "sechs"}
SMALL = {
    "tokenizer": "word",
    "embedding_size": 16,
    "hidden_size": 32,
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "batch_tokens": 200,
    "learning_rate": 0.01,
}


def pairs(count: int, seed: int) -> list[dict[str, str]]:
    generator = random.Random(seed)
    rows = []
    for _ in range(count):
        source = [generator.choice(list(WORDS)) for _ in range(generator.randint(1, 5))]
        rows.append(
            {"source": " ".join(source), "target": " ".join(WORDS[word] for word in reversed(source))}
        )
    return rows


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    out = tmp_path_factory.mktemp("translator") / "run"
    return Translator(**SMALL, epochs=8).fit(iter(pairs(1500, 1)), valid=iter(pairs(100, 2)), out=out)


def test_it_learns_and_stands_beside_the_copy(trained: Translator) -> None:
    figures = trained.metrics_
    compared = {"model", "baseline", "baselines", "headline", "strongest", "below_baseline"}
    assert set(figures) == compared | {"examples", "unit", "search", "signatures", "unknown"}
    assert not figures["below_baseline"]
    # The figures of the training's validations are of another search, and both say of which.
    assert figures["search"] == "beam search, 5 hypotheses"
    validations = [record for record in trained.result_.history if record["kind"] == "validation"]
    assert {record["search"] for record in validations} == {"greedy search"}
    assert figures["baseline"] == figures["baselines"]["copy"]
    assert figures["baseline"]["exact_match"] == 0.0
    assert figures["model"]["exact_match"] > 0.9
    assert figures["model"]["bleu"] > 90
    assert "tok:none" in figures["signatures"]["bleu"]
    assert "chrF2" in figures["signatures"]["chrf"]
    again = trained.evaluate(iter(pairs(100, 2)))
    assert again == figures


def test_predictions_and_scores_are_one_model(trained: Translator) -> None:
    texts = [row["source"] for row in pairs(70, 3)]
    together = trained.predict(texts, beam=3, alternatives=3, alignment=True)
    for text, record in list(zip(texts, together, strict=True))[:5]:
        (alone,) = trained.predict(text, beam=3, alternatives=3, alignment=True)
        assert alone["output"] == record["output"]
        assert alone["score"] == close_to(record["score"])
        TypeAdapter(Translation).validate_python(record)
        json.dumps(record)
        (scored,) = trained.score([(text, record["output"])])
        assert scored["log_probability"] == close_to(record["log_probability"], table=PREDICTIONS)
        shown = record["alignment"]
        assert shown["source"] == [*text.split(), "</s>"]
        assert shown["target"][-1] == "</s>"
        assert len(shown["weights"]) == len(shown["target"])
        assert all(abs(sum(row) - 1.0) < FOUR_DECIMALS for row in shown["weights"])
        scores = [other["score"] for other in record["alternatives"]]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("drawn", [{}, {"beam": 1, "temperature": 1e-3}])
def test_the_alignment_runs_backwards(trained: Translator, drawn: dict[str, Any]) -> None:
    (record,) = trained.predict("one two three four", alignment=True, **drawn)
    assert record["output"] == "vier drei zwei eins"
    looked_at = [row.index(max(row)) for row in record["alignment"]["weights"][:4]]
    assert looked_at[0] > looked_at[-1]


def test_an_unknown_word_becomes_what_it_attends_to() -> None:
    rows = [{"source": f"name {n}", "target": f"heisst {n}"} for n in range(300)] * 2
    model = Translator(**SMALL, epochs=4, min_frequency=3, select_by="loss").fit(iter(rows))
    (record,) = model.predict("name 4711")
    assert record["output"] == "heisst 4711"
    assert "not in the vocabulary" in record["warnings"][0]
    (kept,) = model.predict("name 4711", replace_unknown=False)
    assert "4711" not in kept["output"]


def test_unlike_inputs_are_answered_with_a_warning(trained: Translator) -> None:
    for text, expected in (
        ("", "empty"),
        ("one " * 40, "longest seen"),
        ("日本 🍣", "vocabulary"),
        ("x" * 100_000, "vocabulary"),
        ("one " * 25_000, "the first 1,999 are translated"),
    ):
        (record,) = trained.predict(text, length=5)
        assert any(expected in warning for warning in record["warnings"])
    assert "warnings" not in trained.predict("one two")[0]


def test_sampling_repeats_by_its_seed(trained: Translator) -> None:
    def draw(seed: int) -> list[str]:
        settings = {"beam": 1, "temperature": 2.0, "seed": seed}
        return [record["output"] for record in trained.predict(["one two three"] * 8, **settings)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert len(set(draw(1))) > 1
    with pytest.raises(InputError, match="beam=1"):
        trained.predict("one", temperature=1.0)


def test_lines_that_are_there_are_translated_together(
    trained: Translator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`gatework predict` reads a file's lines far faster than it translates one."""
    lines = [row["source"] for row in pairs(200, 6)]
    (tmp_path / "lines.txt").write_text("\n".join(lines) + "\n")
    start, sizes = EncoderDecoder.start, []

    def counted(self: EncoderDecoder, source: torch.Tensor, lengths: torch.Tensor) -> Any:
        sizes.append(len(lengths))
        return start(self, source, lengths)

    monkeypatch.setattr(EncoderDecoder, "start", counted)
    assert main(["predict", str(trained.run_.path), str(tmp_path / "lines.txt")]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["input"] for record in records] == lines
    assert sum(sizes) == 200
    assert len(sizes) < 20  # 4, were the machine idle
    sizes.clear()
    drawn = ["--set", "beam=1", "--set", "temperature=1"]
    (tmp_path / "few.txt").write_text("one two\n" * 3)
    assert main(["predict", str(trained.run_.path), str(tmp_path / "few.txt"), *drawn]) == 0
    assert sizes == [1, 1, 1]  # what is drawn must not depend on which lines were there
    assert len(set(capsys.readouterr().out.splitlines())) == 1


def test_a_saved_run_translates_alike(trained: Translator, tmp_path: Path) -> None:
    trained.save(tmp_path / "copy")
    loaded = gw.load(tmp_path / "copy")
    assert isinstance(loaded, Translator)
    texts = ["one", "five four three two"]
    assert loaded.predict(texts) == trained.predict(texts)
    assert loaded.evaluate(iter(pairs(20, 4))) == trained.evaluate(iter(pairs(20, 4)))
    both = loaded.together(trained)
    assert [r["output"] for r in both.predict(texts)] == [r["output"] for r in trained.predict(texts)]
    (tmp_path / "copy" / "decoder_cell.json").write_text("{}")
    with pytest.raises(RunError):
        gw.load(tmp_path / "copy")


@pytest.mark.parametrize("decoder", ["bahdanau_lstm", "luong_lstm", "cho_gru", "gru"])
def test_every_decoder_trains(decoder: str) -> None:
    options = SMALL | {
        "decoder_cell": decoder,
        "decoder_layers": 2,
        "num_layers": 2,
        "shared_vocabulary": True,
    }
    options |= {"dropout": 0.1, "label_smoothing": 0.1, "scheduled_sampling": 0.2}
    model = Translator(**options, epochs=3).fit(iter(pairs(500, 1)), valid=iter(pairs(30, 2)))
    assert model.metrics_["model"]["perplexity"] < 10  # of 15 tokens
    assert ("alignment" in model.predict("one", alignment=True)[0]) == (decoder not in ("cho_gru", "gru"))


def test_a_resumed_training_is_the_one_that_was_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = SMALL | {"max_steps": 30, "validate_every": 10, "dropout": 0.2, "scheduled_sampling": 0.2}

    def train(out: str, **given: bool) -> dict[str, torch.Tensor]:
        data, valid = iter(pairs(200, 1)), iter(pairs(20, 2))
        model = Translator(**options).fit(data, valid=valid, out=tmp_path / out, **given)
        assert model.result_.steps == 30
        return model.network_.state_dict()

    whole = train("whole")
    loss, calls = ExampleProblem.loss, iter(range(25))

    def stopping(self: ExampleProblem, *args: Any) -> Any:
        if next(calls, None) is None:
            raise RuntimeError("the power fails")
        return loss(self, *args)

    monkeypatch.setattr(ExampleProblem, "loss", stopping)
    with pytest.raises(RuntimeError, match="power"):
        train("parts")
    monkeypatch.undo()
    parts = train("parts", resume=True)
    for name, value in whole.items():
        assert torch.equal(parts[name], value), name


def test_transfer_starts_from_the_other_runs_weights(trained: Translator, tmp_path: Path) -> None:
    trained.save(tmp_path / "parent")
    options = {"max_steps": 1, "learning_rate": 1e-9, "batch_tokens": 200}
    child = Translator(**options).fit(iter(pairs(30, 5)), from_run=tmp_path / "parent")
    assert child.metrics_["model"]["exact_match"] > 0.8
    with pytest.raises(InputError, match="hidden_size"):
        Translator(hidden_size=8).fit(iter(pairs(30, 5)), from_run=tmp_path / "parent")


def test_bad_data_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="both sides"):
        Translator(**SMALL).fit(iter([{"source": "", "target": "x"}]))
    with pytest.raises(InputError, match="held back"):
        Translator(**SMALL).fit(iter([{"source": "a", "target": "x"}]))
    with pytest.raises(InputError, match="target"):
        Translator(**SMALL).fit(iter([{"source": "a", "tarjet": "x"}]))
    rows = [*pairs(40, 1), {"source": " ", "target": "leer"}, {"source": "one " * 300, "target": "eins"}]
    model = Translator(**SMALL, max_steps=1, select_by="loss").fit(iter(rows), valid=iter(pairs(5, 2)))
    said = capsys.readouterr().err
    assert "1 pairs with an empty side are left out, the first at data, row 41" in said
    assert "1 pairs longer than max_length=200 tokens are left out, the first at data, row 42" in said
    assert model.result_.steps == 1
    with pytest.raises(InputError, match="takes further inputs"):
        Translator(**SMALL, cell="bahdanau_gru").fit(iter(pairs(30, 1)))
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_the_registry_knows_it() -> None:
    assert tasks.get("translator") is Translator
    assert gw.Translator is Translator
    assert TranslatorOptions().decoder_cell == "bahdanau_gru"
    assert Translator.input_schema()["type"] == "string"


def test_a_report_says_what_is_written_where_the_decoder_looks(trained: Translator) -> None:
    subject = trained._subject("a b", {"output": "b a"})
    decoder = subject.steps["decoder"]
    assert [*decoder.written] == [
        *decoder.labels[1:],
        "</s>",
    ]  # it reads what it has written, from the boundary on
    with torch.no_grad(), gw.record(subject.module) as tape:
        subject.call()
    alignments = [each for each in parts_of(subject, tape.calls, 0)[1] if each.name.startswith("decoder")]
    assert [list(each.target) for each in alignments] == [list(decoder.written)]
    assert [list(each.source) for each in alignments] == [list(decoder.memory)]
