"""Options from files: examples that a command prints, files that are read, and what is refused in them."""

from __future__ import annotations

import json
import re

import pytest

from gatework import tasks
from gatework.cli.settings import read_config
from gatework.errors import InputError


@pytest.mark.parametrize("name", tasks.names())
def test_the_printed_configuration_names_every_option_and_is_one(gatework, tmp_path, name):
    kind = tasks.get(name)
    printed = gatework("train", name, "--print-config")
    assert printed.code == 0, printed.err
    file = tmp_path / "all.yaml"
    file.write_text(printed.out)
    assert read_config(file, kind) == {}  # every line a comment: the defaults hold
    file.write_text(re.sub(r"^#(?=\w+: )", "", printed.out, flags=re.MULTILINE))
    options = read_config(file, kind)
    assert set(options) == set(kind.Options.model_fields)
    assert kind(**options).options == kind.Options()


def test_options_that_are_given_twice_are_refused(gatework, corpus, tmp_path):
    file = tmp_path / "twice.yaml"
    file.write_text("hidden_size: 8\nseed: 1\nhidden_size: 9\n")
    done = gatework("train", "language-model", corpus, "--out", tmp_path / "out", "--config", file)
    assert done.code == 2
    assert "hidden_size is given in line 1 and again in line 3" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": True}, "'hidden_size' cannot be True: it takes a number"),
        ({"hidden_size": 8.0}, "'hidden_size' cannot be 8.0: it takes a whole number"),
        ({"learning_rate": False}, "'learning_rate' cannot be False: it takes a number"),
        ({"max_steps": True}, "'max_steps' cannot be True: it takes a number"),
        ({"tensorboard": 1}, "'tensorboard' cannot be 1: it takes a truth value"),
        ({"betas": [True, 0.9]}, r"'betas' cannot be \[True, 0.9\]: it takes a number"),
        ({"tokenizer": False}, "'tokenizer' cannot be False"),
    ],
)
def test_a_value_of_another_kind_is_refused(options, message):
    for name in tasks.names():
        if options.keys() <= tasks.get(name).Options.model_fields.keys():
            with pytest.raises(InputError, match=message):
                tasks.get(name)(**options)


def test_every_option_and_setting_is_strict():
    """Whole numbers, numbers and truth values are not taken for each other, in any task."""
    tried = 0
    for name in tasks.names():
        for model in (tasks.get(name).Options, tasks.get(name).Settings):
            for option, field in model.model_fields.items():
                default = field.default
                if isinstance(default, (bool, int, float)):
                    other = int(default) if isinstance(default, bool) else True
                    with pytest.raises(InputError, match=f"'{option}' cannot be"):
                        (tasks.get(name).settings if "Settings" in model.__name__ else tasks.get(name))(
                            **{option: other}
                        )
                    tried += 1
    assert tried > 50


def test_numbers_as_text_and_in_yamls_short_form_are_read(tmp_path):
    file = tmp_path / "options.yaml"
    file.write_text(
        "learning_rate: 1e-3\nhidden_size: '8'\nbetas: [0.8, 0.9]\ndropout: 0\nmax_minutes: null\n"
    )
    kind = tasks.get("translator")
    options = kind(**read_config(file, kind)).options
    assert (options.learning_rate, options.hidden_size, options.betas) == (1e-3, 8, (0.8, 0.9))


def test_a_runs_config_gives_its_options(gatework, run, corpus, tmp_path):
    config = run / "config.json"
    recorded = json.loads(config.read_text())["options"]
    assert read_config(config, tasks.get("language-model")) == recorded
    done = gatework(
        "train",
        "language-model",
        corpus,
        "--out",
        tmp_path / "again",
        "--config",
        config,
        "--set",
        "max_steps=1",
    )
    assert done.code == 0, done.err
    again = json.loads((tmp_path / "again" / "config.json").read_text())["options"]
    assert again == recorded | {"max_steps": 1}
    with pytest.raises(InputError, match="belongs to a run of language-model, not of translator"):
        read_config(config, tasks.get("translator"))


def test_the_version_and_short_help(gatework):
    import gatework as package

    assert gatework("--version").out == f"gatework {package.__version__}\n"
    for command in ([], ["train"], ["train", "translator"], ["predict"]):
        assert gatework(*command, "-h").out == gatework(*command, "--help").out
        assert gatework(*command, "-h").out.startswith("Usage: gatework")
