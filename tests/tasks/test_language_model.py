from __future__ import annotations

import inspect
import json
import math
import shutil

import pytest
import torch
from pydantic import TypeAdapter

import gatework as gw
from gatework import attend, linear, tanh, tasks
from gatework.data import TokenStream
from gatework.errors import InputError, RunError
from gatework.tasks.language_model import LanguageModel
from gatework.tasks.language_model.options import Completion, LanguageModelOptions, Prompt
from gatework.tasks.stream_loss import stream_loss
from gatework.training import RunFolder
from tests.tolerances import PREDICTIONS, close_to

from .conftest import SMALL, sentences


def test_it_learns_and_stands_beside_the_baseline(trained):
    figures = trained.metrics_
    compared = {"model", "baseline", "baselines", "headline", "strongest", "below_baseline"}
    assert set(figures) == compared | {"examples", "unit", "unknown"}
    assert (figures["headline"], figures["strongest"], figures["unit"]) == ("loss", "ngram", "tokens")
    assert figures["baseline"] == figures["baselines"]["ngram"]
    assert figures["model"]["loss"] < 1.5 < math.log(trained.tokenizer_.vocabulary_size)
    for side in (figures["model"], figures["baseline"]):
        assert side["perplexity"] == pytest.approx(math.exp(side["loss"]))
        assert side["bits_per_character"] == pytest.approx(
            side["loss"] / math.log(2)
        )  # a token is a character


def test_the_loss_of_a_text_is_its_score(trained):
    """Two ways to the same number: streams of the evaluation, and `score` token by token."""
    text = sentences(12, seed=5)
    figures = trained.evaluate(iter([text]))
    (scored,) = trained.score([text])
    assert figures["examples"] == len(text) == len(scored["tokens"])
    assert scored["log_probability"] == pytest.approx(sum(scored["log_probabilities"]))
    assert figures["model"]["loss"] == close_to(-scored["log_probability"] / len(text))


def test_a_long_text_is_read_at_several_places_without_losing_a_token(trained):
    text = sentences(180, seed=6)
    ids = trained.tokenizer_.encode(text)
    streams, (size, rest) = len(ids) // 1000, divmod(len(ids), len(ids) // 1000)
    assert streams > 1
    assert rest > 0
    stream = TokenStream.of_ids(ids, len(text), trained.tokenizer_.vocabulary_size)
    got = stream_loss(trained.network_, stream, start=trained.start_token)
    tokens = torch.tensor([trained.start_token, *ids])
    expected = 0.0
    with torch.inference_mode():
        for row in range(streams):
            end = (row + 1) * size + (rest if row == streams - 1 else 0)
            window = tokens[row * size : end + 1, None]
            expected += trained.network_.losses(window[:-1], window[1:])[0].sum().item()
    assert got == close_to(expected)


def test_a_completion_has_the_probability_that_it_is_scored_with(trained):
    for settings in ({"temperature": 0}, {"temperature": 1.0, "seed": 3}, {"beam": 3}):
        (record,) = trained.predict("the c", length=20, **settings)
        (whole,) = trained.score(["the c" + record["output"]])
        (prompt,) = trained.score(["the c"])
        expected = whole["log_probability"] - prompt["log_probability"]
        assert record["log_probability"] == close_to(expected, table=PREDICTIONS)
        assert len(record["output"]) == 20


def test_beam_finds_what_greedy_misses_and_lists_alternatives(trained):
    (greedy,) = trained.predict("a ", length=12, temperature=0)
    (beam,) = trained.predict("a ", length=12, beam=8, alternatives=3)
    assert beam["log_probability"] >= greedy["log_probability"] - 1e-6
    outputs = beam["alternatives"]
    assert outputs[0] == {"output": beam["output"], "log_probability": beam["log_probability"]}
    assert [o["log_probability"] for o in outputs] == sorted(
        (o["log_probability"] for o in outputs), reverse=True
    )
    assert len({o["output"] for o in outputs}) == 3


def test_streamed_pieces_are_the_output(trained):
    *pieces, record = trained.stream("the ", length=30, seed=1)
    assert "".join(pieces) == record["output"]
    assert len(pieces) == 30
    assert [record] == trained.predict(["the "], length=30, seed=1)
    assert trained.predict(["the "], length=30, seed=2) != [record]


def test_stop_ends_a_completion(trained):
    (record,) = trained.predict("the ", stop=".", temperature=0.5)
    assert record["output"].endswith(".")
    assert record["output"].count(".") == 1


def test_next_token_probabilities(trained):
    size = trained.tokenizer_.vocabulary_size
    (record,) = trained.predict("the ca", length=1, temperature=0, next_tokens=1000)
    assert len(record["next"]) == size
    assert sum(n["probability"] for n in record["next"]) == close_to(1)
    assert record["next"][0]["token"] == record["output"]
    assert record["next"][0]["probability"] == close_to(math.exp(record["log_probability"]))


def test_an_empty_prompt_begins_a_line(trained):
    (record,) = trained.predict([""], length=1, temperature=0, next=1)
    with torch.inference_mode():
        log_probs, _ = trained.network_.step(torch.tensor(trained.tokenizer_.encode("\n")), None)
    assert record["next"][0]["probability"] == pytest.approx(log_probs.exp().max().item())


def test_records_follow_the_published_schemas(trained):
    assert trained.input_schema() == TypeAdapter(Prompt).json_schema()
    assert trained.output_schema()["required"] == ["input", "output", "log_probability"]
    for settings in ({}, {"next": 2}, {"beam": 2, "alternatives": 2}):
        (record,) = trained.predict("a ", length=5, **settings)
        assert (
            Completion.model_validate(json.loads(json.dumps(record)), strict=True).output == record["output"]
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temprature": 1}, "Did you mean 'temperature'"),
        ({"top_p": 0}, "'top_p' cannot be 0"),
        ({"beam": 2, "alternatives": 3}, "alternatives is at most beam"),
    ],
)
def test_wrong_settings_are_refused(trained, settings, message):
    with pytest.raises(InputError, match=message):
        trained.predict("a", **settings)


def test_constructor_shows_checks_and_keeps_its_options():
    parameters = inspect.signature(LanguageModel).parameters
    assert set(parameters) == set(LanguageModelOptions.model_fields)
    assert parameters["hidden_size"].default == 384
    model = LanguageModel(hidden_size=100, epochs=2)
    assert (model.options.hidden_size, model.options.epochs) == (100, 2)
    assert repr(model) == "LanguageModel(epochs=2, hidden_size=100)"
    assert repr(LanguageModel(seed=0, epochs=2)) == "LanguageModel(epochs=2)"  # a loaded run has every option
    with pytest.raises(InputError, match="Did you mean 'hidden_size'"):
        LanguageModel(hiden_size=3)
    with pytest.raises(InputError, match="not trained"):
        model.predict("a")


def test_a_loaded_run_is_the_model_that_was_trained(trained, corpus, tmp_path):
    loaded = tasks.load(trained.run_.path)
    assert loaded.options_.model_dump(mode="json") == trained.options_.model_dump(mode="json")
    assert loaded.metrics_ == trained.metrics_
    assert loaded.predict("the ", seed=4) == trained.predict("the ", seed=4)
    loaded.save(tmp_path / "copy")
    copied = tasks.load(tmp_path / "copy")
    assert copied.predict("the ", seed=4) == trained.predict("the ", seed=4)
    assert not any((tmp_path / "copy" / "checkpoints").iterdir())
    with pytest.raises(RunError, match="already there"):
        loaded.save(tmp_path / "copy")


def test_evaluation_of_a_loaded_run_is_the_same_to_the_bit(trained, corpus):
    assert tasks.load(trained.run_.path).evaluate(corpus) == trained.evaluate(corpus)


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_words_and_byte_pairs_with_tied_weights(kind, corpus, tmp_path):
    size = {"word": None, "bpe": 270}[kind]
    model = LanguageModel(
        **(SMALL | {"adaptive_softmax": "on", "cutoffs": [3, 8]}),
        tokenizer=kind, vocabulary_size=size, epochs=2, learning_rate=0.02,
    ).fit(corpus, out=tmp_path / "run")  # fmt: skip
    assert model.options_.tie_weights
    network = model.network_
    assert network.softmax.weight is network.embedding.weight
    assert network.projection is not None
    assert model.metrics_["model"]["loss"] < math.log(model.tokenizer_.vocabulary_size) - 0.5
    loaded = tasks.load(tmp_path / "run")
    assert loaded.network_.softmax.weight is loaded.network_.embedding.weight
    (record,) = loaded.predict("the cat", length=10, seed=1)
    assert record == model.predict("the cat", length=10, seed=1)[0]
    assert "<unk>" not in record["output"]
    if kind == "word":
        assert record["output"][0] in " \n"  # goes on after the word


@pytest.mark.parametrize("tie_weights", [False, True])
def test_the_layers_read_larger_rows_than_the_softmax(tie_weights, corpus):
    model = LanguageModel(**(SMALL | {"embedding_size": 64, "tie_weights": tie_weights}), max_steps=1)
    network = model.fit(corpus, valid=corpus).network_
    read = []
    network.recurrent.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    network.hidden(torch.arange(model.tokenizer_.vocabulary_size)[:, None])
    assert 0.85 < read[0].std().item() / (64**-0.25 if tie_weights else 1) < 1.15
    assert network.softmax.weight.std().item() < 0.2  # it begins undecided


def test_defaults_follow_the_tokenizer_and_given_options_win():
    resolve = lambda **given: LanguageModel(**given)._resolve_options(None)  # noqa: E731
    assert resolve().bptt == 128
    assert resolve(tokenizer="word").bptt == 35
    assert resolve(tokenizer="word", steps=7).bptt == 7
    assert resolve(tokenizer="bpe").vocabulary_size == 4000
    assert resolve(tokenizer="bpe", vocabulary_size=300).vocabulary_size == 300
    assert resolve().softmax_cutoffs(9_999) == []
    assert resolve().softmax_cutoffs(10_000) == [625, 3125]
    assert resolve(adaptive_softmax="off").softmax_cutoffs(10_000) == []
    assert resolve(adaptive_softmax=True, cutoffs=[2, 5]).softmax_cutoffs(10) == [2, 5]
    for cutoffs in ([], [5, 2], [2, 10]):
        with pytest.raises(InputError, match="do not rise between 0 and the vocabulary's 10 tokens"):
            resolve(adaptive_softmax="on", cutoffs=cutoffs).softmax_cutoffs(10)


@pytest.mark.parametrize("form", ["iterator", "dicts", "frame", "dataset"])
def test_data_in_memory_gives_the_tokens_of_the_file(form, tmp_path):
    lines = sentences(40).splitlines()
    rows = [{"review": line} for line in lines]
    match form:
        case "iterator":
            data, columns = (line + "\n" for line in lines), None
        case "dicts":
            data, columns = rows, {"text": "review"}
        case "frame":
            data, columns = pytest.importorskip("pandas").DataFrame(rows), {"text": "review"}
        case "dataset":
            data, columns = pytest.importorskip("datasets").Dataset.from_list(rows), {"text": "review"}
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(lines) + "\n")
    options = SMALL | {"max_steps": 2}
    one = LanguageModel(**options).fit(data, columns=columns)
    other = LanguageModel(**options).fit(path)
    assert one.metrics_ == other.metrics_


def test_what_is_held_back_is_said(corpus, capsys):
    LanguageModel(**SMALL, max_steps=1).fit(corpus)
    assert "the last 5% are held back" in capsys.readouterr().err
    LanguageModel(**SMALL, max_steps=1).fit(corpus, valid=corpus)
    assert "held back" not in capsys.readouterr().err


def test_a_run_goes_on_from_anothers_weights(trained, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text(sentences(200, seed=9))
    model = LanguageModel(max_steps=1, learning_rate=1e-9, batch_size=4, bptt=8)
    model.fit(other, from_run=trained.run_.path, out=tmp_path / "run")
    assert model.options_.hidden_size == SMALL["hidden_size"]
    assert model.tokenizer_.to_json() == trained.tokenizer_.to_json()
    assert model.evaluate(other)["model"]["loss"] == close_to(
        trained.evaluate(other)["model"]["loss"], table=PREDICTIONS
    )
    again = LanguageModel(cell="lstm", max_steps=1, batch_size=4, bptt=8)
    again.fit(other, from_run=trained.run_.path)
    for options, message in (
        ({"hidden_size": 25}, "has hidden_size=24; 25 was given"),
        ({"cell": "gru"}, "has cell=lstm; gru was given"),
    ):
        with pytest.raises(InputError, match=message):
            LanguageModel(**options).fit(other, from_run=trained.run_.path, out=tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_any_cell_trains_and_loads_without_its_file(corpus, tmp_path):
    source = tmp_path / "mine.py"
    source.write_text(
        "import gatework as gw\n"
        "from gatework import linear, sigmoid, tanh\n"
        "@gw.cell\n"
        "def leaky(x, h):\n"
        '    """A cell of this test."""\n'
        '    z = sigmoid(linear("leak", x, h))\n'
        '    return z * h + (1 - z) * tanh(linear("candidate", x, h))\n'
    )
    for cell in (f"{source}:leaky", "gru", "layer_norm_lstm"):
        out = tmp_path / cell.rpartition(":")[2]
        model = LanguageModel(**SMALL, cell=cell, max_steps=3).fit(corpus, out=out)
        source.unlink(missing_ok=True)
        assert tasks.load(out).predict("a", length=5) == model.predict("a", length=5)
        assert json.loads((out / "config.json").read_text())["options"]["cell"] == cell


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_cells_that_do_not_fit_are_refused(corpus):
    @gw.cell
    def attending(x, h, memory: gw.Memory):
        """Reads a memory."""
        return tanh(linear("candidate", x, h, context=attend("source", h, memory)))

    for options, message in (
        ({"cell": attending}, "reads memory beside its input"),
        ({"cell": "projected_lstm"}, "proj_size"),
    ):
        with pytest.raises(InputError, match=message):
            LanguageModel(**SMALL, **options, max_steps=1).fit(corpus)
    projected = LanguageModel(**SMALL, cell="projected_lstm", proj_size=8, max_steps=1).fit(corpus)
    assert projected.network_.softmax.weight.shape[1] == 8


def test_a_strangers_run_names_a_file_that_is_not_run(corpus, tmp_path):
    owned = tmp_path / "owned"
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(owned)!r}, 'w').close()\n")
    run = tmp_path / "run"
    LanguageModel(**SMALL, max_steps=1).fit(corpus, out=run)
    config = json.loads((run / "config.json").read_text())
    edit(run, "config.json", options=config["options"] | {"cell": f"{evil}:cell"})
    loaded = tasks.load(run)
    loaded.predict("a", length=1)
    loaded.fit(corpus, out=tmp_path / "again")
    LanguageModel().fit(corpus, out=tmp_path / "from", from_run=run)
    (run / "cell.json").unlink()
    with pytest.raises(RunError, match=r"lacks the graph of its cell .* Name it again: cell=\S+\.py:\w+"):
        LanguageModel().fit(corpus, out=run, resume=True)
    assert not owned.exists()


def test_an_input_that_is_no_text_is_refused(trained):
    with pytest.raises(InputError, match="3 is not an input of language-model"):
        trained.predict(["a", 3], length=1)


def test_the_same_seed_gives_the_same_weights(corpus):
    runs = [LanguageModel(**SMALL, max_steps=5, seed=seed).fit(corpus) for seed in (1, 1, 2)]
    first, again, other = (run.network_.embedding.weight for run in runs)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_finished_run_trains_on_for_longer(trained, corpus, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained.run_.path, folder)
    longer = LanguageModel(epochs=3).fit(corpus, out=folder, resume=True)
    assert longer.options_.hidden_size == SMALL["hidden_size"]
    assert longer.result_.steps > trained.result_.steps
    with pytest.raises(RunError, match="begun with hidden_size=24"):
        LanguageModel(hidden_size=25).fit(corpus, out=folder, resume=True)
    with pytest.raises(InputError, match="no such file"):
        LanguageModel(epochs=4).fit(tmp_path / "absent.txt", out=folder, resume=True)
    assert tasks.load(folder).predict("a", seed=1) == longer.predict("a", seed=1)  # still whole


def test_a_run_that_was_killed_while_it_read_its_data_resumes(corpus, tmp_path):
    straight = LanguageModel(**SMALL, max_steps=4).fit(corpus, out=tmp_path / "straight")
    run = RunFolder.create(tmp_path / "killed")
    run.write_config(json.loads((tmp_path / "straight" / "config.json").read_text()))
    (run.path / "tokens").mkdir()
    (run.path / "tokens" / ".train.part").write_bytes(b"half a")
    resumed = LanguageModel().fit(corpus, out=run.path, resume=True)
    assert resumed.metrics_ == straight.metrics_
    assert not (run.path / "tokens").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda run: (run / "model.safetensors").write_bytes(b"x" * 99),
            "model.safetensors: is not the file",
        ),
        (lambda run: (run / "COMPLETE").unlink(), "unfinished"),
        (lambda run: (run / "tokenizer.json").unlink(), "tokenizer.json: is missing"),
        (lambda run: edit(run, "config.json", format_version=99), "is of format 99"),
        (lambda run: edit(run, "config.json", task="juggler"), "names the task 'juggler'"),
        (lambda run: edit(run, "config.json", options={"hiden_size": 3}), "no option 'hiden_size'"),
        (lambda run: edit(run, "config.json", options=None), "is damaged .options: .* an object"),
        (lambda run: edit(run, "config.json", options={}), "holds no options"),
        (lambda run: edit(run, "cell.json", nodes=[]), "cell.json: is not the graph of a cell"),
        (lambda run: shutil.rmtree(run), "there is no such folder"),
    ],
)
def test_damaged_runs_are_refused(trained, tmp_path, change, message):
    folder = tmp_path / "run"
    shutil.copytree(trained.run_.path, folder)
    change(folder)
    with pytest.raises(InputError, match=message):
        tasks.load(folder)


def edit(run, name, **changes):
    """What a careful stranger can do: change a file, and give COMPLETE its new hash."""
    content = json.loads((run / name).read_text())
    (run / name).write_text(json.dumps(content | changes))
    RunFolder(run).complete()


def test_nothing_stays_of_a_start_that_fails(corpus, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("too short\n")
    for data, options in ((short, {}), (tmp_path / "absent.txt", {}), (corpus, {"device": "cuda:7"})):
        with pytest.raises(InputError):
            LanguageModel(**(SMALL | options), max_steps=2).fit(data, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_temporary_runs_go_with_their_model(corpus):
    model = LanguageModel(**SMALL, max_steps=1).fit(corpus)
    folder = model.run_.path
    assert folder.exists()
    assert not (folder / "tokens").exists()  # what only training needed
    del model
    assert not folder.exists()
