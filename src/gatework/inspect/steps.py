"""What layers did in the last steps of some calls, as JSON can hold it: for a page that follows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from gatework.inspect.recorded import is_alignment, states_of
from gatework.layers.tape import RecordedCall

__all__ = ["steps_of_calls"]

_MOST_STEPS = 64  # of a call
_MOST_UNITS = 128
_DIGITS = 3


def steps_of_calls(module: nn.Module, calls: Sequence[RecordedCall]) -> list[dict[str, Any]]:
    """The last steps of each layer of recorded calls, of the first row alone, in the order of the calls.

    Args:
        module: that was recorded.

    Returns:
        A dict for each layer and call: its `name`, the `steps` that it took in all, and `values`: dicts with a `name`,
        the `role` (gate or state), the `units` in all, and `rows`, a list of numbers a step: of the last 64 steps and
        the first 128 units at most. Attention weights are left out.
    """
    found = []
    for call in calls:
        recurrent = module.get_submodule(call.module)
        states = states_of(recurrent)
        for layer, recorded in call.layers.items():
            values = [
                _value(name, name in states, value[:, 0].float().numpy(force=True))
                for name, value in recorded.values.items()
                if not is_alignment(recurrent, name)
            ]
            steps = len(next(iter(recorded.values.values())))
            name = ".".join(part for part in (call.module, layer) if part)
            found.append({"name": name, "steps": steps, "values": values})
    return found


def _value(name: str, is_state: bool, value: np.ndarray) -> dict[str, Any]:
    """Of (T, size)."""
    shown = np.nan_to_num(value[-_MOST_STEPS:, :_MOST_UNITS].astype(np.float64))
    rows = shown.round(_DIGITS).tolist()
    return {"name": name, "role": "state" if is_state else "gate", "units": value.shape[1], "rows": rows}
