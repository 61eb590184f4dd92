from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, Field

from gatework.errors import InputError
from gatework.training import TrainingOptions, parse_options
from gatework.training.options import (
    CommandLine,
    Inherited,
    OptionRules,
    file_options,
    option_rules,
    options_with,
)


def test_text_is_read_as_the_options_type() -> None:
    options = parse_options(
        TrainingOptions,
        {
            "epochs": "3",
            "max_minutes": "none",
            "learning_rate": "1e-3",
            "betas": "0.8, 0.95",
            "tensorboard": "true",
            "warmup": "0.1",
            "device": "cpu",
        },
        "--set",
    )
    assert options.epochs == 3
    assert options.max_minutes is None
    assert options.learning_rate == 1e-3
    assert options.betas == (0.8, 0.95)
    assert options.tensorboard is True
    assert options.warmup == 0.1


def test_typed_values_pass_through() -> None:
    options = parse_options(TrainingOptions, {"epochs": 3, "betas": [0.5, 0.6], "warmup": None}, "file")
    assert (options.epochs, options.betas, options.warmup) == (3, (0.5, 0.6), None)


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(
        InputError, match=r"^--set: there is no option 'learning_rat'. Did you mean 'learning_rate'\?$"
    ):
        parse_options(TrainingOptions, {"learning_rat": "1"}, "--set")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("learning_rate", "-1", "greater than 0"),
        ("learning_rate", "fast", "number"),
        ("learning_rate", "nan", "finite"),
        ("epochs", "1.5", "integer"),
        ("epochs", "0", "greater than or equal to 1"),
        ("optimizer", "adam", "'adamw' or 'sgd'"),
        ("betas", "0.9", "missing|required"),
        ("betas", "0.9,x", "number"),
        ("device", "gpu", "pattern"),
        ("max_minutes", "inf", "finite"),
    ],
)
def test_a_wrong_value_is_one_line_with_option_value_rule_and_meaning(
    name: str, value: str, reason: str
) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        parse_options(TrainingOptions, {name: value}, "options.yaml")
    message = str(caught.value)
    assert message.startswith(f"options.yaml: option {name!r} cannot be {value!r}: ")
    assert "\n" not in message
    assert f"{name}: {TrainingOptions.model_fields[name].description}" in message


def test_betas_outside_their_range_are_refused() -> None:
    with pytest.raises(InputError, match=r"betas must lie in \[0, 1\)"):
        parse_options(TrainingOptions, {"betas": "0.9,1.0"}, "--set")


def test_other_models_options_too() -> None:
    class Sizes(BaseModel):
        model_config = ConfigDict(extra="forbid")
        hidden: list[int] = Field(description="units of each layer")
        name: str = "none"

    sizes = parse_options(Sizes, {"hidden": "3,4", "name": "a,b"}, "--set")
    assert sizes.hidden == [3, 4]
    assert sizes.name == "a,b"
    with pytest.raises(InputError, match=r"option 'hidden' is required.*units of each layer"):
        parse_options(Sizes, {}, "--set")


def test_without_a_budget_there_are_ten_epochs() -> None:
    assert TrainingOptions().epoch_budget == 10
    assert TrainingOptions(max_minutes=1).epoch_budget is None
    assert TrainingOptions(max_steps=1, epochs=2).epoch_budget == 2


def test_every_option_is_described() -> None:
    for name, field in TrainingOptions.model_fields.items():
        assert field.description, name


# -- the rules that annotations state


def test_what_may_change_on_resume() -> None:
    may = set(options_with(TrainingOptions, resume="may change"))
    assert {"epochs", "max_steps", "max_minutes", "device", "learning_rate", "clip_norm"} <= may
    assert set(options_with(TrainingOptions, resume="never")) == {
        "optimizer",
        "seed",
        "unfreeze_every",
        "layer_rate_decay",
    }
    assert "schedule" in options_with(TrainingOptions, resume="new run")


def test_rules_of_several_marks_are_one() -> None:
    class Options(TrainingOptions):
        cell: Inherited[CommandLine[str]] = Field("x", description="cell")
        plain: int = Field(1, description="plain")

    rules = option_rules(Options, "cell")
    assert (rules.inherited, rules.where, rules.resume) == (True, "command line", "new run")
    assert option_rules(Options, "plain") == OptionRules()


def test_old_names_are_read_for_ever() -> None:
    assert TrainingOptions(final=0.25).min_lr_ratio == 0.25  # type: ignore[call-arg]
    assert parse_options(TrainingOptions, {"final": "0.25"}, "--set").min_lr_ratio == 0.25
    assert parse_options(TrainingOptions, {"final": 0.25}, "x").model_fields_set == {"min_lr_ratio"}
    assert file_options(TrainingOptions, {"final": 0.25}, "options.yaml") == {"min_lr_ratio": 0.25}
    with pytest.raises(InputError, match="--set: final is the old name of min_lr_ratio: give one of them"):
        parse_options(TrainingOptions, {"final": "0.25", "min_lr_ratio": "0.1"}, "--set")
    with pytest.raises(InputError, match="option 'min_lr_ratio' cannot be '2'"):
        parse_options(TrainingOptions, {"final": "2"}, "--set")
    assert "final" not in TrainingOptions.model_fields
    with pytest.raises(InputError, match="Did you mean 'min_lr_ratio'"):
        parse_options(TrainingOptions, {"min_lr_ration": "0.25"}, "--set")
