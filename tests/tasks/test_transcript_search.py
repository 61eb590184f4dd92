"""What a transcriber's search is told beside the sound: hotwords, a language model, an attention decoder."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import gatework as gw
from gatework.data import Tokenizer
from gatework.errors import InputError
from gatework.tasks.transcriber import Transcriber
from gatework.tasks.transcriber.attention_decoder import AttentionDecoder
from gatework.tasks.transcriber.decoding import label_log_probabilities
from gatework.tasks.transcriber.joint_search import joint_labels
from gatework.tasks.transcriber.scorers import HotwordScorer, LanguageScorer, label_pieces
from gatework.tasks.transcriber.transcripts import (
    labels_of_text,
)
from tests.contracts.task_examples import EXAMPLES, SPEECH
from tests.tolerances import PREDICTIONS, VALUES, assert_close, close_to

OPTIONS = EXAMPLES["transcriber"].options


@pytest.mark.parametrize("kind", ["character", "word", "bpe"])
def test_hotwords_add_by_the_character_and_take_back_what_does_not_go_on(kind: str) -> None:
    texts = ["anna can call new york", "ann and yorkshire are new here"] * 3
    tokenizer = Tokenizer.train(
        kind, [f"{text}\n" for text in texts], vocabulary_size=270 if kind == "bpe" else None
    )  # type: ignore[arg-type]
    scorer = HotwordScorer(["anna", "new york", ""], label_pieces(tokenizer), 2.0)
    for text, characters in (
        ("anna", 4),
        ("ann", 0),
        ("call anna", 4),
        ("anna can call new york", 4 + 8),
        ("new here", 0),
        ("yorkshire new york", 8),
        ("ann anna", 4),
        ("", 0),
    ):
        total, state = 0.0, scorer.start()
        for label in labels_of_text(text, tokenizer):
            added, state = scorer.extend(state, label)
            total += added
        assert total + scorer.finish(state) == close_to(2.0 * characters)


@pytest.fixture(scope="module")
def language_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, gw.LanguageModel]:
    folder = tmp_path_factory.mktemp("language")
    lines = [{"text": line} for line in ("ba do fi", "do fi", "fi ba", "ba do") * 8]
    options = {
        "hidden_size": 8,
        "num_layers": 1,
        "batch_size": 2,
        "steps": 8,
        "ngram_order": 2,
        "max_steps": 30,
    }
    sizes = {"character": None, "word": None, "bpe": 260}
    return {
        kind: gw.LanguageModel(**options, tokenizer=kind, vocabulary_size=size).fit(lines, out=folder / kind)
        for kind, size in sizes.items()
    }


@pytest.mark.parametrize("theirs", ["character", "word", "bpe"])
@pytest.mark.parametrize("ours", ["character", "word"])
def test_a_language_model_adds_what_it_says_of_the_text(
    ours: str, theirs: str, language_models: dict[str, gw.LanguageModel]
) -> None:
    model = language_models[theirs]
    tokenizer = Tokenizer.train(ours, ["ba\n", "do\n", "fi ba\n"])  # type: ignore[arg-type]
    scorer = LanguageScorer(
        model.network_,
        model.tokenizer_,
        model.start_token,
        label_pieces(tokenizer),
        weight=0.5,
        word_bonus=0.25,
    )
    for text in ("ba do fi", "fi", "ba ba"):
        total, state = 0.0, scorer.start()
        for label in labels_of_text(text, tokenizer):
            added, state = scorer.extend(state, label)
            total += added
        total += scorer.finish(state)
        whole = model.score(f"{text}\n")[0]["log_probability"]
        assert total == close_to(0.5 * whole + 0.25 * len(text.split()), table=PREDICTIONS)


def test_what_is_expected_is_heard(
    listener: Transcriber, language_models: dict[str, gw.LanguageModel]
) -> None:
    sounds = [row["audio"] for row in SPEECH[:6]]
    plain = listener.predict(sounds, beam=16)
    told = listener.predict(sounds, beam=16, hotwords="f,b", hotword_weight=20.0)
    count = sum(record["output"].count("f") for record in plain)
    assert sum(record["output"].count("f") for record in told) > count
    run = str(language_models["character"].run_.path)
    assert listener.predict(sounds, language_model=run, language_weight=10.0) != plain
    figures = listener.evaluate(SPEECH[:3], language_model=run, hotwords=("b",))
    assert figures["search"] == "prefix search, 8 label sequences, with hotwords and language model"
    with pytest.raises(InputError, match="not a language model"):
        listener.predict(sounds, language_model=str(listener.run_.path))


# The attention decoder


def test_the_attention_decoder_is_a_distribution_a_step_at_a_time_as_at_once() -> None:
    torch.manual_seed(0)
    decoder = AttentionDecoder(5, memory_size=6, hidden_size=8, dropout=0.2, unknown=2).eval()
    memory, lengths = torch.randn(9, 3, 6), torch.tensor([9, 4, 7])
    labels, counts = torch.tensor([[1, 3, 5], [4, 4, 0], [0, 0, 0]]), torch.tensor([3, 2, 0])
    whole = decoder(memory, lengths, labels, counts)
    total = torch.zeros(())
    for row in range(3):
        state = decoder.start(memory[: lengths[row], row : row + 1], lengths[row : row + 1])
        own = labels[row, : counts[row]].tolist()
        for token, following in itertools.pairwise([0, *own, 0]):
            found, state = decoder.step(torch.tensor([token]), state)
            assert_close(found.exp().sum(), torch.ones(()), VALUES)
            assert found[0, 2] < -1000  # what is unknown is never said
            total = total - found[0, following]
    assert_close(whole, total, VALUES)


def test_a_decoder_that_attends_stands_beside_ctc_in_loss_and_search(tmp_path: Path) -> None:
    options = {**OPTIONS, "attention": 0.4, "max_steps": 12, "record_every": 4}
    model = Transcriber(**options).fit(SPEECH, valid=SPEECH[:5], out=tmp_path / "run")
    record = model.result_.history[0]
    expected = 0.6 * record["parts"]["ctc"] + 0.4 * record["parts"]["attention"]
    assert record["loss"] == close_to(expected, table=PREDICTIONS)
    sounds = [row["audio"] for row in SPEECH[:5]]
    found = model.predict(sounds, alternatives=3)
    assert model.predict(sounds[1], alternatives=3)[0]["output"] == found[1]["output"]
    assert gw.load(tmp_path / "run").predict(sounds, alternatives=3) == found
    assert model.evaluate(SPEECH[:5])["search"].startswith("joint search")
    told = model.predict(sounds, hotwords=("do",), hotword_weight=9.0)
    assert sum("do" in each["output"] for each in told) > sum("do" in each["output"] for each in found)
    other = Transcriber(**options | {"seed": 4}).fit(SPEECH, valid=SPEECH[:5])
    joint = model.ensemble(other)
    assert len(joint.predict(sounds)) == 5
    assert np.isfinite(joint.evaluate(SPEECH[:5])["model"]["loss"])
    with pytest.raises(InputError, match="attention=0"):
        model.stream()


def test_the_joint_search_finds_the_best_sum_of_both() -> None:
    """Beside all sequences of up to three labels, scored one by one."""
    torch.manual_seed(3)
    decoder = AttentionDecoder(2, memory_size=4, hidden_size=5, dropout=0.0, unknown=None).eval()
    table = torch.randn(4, 3, dtype=torch.float64).mul(2).log_softmax(-1)
    memory = torch.randn(4, 1, 4)

    def attended(labels: tuple[int, ...]) -> float:
        rows = torch.tensor([[*labels, 0]])
        return -decoder(memory, torch.tensor([4]), rows, torch.tensor([len(labels)])).item()

    sequences = [labels for count in range(4) for labels in itertools.product((1, 2), repeat=count)]
    scores = {
        labels: 0.7 * label_log_probabilities(table.numpy(), [labels])[0] + 0.3 * attended(labels)
        for labels in sequences
    }
    with torch.inference_mode():
        state = decoder.start(memory, torch.tensor([4]))
        found = joint_labels(table.numpy(), decoder, state, 0.3, beam=60, count=3, scorer=None)
    assert found == sorted(scores, key=lambda labels: -scores[labels])[:3]
