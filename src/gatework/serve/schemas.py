"""What the service's page of routes says of each task: requests, settings and records, as pydantic models."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from gatework.tasks.base import Task
from gatework.training.options import options_with

__all__ = ["Problem", "answer_model", "record_model", "request_model", "settings_model"]


class Problem(BaseModel):
    """Why a request was refused, in a sentence."""

    error: str


def _model(name: str, what: str, fields: dict[str, Any]) -> type[BaseModel]:
    made: Any = create_model(name, __config__=ConfigDict(extra="forbid"), __doc__=what, **fields)
    return made


@cache
def settings_model(kind: type[Task]) -> type[BaseModel]:
    """The settings of a task's predictions that a request may give: none that names a file."""
    files = options_with(kind.Settings, where="command line")
    fields = {
        name: (field.annotation, field)
        for name, field in kind.Settings.model_fields.items()
        if name not in files
    }
    return _model(f"{kind.__name__}Settings", f"How a {kind.name}'s inputs are answered.", fields)


@cache
def record_model(kind: type[Task]) -> type[BaseModel]:
    """What a task answers: the record of `predict` without its input."""
    fields = {
        name: (field.annotation, field) for name, field in kind.Output.model_fields.items() if name != "input"
    }
    return _model(f"{kind.__name__}Record", f"A {kind.name}'s answer to one input.", fields)


@cache
def request_model(kind: type[Task]) -> type[BaseModel]:
    """Inputs, and how they are to be answered."""
    given = kind.SentInput or kind.Input
    fields = {
        "inputs": (list[given], Field(min_length=1, description="each is answered by itself")),  # type: ignore[valid-type]
        "settings": (settings_model(kind) | None, Field(None, description="of all inputs")),
    }
    return _model(f"{kind.__name__}Request", f"Inputs of a {kind.name}.", fields)


@cache
def answer_model(kind: type[Task]) -> type[BaseModel]:
    """Records, in the order of the inputs."""
    record: Any = record_model(kind)
    fields = {
        "records": (list[record], Field(description="one for each input, in their order")),
        "version": (int, Field(description="of the run: how often it was loaded")),
    }
    return _model(f"{kind.__name__}Answer", f"A {kind.name}'s answers.", fields)
