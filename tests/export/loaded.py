"""An exported object file in this process: its functions called on arrays, without a linker."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np

from gatework.export import targets
from gatework.export.native.code import compiled
from gatework.export.native.functions import Functions
from gatework.export.native.layout import Count
from gatework.export.native.loading import addresses
from gatework.export.network import Network

Array = np.ndarray


class Loaded:
    """The functions of a network, compiled for this machine; arrays that they need are full of NaN at first."""

    def __init__(self, network: Network, *, int8: bool = False, target: str = targets.NATIVE) -> None:
        self.network, self.target = network, targets.find(target)
        self.code = compiled(network, self.target, int8=int8)
        assert isinstance(self.code.functions, Functions)
        self.functions = self.code.functions
        self.takes = self.functions.takes
        self._address = addresses({network.name: self.code.content})

    def call(self, function: str, *arguments: Array | int) -> None:
        address = self._address(f"{self.network.name}_{function}")
        kinds = [ctypes.c_size_t if isinstance(a, int) else ctypes.c_void_p for a in arguments]
        given = [a if isinstance(a, int) else a.ctypes.data for a in arguments]
        ctypes.CFUNCTYPE(None, *kinds)(address)(*given)

    def numbers(self, count: Count, steps: Mapping[str, int], more: int = 0) -> Array:
        padded = sum(self.takes.padded(steps[width]) for width in count.by_steps)
        return np.full(count.fixed + padded + more, np.nan, np.float32)

    def sequence(
        self, x: Array, inputs: Mapping[str, Array] | None = None, memories: Mapping[str, Array] | None = None
    ) -> tuple[Array, dict[str, Array], dict[str, Array]]:
        """Outputs, (T, O), states after the last step by layer, direction and name, and what was emitted.

        Args:
            x: (T, I), or tokens, (T,).
            inputs: further inputs, (T, size), and static vectors, (size,).
            memories: (S, M)
        """
        given, takes, functions = dict(inputs or {}), self.takes, self.functions
        steps = {f"{name}_steps": len(value) for name, value in (memories or {}).items()}
        read: list[Any] = [
            np.ascontiguousarray(given[name], np.float32) for name, _ in (*takes.inputs, *takes.statics)
        ]
        for name, value in (memories or {}).items():
            memory = np.ascontiguousarray(value, np.float32)
            keys = np.full(max(takes.keys_width(name), 1) * len(memory), np.nan, np.float32)
            if takes.keys_width(name):
                self.call(f"attend_{name}", memory, len(memory), keys)
            read += [memory, keys, len(memory)]
        state = self.numbers(takes.state, steps)
        scratch = self.numbers(functions.scratch, steps, functions.sequence_width * len(x))
        output = np.full((len(x), self.network.output_size), np.nan, np.float32)
        emits = {
            name: np.full((len(x), steps[width] if units is None else units), np.nan, np.float32)
            for name, units, width in takes.emits
        }
        self.call("start", state, *(steps[width] for width in dict.fromkeys(takes.state.by_steps)))
        kind = np.uintp if self.network.table is not None else np.float32
        x = np.ascontiguousarray(x, kind)
        self.call("sequence", x, len(x), *read, state, output, *emits.values(), scratch)
        states = {}
        for place in takes.states:
            first = place.offset + sum(takes.padded(steps[width]) for width in place.after)
            units = steps[place.width] if place.units is None else place.units
            states[f"{place.cell}.{place.name}"] = state[first : first + units]
        return output, states, emits
