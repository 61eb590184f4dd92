"""Reports of a task's runs: what a network did with an input, in the words of the task."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from gatework.backends import backend
from gatework.errors import InputError
from gatework.inspect import Report, Steps, Subject, report_on
from gatework.layers import record

if TYPE_CHECKING:
    from gatework.tasks.options import TaskOptions

__all__ = ["UNKNOWN_TITLE", "following", "log_probability_of", "report_of", "text_steps"]

UNKNOWN_TITLE = 60  # characters of an input in a title


def report_of(
    name: str,
    subject: Subject,
    input: Any,
    answer: Mapping[str, Any],
    notes: Sequence[str],
    *,
    reasons: bool,
) -> Report:
    """The report of an input that a task has answered; without reasons also without the gradient's flow.

    Raises:
        InputError: there is nothing to look at.
    """
    try:
        return report_on(
            subject if reasons else replace(subject, outcomes=()),
            title=f"{name}: {_short(input)}",
            record_of_task={"input": input, **answer},
            notes=notes,
        )
    except ValueError as error:
        what = f"has no steps to look at ({error})"
        raise InputError(f"input {_short(input)!r}", what, "Give a longer one.") from error


@contextmanager
def scaled(network: nn.Module, scale: Mapping[str, float] | None) -> Iterator[None]:
    """Within it a network's gates are multiplied; by the reference, which needs no program for each number.

    Raises:
        InputError: there is no such gate, or what is no number.
    """
    with ExitStack() as stack:
        if scale:
            try:
                factors = {name: float(factor) for name, factor in scale.items()}
                stack.enter_context(record(network, (), scale=factors))
            except (TypeError, ValueError) as error:
                fix = 'Give gates and numbers: {"forget": 0}.'
                raise InputError("scale", str(error).rstrip("."), fix) from error
            stack.enter_context(backend("eager"))
        yield


def trained_with(subject: Subject, name: str, options: type[TaskOptions]) -> Subject:
    """The subject, whose remedies are tried by training the task with them, where they are its options."""

    def train(change: str) -> str | None:
        changes = re.findall(r"(\w+)=([^,]+)", change)
        if not changes or any(option not in options.model_fields for option, _ in changes):
            return None
        told = " ".join(f"--set {option}={value.strip(chr(39))}" for option, value in changes)
        return f"gatework train {name} DATA --out RUN {told}"

    return replace(subject, train=train)


def text_steps(labels: Sequence[str], joined: str = " ", **targets: Sequence[Any]) -> Steps:
    """Steps of tokens, which units may tell of, and of the one after each."""
    known: dict[str, Sequence[Any]] = {
        "the symbol itself": [*labels],
        "the next symbol": following(labels),
    }
    known |= {name.replace("_", " "): value for name, value in targets.items()}
    return Steps([*labels], known, joined=joined)


def following(labels: Sequence[str]) -> list[str | None]:
    """What stands at the step after each; None after the last."""
    return [*labels[1:], None]


def log_probability_of(scores: Tensor, index: int) -> Tensor:
    """Of scores (K,) before a softmax, in nats."""
    return scores.float().log_softmax(-1)[index]


def _short(input: Any) -> str:
    text = input if isinstance(input, str) else input.get("question") if isinstance(input, Mapping) else None
    text = os.fspath(input) if isinstance(input, os.PathLike) else text
    shown = str(input if text is None else text).replace("\n", " ")
    return shown if len(shown) <= UNKNOWN_TITLE else f"{shown[: UNKNOWN_TITLE - 1]}…"
