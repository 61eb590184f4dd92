"""A report as JSON: what the page draws."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gatework.inspect.gradient_flow import GradientFlow
from gatework.inspect.reasons import Reason
from gatework.inspect.recorded import Part

__all__ = ["flow_data", "liveliest", "part_data", "plain", "reason_data", "size_of"]

_DIGITS = 5


def size_of(part: Part) -> int:
    """The units of a layer's states."""
    return max((part.values[name].shape[1] for name in part.states), default=1)


def liveliest(part: Part, most: int) -> np.ndarray:
    """The units of a layer that change most, `most` at most, in their order."""
    size = size_of(part)
    if size <= most:
        return np.arange(size)
    own = [part.values[name] for name in part.states if part.values[name].shape[1] == size]
    spread = np.mean([value.std(0) / (value.std() or 1.0) for value in own], axis=0)
    return np.sort(np.argsort(-spread, kind="stable")[:most])


def part_data(part: Part, units: np.ndarray, arrays: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """A layer's, with the units that are kept, whose packed arrays come in the order of `part.values`."""
    values = []
    for name, value in part.values.items():
        below, above = part.saturation(name)
        is_gate = name not in part.states and float(value.min()) >= 0 and float(value.max()) <= 1
        values.append(
            {
                "name": name,
                "role": "state" if name in part.states else "gate" if is_gate else "value",
                "mean": float(value.mean()),
                "below": float(below.mean()) if is_gate else None,
                "above": float(above.mean()) if is_gate else None,
                **next(arrays),
            }
        )
    known = set(units.tolist())
    size = size_of(part)
    return {
        "name": part.name,
        "backend": part.backend,
        "labels": [*part.labels],
        "joined": part.joined,
        "units": units.tolist(),
        "values": values,
        "half_lives": {
            name: (value[units] if len(value) == size else value).tolist()
            for name, value in part.half_lives.items()
        },
        "telling": [
            {
                "target": target,
                "entropy": found[0][1].entropy,
                "units": [
                    {"state": state, "unit": each.unit, "bits": each.bits, "shown": each.unit in known}
                    for state, each in found
                ],
            }
            for target, found in part.telling.items()
        ],
    }


def flow_data(flow: GradientFlow, outcome: str) -> dict[str, Any]:
    """The gradient's norm over the steps back, and what is said of it."""
    return {
        "of": outcome,
        "states": [
            {
                "name": state.name,
                "norms": state.mean.tolist(),
                "rate": state.rate,
                "verdict": state.verdict,
                "words": str(state),
            }
            for state in flow.states.values()
        ],
    }


def reason_data(reason: Reason) -> dict[str, Any]:
    """An outcome, explained."""
    return {
        "outcome": reason.outcome,
        "value": reason.value,
        "inside": reason.inside,
        "steps": reason.steps.tolist(),
        "units": [each._asdict() for each in reason.units],
        "left_out": [*reason.left_out],
        "words": str(reason),
        "verified": reason.verified,
    }


def plain(value: Any) -> Any:
    """The same of what JSON has: numbers to five digits, and null in place of what is none."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value
