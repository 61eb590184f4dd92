from __future__ import annotations

import pytest

import gatework as gw
from gatework.tasks.encoder_decoder.options import EncoderDecoderOptions
from gatework.tasks.language_model.options import LanguageModelOptions
from gatework.training import TrainingOptions, parse_options
from gatework.training.sizing import (
    HIGHEST_RISE,
    LEAST_SHARE,
    MOST_EPOCHS,
    STEPS,
    STEPS_AN_EPOCH,
    not_chosen,
    sized,
)


def chosen(tokens: int, **given: object) -> tuple[int, int | None, float]:
    options = sized(EncoderDecoderOptions(**given), tokens)
    assert not not_chosen(options)
    return options.batch_tokens, options.epochs, options.learning_rate


def test_large_data_gets_the_defaults() -> None:
    assert chosen(10_000_000) == (3000, 10, 0.002)


def test_small_data_gets_small_batches_more_epochs_and_a_higher_rate() -> None:
    batch, epochs, rate = chosen(90_000)
    assert batch == 90_000 / STEPS_AN_EPOCH == 1200
    assert epochs == STEPS / STEPS_AN_EPOCH
    assert rate == 0.0032  # sqrt(3000 / 1200) times the usual
    assert chosen(100) == (3000 * LEAST_SHARE, MOST_EPOCHS, 0.002 * HIGHEST_RISE)
    assert chosen(0)[1] == MOST_EPOCHS


def test_what_is_given_is_kept_and_the_rest_fits_it() -> None:
    assert chosen(90_000, batch_tokens=600, epochs=3, learning_rate=0.1) == (600, 3, 0.1)
    assert chosen(90_000, batch_tokens=600)[1:] == (10, 0.002)  # the batch is no choice of ours
    # Another budget ends the training: there is none in epochs.
    assert chosen(90_000, max_steps=5)[1] is None
    assert chosen(90_000, max_minutes=5)[1] is None
    assert chosen(90_000, epochs=None)[1] is None  # said outright: `epoch_budget` decides, as it always did


def test_a_language_models_batch_is_a_number_of_streams() -> None:
    options = sized(LanguageModelOptions(), 100_000)
    assert options.batch_size == round(100_000 / STEPS_AN_EPOCH / 128)
    assert sized(LanguageModelOptions(), 10**8).batch_size == 32
    assert sized(LanguageModelOptions(), 1000).batch_size == 32 * LEAST_SHARE


def test_auto_says_that_an_option_is_left_open() -> None:
    values = {"learning_rate": "auto", "epochs": "auto", "batch_tokens": "auto"}
    options = parse_options(EncoderDecoderOptions, values, "--set")
    assert set(not_chosen(options)) == {"learning_rate", "epochs", "batch_tokens"}
    assert (options.learning_rate, options.batch_tokens) == (0.002, 3000)  # what the loop itself takes
    assert TrainingOptions(learning_rate="auto").learning_rate == 0.002


def test_what_was_chosen_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"source": f"a {n}", "target": f"b {n}"} for n in range(20)]
    given = {"tokenizer": "word", "hidden_size": 4, "embedding_size": 4, "max_steps": 1}
    gw.Translator(**given).fit(rows, valid=rows[:2])
    # An epoch is the two words and the end of each pair.
    assert "For 60 tokens of training data: learning_rate=0.004, batch_tokens=375." in said(capsys)
    gw.Translator(**given, learning_rate=0.1, batch_tokens=9).fit(rows, valid=rows[:2])
    assert "tokens of training data" not in said(capsys)  # the steps are given, and nothing is left to choose


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err
