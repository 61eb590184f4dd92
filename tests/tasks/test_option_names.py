"""Options that a run shares with its parent, and names of earlier versions, for every task that has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gatework import tasks
from gatework.cli import main
from gatework.errors import InputError
from gatework.tasks.options import describe_options
from gatework.training.options import option_rules, options_with
from tests.contracts.task_examples import EXAMPLES

TOKENS = {"tokenizer", "vocabulary_size", "min_frequency", "lowercase"}
NETWORK = {"cell", "hidden_size", "num_layers", "embedding_size", "tie_weights"}
ENCODER_DECODER = {*TOKENS, *NETWORK, "shared_vocabulary", "decoder_cell", "decoder_layers", "bidirectional"}
OLD = [
    (name, old, option)
    for name in tasks.names()
    for option in tasks.get(name).Options.model_fields
    for old in option_rules(tasks.get(name).Options, option).old_names
]


def test_a_run_shares_network_and_tokens_with_its_parent() -> None:
    inherited = {name: set(options_with(tasks.get(name).Options, inherited=True)) for name in tasks.names()}
    own = {"proj_size", "residual", "adaptive_softmax", "cutoffs", "ngram_order"}
    assert inherited["language-model"] == TOKENS | NETWORK | own
    assert inherited["translator"] == inherited["chatbot"] == ENCODER_DECODER


def test_the_old_names_are_known() -> None:
    expected = {("final", "min_lr_ratio"), ("steps", "bptt"), ("learn", "reply_speaker")}
    assert {(old, option) for _, old, option in OLD} == expected
    settings = {
        (old, setting)
        for name in tasks.names()
        for setting in tasks.get(name).Settings.model_fields
        for old in option_rules(tasks.get(name).Settings, setting).old_names
    }
    assert settings == {("next", "next_tokens")}
    assert tasks.get("language-model").settings(next="2").next_tokens == 2


@pytest.mark.parametrize(("name", "old", "option"), OLD)
def test_an_old_name_is_read_everywhere_and_shown_nowhere(
    name: str,
    old: str,
    option: str,
    finished: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind, some = tasks.get(name), EXAMPLES[name]
    default = kind.Options.model_fields[option].default
    value = "second" if isinstance(default, str) else type(default)(default / 2)
    plain = {key: each for key, each in some.options.items() if key not in (old, option)}
    assert getattr(kind(**{old: value}).options, option) == value
    assert old not in [line.name for line in describe_options(kind.Options)]
    with pytest.raises(InputError, match=f"{old} is the old name of {option}"):
        kind(**{old: value, option: value})

    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in some.rows))
    (tmp_path / "options.yaml").write_text(f"{old}: {value}\n")
    given = [f"--set={key}={each}" for key, each in {**plain, "max_steps": 1}.items()]
    (tmp_path / "new.yaml").write_text(f"{option}: 0.5\n")
    for number, arguments in enumerate(
        (
            ["--config", str(tmp_path / "options.yaml")],
            ["--config", str(tmp_path / "new.yaml"), "--set", f"{old}={value}"],
        )
    ):
        out = tmp_path / str(number)
        assert main(["train", name, str(data), "--out", str(out), *arguments, *given]) == 0, (
            capsys.readouterr()
        )
        config = json.loads((out / "config.json").read_text())["options"]
        assert (config[option], old in config) == (value, False)

    # A run of an earlier version has the old name in its config.json.
    run = tmp_path / "0"
    config = json.loads((run / "config.json").read_text())
    config["options"][old] = config["options"].pop(option)
    (run / "config.json").write_text(json.dumps(config))
    from gatework.training import RunFolder

    RunFolder(run).complete()
    assert getattr(tasks.load(run).options_, option) == value
    longer = kind(max_steps=2).fit(data, out=run, resume=True)
    assert getattr(longer.options_, option) == value
