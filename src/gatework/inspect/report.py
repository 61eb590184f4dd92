"""Reports: what a network did with an input, step by step, as data, as one HTML page and as pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gatework.backends import backend
from gatework.inspect.alignment import draw_alignment
from gatework.inspect.gradient_flow import GradientFlow, draw_gradient_flow, flow_of, in_eval
from gatework.inspect.html import page
from gatework.inspect.packing import pack_within
from gatework.inspect.pictures import draw_part
from gatework.inspect.reasons import Reason, reason_of
from gatework.inspect.recorded import Part, parts_of
from gatework.inspect.remedies import Remedy, remedies
from gatework.inspect.report_data import flow_data, liveliest, part_data, plain, reason_data, size_of
from gatework.inspect.subject import Alignment, Outcome, Steps, Subject
from gatework.inspect.telling import MEASURE
from gatework.layers import Recurrent, record
from gatework.layers.tape import RecordedCall

__all__ = ["Report", "report", "report_on"]

_MOST_CHARACTERS = 1_250_000  # of arrays in a page
_MOST_OUTCOMES = 6
_LITTLE = 30_000  # steps and units of all layers


@dataclass(frozen=True)
class Report:
    """What a network did with one input.

    Attributes:
        title: of the page.
        parts: the layers by name: `report.parts["recurrent.l0"].values["forget"]` is (T, size).
        alignments: attention weights.
        flow: the gradient of the first outcome at every state.
        flow_of: that outcome, in words.
        remedies: what would keep the gradient, measured; of a layer that vanishes or explodes.
        reasons: the outcomes, explained.
        record: what the task answers, if a task does.
        notes: what a reader must know.
        train: how a remedy is tried, by its change.
    """

    title: str
    parts: Mapping[str, Part]
    alignments: Sequence[Alignment] = ()
    flow: GradientFlow | None = None
    flow_of: str = ""
    remedies: Sequence[Remedy] = ()
    reasons: Sequence[Reason] = ()
    record: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()
    train: Mapping[str, str] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """What the page draws, as JSON can hold it; arrays are packed as `page/arrays.js` reads them, and numbers have
        five digits, but for those of the answer, which is without its input."""
        chosen, packed, notes = self._packed()
        arrays = iter(packed)
        parts = [part_data(part, chosen[part.name], arrays) for part in self.parts.values()]
        alignments = [
            {"name": each.name, "source": [*each.source], "target": [*each.target], "weights": next(arrays)}
            for each in self.alignments
        ]
        record = self.record
        answer = None if record is None else {key: each for key, each in record.items() if key != "input"}
        return {"record": answer} | plain(
            {
                "title": self.title,
                "notes": [*self.notes, *notes],
                "measure": MEASURE,
                "parts": parts,
                "alignments": alignments,
                "flow": None if self.flow is None else flow_data(self.flow, self.flow_of),
                "remedies": [
                    {
                        "what": each.what,
                        "change": each.change,
                        "rate": each.flow.worst.rate,
                        "words": str(each.flow.worst),
                        "train": self.train.get(each.change),
                    }
                    for each in self.remedies
                ],
                "reasons": [reason_data(each) for each in self.reasons],
            }
        )

    def json(self) -> str:
        """`data()` as JSON."""
        return json.dumps(self.data(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def save(self, path: str | os.PathLike[str]) -> None:
        """One HTML page that needs nothing else, no network either."""
        Path(path).write_text(page(self.title, self.json()), encoding="utf-8")

    def draw(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Pictures in a folder, which is made where it is not there: of each layer, each alignment, the gradient flow.

        Returns:
            Their paths.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        drawn = []
        for part in self.parts.values():
            drawn.append(place / f"{part.name}.png")
            draw_part(part, drawn[-1], title=self.title)
        for each in self.alignments:
            drawn.append(place / f"{each.name.replace(': ', '.').replace(' ', '-')}.png")
            draw_alignment(each.source, each.target, np.asarray(each.weights).tolist(), drawn[-1])
        if self.flow is not None:
            drawn.append(place / "gradient-flow.png")
            draw_gradient_flow(self.flow, drawn[-1])
        return drawn

    def _packed(self) -> tuple[dict[str, np.ndarray], list[dict[str, Any]], list[str]]:
        """The units that each part keeps, all arrays packed, and what is to be said of it."""
        sizes = [value.shape[1] for part in self.parts.values() for value in part.values.values()]
        most, widest = max(sizes, default=1), max(sizes, default=1)
        while True:
            chosen = {name: liveliest(part, most) for name, part in self.parts.items()}
            arrays = [
                value[:, chosen[part.name]] if value.shape[1] == size_of(part) else value
                for part in self.parts.values()
                for value in part.values.values()
            ]
            arrays += [np.asarray(each.weights, np.float32) for each in self.alignments]
            packed = pack_within(arrays, _MOST_CHARACTERS)
            if packed is not None or most == 1:
                break
            most = max(1, most * 2 // 3)
        notes = []
        if packed and (levels := packed[0]["levels"]) < 255:
            notes.append(
                f"Values are rounded to {levels} parts of their range, so that the page stays small."
            )
        if most < widest:
            notes.append(f"Of each layer the {most} units that change most are shown, of {widest} at most.")
        return chosen, packed or [], notes


def report(
    module: nn.Module,
    input: Tensor,
    *,
    labels: Sequence[str] | None = None,
    targets: Mapping[str, Sequence[str | float | None]] | None = None,
    outcome: Callable[[Any], Tensor] | None = None,
    row: int = 0,
    title: str = "",
    **call: Any,
) -> Report:
    """Looks into a layer, or a module with recurrent layers inside, while it reads an input.

    The module runs in eval mode, on the backend that it would take; what it gives and what it is stay the same.

    Args:
        module: its first argument is the input.
        input: of a layer (T, B, I), (B, T, I) if batch_first.
        labels: T texts: what stands at the steps.
        targets: by what they are called, T texts or numbers that units may tell of (a next symbol, a label).
        outcome: of what the module returns, a number to be explained; it depends on `row` alone. By default, of a
            layer: the sum of the last output.
        row: of the batch, the one that is looked at.
        title: of the page.
        call: further arguments of the call.

    Raises:
        ValueError: no recurrent layer was called, or labels or targets that are not one a step.
    """
    recurrents = [name for name, inner in module.named_modules() if isinstance(inner, Recurrent)]
    if not recurrents:
        raise ValueError(f"{type(module).__name__} has no recurrent layer of Gatework inside.")
    if not 0 <= row < input.shape[0 if getattr(module, "batch_first", False) else 1]:
        raise ValueError(f"row={row}: the input has shape {tuple(input.shape)}.")
    name = "the outcome"
    if outcome is None and isinstance(module, Recurrent):
        name, outcome = "the sum of the last output", _last_output(row, batch_first=module.batch_first)
    count = input.shape[1 if getattr(module, "batch_first", False) else 0]
    known = {"labels": labels or (), **(targets or {})}
    for what, texts in known.items():
        if texts and len(texts) != count:
            raise ValueError(f"{what!r} has {len(texts)} entries: give one for each of the {count} steps.")
    subject = Subject(
        module,
        lambda: module(input, **call),
        {recurrents[0]: Steps(list(labels or ()), dict(targets or {}))},
        () if outcome is None else (Outcome(name, recurrents[0], outcome),),
    )
    return report_on(subject, title=title or type(module).__name__, row=row)


def report_on(
    subject: Subject,
    *,
    title: str,
    row: int = 0,
    record_of_task: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Report:
    """The report of a call: `report` says what is in it."""
    calls, read = _recorded(subject)
    if not calls:
        raise ValueError(f"{type(subject.module).__name__} called no recurrent layer of Gatework.")
    parts, alignments = parts_of(subject, calls, row)
    with in_eval(subject.module), torch.no_grad():
        alignments += subject.alignments(subject.call())
    flow, flow_name, mended = None, "", []
    shapes = _shapes(calls)
    with _gradients_by(parts):
        if subject.outcomes:
            first = subject.outcomes[0]
            flow_name, flow = first.name, flow_of(subject.module, lambda: first.value(subject.call()))
            shown = {name: each for name, each in flow.states.items() if name.rpartition(".")[0] in parts}
            flow = GradientFlow(shown)
            mended = _mended(subject, first.inside, flow, read)
        reasons = [
            reason_of(subject, each, *shapes[each.inside], row)
            for each in subject.outcomes[:_MOST_OUTCOMES]
            if each.inside in shapes
        ]
    trained = {each.change: subject.train(each.change) for each in mended}
    rows = max(rows for module, (_, rows) in shapes.items() if any(_of(module, part) for part in parts))
    told = list(notes)
    if rows > 1:
        told.append(f"The batch has {rows} rows: what is shown is row {row}.")
    if cut := max(part.left_out for part in parts.values()):
        told.append(f"{cut} later steps are not shown.")
    return Report(
        title,
        parts,
        alignments,
        flow,
        flow_name,
        mended,
        reasons,
        record_of_task,
        told,
        {change: how for change, how in trained.items() if how},
    )


def _of(module: str, part: str) -> bool:
    """Whether a part is a layer of a module, by their names."""
    return part.rpartition(".")[0] == module


def _gradients_by(parts: Mapping[str, Part]) -> backend | nullcontext[None]:
    """The reference for little work: the engine would first make programs for each change that is measured."""
    work = sum(len(part.labels) * size_of(part) for part in parts.values())
    return backend("eager") if work <= _LITTLE else nullcontext()


def _shapes(calls: Sequence[RecordedCall]) -> dict[str, tuple[int, int]]:
    """The steps and rows of each module's calls, of those with the same ones each time."""
    shapes: dict[str, tuple[int, int]] = {}
    for call in calls:
        layer = next(iter(call.layers.values()))
        steps, rows = next(iter(layer.values.values())).shape[:2]
        shapes[call.module] = (steps, rows)
    return shapes


def _recorded(subject: Subject) -> tuple[list[RecordedCall], dict[str, tuple[Tensor, dict[str, Any]]]]:
    """The calls of recurrent layers, and what each layer was given in its first one."""
    read: dict[str, tuple[Tensor, dict[str, Any]]] = {}

    def noted(name: str) -> Callable[..., None]:
        def note(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            read.setdefault(name, (arguments[0].detach(), named))

        return note

    hooks = [
        inner.register_forward_pre_hook(noted(name), with_kwargs=True)
        for name, inner in subject.module.named_modules()
        if isinstance(inner, Recurrent)
    ]
    try:
        with in_eval(subject.module), torch.no_grad(), record(subject.module) as tape:
            subject.call()
    finally:
        for hook in hooks:
            hook.remove()
    return tape.calls, read


def _mended(
    subject: Subject, inside: str, flow: GradientFlow, read: Mapping[str, tuple[Tensor, dict[str, Any]]]
) -> list[Remedy]:
    """What keeps the gradient of a layer that loses it; of a layer that reads one thing alone."""
    layer = subject.module.get_submodule(inside)
    if flow.worst.verdict == "is kept" or not isinstance(layer, Recurrent) or inside not in read:
        return []
    given, named = read[inside]
    lengths = named.get("lengths")
    if len(layer.cell.graph.inputs) > 1 or given.is_nested:
        return []
    return remedies(layer, given, lengths=lengths)


def _last_output(row: int, *, batch_first: bool) -> Callable[[Any], Tensor]:
    def value(result: Any) -> Tensor:
        output = result[0]["output"] if isinstance(result[0], dict) else result[0]
        return output[row, -1].sum() if batch_first else output[-1, row].sum()

    return value
