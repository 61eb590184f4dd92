"""The parts of an export to C, of a shared library of its objects: arrays of NumPy in and out."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
LIBRARY = "libmodel.so"


def from_folder(folder: Path) -> Parts:
    """The parts of an export whose library is built.

    Raises:
        FileNotFoundError: it is not.
    """
    path = folder / LIBRARY
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not built: run   cc -shared -o {LIBRARY} *.o   in {folder}")
    library, facts = ctypes.CDLL(str(path)), json.loads((folder / "model.json").read_text("utf-8"))

    def address(function: str) -> int:
        return ctypes.cast(getattr(library, function), ctypes.c_void_p).value or 0

    return Parts(address, facts["parts"], facts["lanes"])


class Parts:
    """The parts by name.

    Args:
        address: of a function. facts: of each part, of `model.json`.
        lanes: states and scratch memory are whole multiples of so many numbers.
    """

    def __init__(self, address: Callable[[str], int], facts: list[dict[str, Any]], lanes: int) -> None:
        self.address, self.lanes = address, lanes
        self.facts = {part["name"]: part for part in facts}
        self.functions: dict[str, Any] = {}

    def call(self, function: str, *given: Array | int) -> None:
        if function not in self.functions:
            kinds = [ctypes.c_size_t if isinstance(each, int) else ctypes.c_void_p for each in given]
            self.functions[function] = ctypes.CFUNCTYPE(None, *kinds)(self.address(function))
        self.functions[function](*(each if isinstance(each, int) else each.ctypes.data for each in given))

    def room(self, count: list[Any], steps: Mapping[str, int], more: int = 0) -> Array:
        """Memory for so many numbers: fixed ones, and those of some widths in whole blocks. They are NaN, so that one
        that is read before it is written would be seen."""
        fixed, widths = count
        blocks = sum(-(-steps[width] // self.lanes) * self.lanes for width in widths)
        return np.full(fixed + blocks + more, np.nan, np.float32)

    def map(self, part: str, given: Mapping[str, Array]) -> dict[str, Array]:
        """A map of vectors, (N, size) each, by name."""
        facts = self.facts[part]
        read = [np.ascontiguousarray(given[name], np.float32) for name in facts["reads"]]
        made = {name: np.zeros((len(read[0]), size), np.float32) for name, size in facts["gives"].items()}
        scratch = self.room(facts["scratch"], {})
        for row in range(len(read[0])):
            rows = [value[row] for value in (*read, *made.values())]
            self.call(f"{part}_map", *rows, scratch)
        return made

    def sequence(self, part: str, x: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        """One whole sequence of tokens, (T,), or of vectors, (T, I).

        Returns:
            What it gives by name, (T, size), `output` among it, and the states after it by name, (units,).
        """
        stream = self.stream(part)
        made = stream.sequence(x)
        return made, {name: stream.get(name)[0] for name in self.facts[part]["states"]}

    def stream(
        self,
        part: str,
        memories: Mapping[str, Array] | None = None,
        statics: Mapping[str, Array] | None = None,
    ) -> Stream:
        """Steps of a part from its start, of one row at first.

        Args:
            memories: (S, M) by name, which all rows attend to. statics: (size,) by name.
        """
        return Stream(self, part, memories or {}, statics or {})


class Stream:
    """Rows of states, which are stepped together."""

    def __init__(
        self, parts: Parts, part: str, memories: Mapping[str, Array], statics: Mapping[str, Array]
    ) -> None:
        self.parts, self.part, self.facts = parts, part, parts.facts[part]
        self.read: list[Array | int] = [
            np.ascontiguousarray(statics[name], np.float32) for name in self.facts["statics"]
        ]
        self.steps = {f"{name}_steps": len(value) for name, value in memories.items()}
        for name in self.facts["memories"]:
            memory = np.ascontiguousarray(memories[name], np.float32)
            keys = np.zeros((len(memory), max(self.facts["keys"][name], 1)), np.float32)
            if self.facts["keys"][name]:
                parts.call(f"{part}_attend_{name}", memory, len(memory), keys)
            self.read += [memory, keys, len(memory)]
        state = parts.room(self.facts["state"], self.steps)
        parts.call(f"{part}_start", state, *(self.steps[w] for w in dict.fromkeys(self.facts["state"][1])))
        self.states = state[None]  # (N, numbers of all states)
        self.scratch = parts.room(self.facts["scratch"], self.steps)

    def set(self, name: str, values: Array) -> None:
        """Sets a state: (N, units)."""
        at, units = self.facts["states"][name]
        self.states[:, at : at + units] = values

    def get(self, name: str) -> Array:
        """A state, (N, units)."""
        at, units = self.facts["states"][name]
        return self.states[:, at : at + units]

    def select(self, index: Array) -> None:
        """Row n becomes row index[n] of those before."""
        self.states = np.ascontiguousarray(self.states[index])

    def step(self, x: Array, inputs: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """A step of tokens, (N,), or of vectors, (N, I): what it gives by name, (N, size).

        Args:
            inputs: (N, size) by name.
        """
        made = self.made(len(x))
        x, further = _first(self.facts, x), self.further(inputs)
        for row, state in enumerate(self.states):
            first = int(x[row]) if self.facts["tokens"] is not None else x[row]
            own, outs = [value[row] for value in further], [value[row] for value in made.values()]
            self.parts.call(f"{self.part}_step", first, *own, *self.read, state, *outs, self.scratch)
        return made

    def sequence(self, x: Array, inputs: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Steps of the first row, one after another: what they give by name, (T, size).

        Args:
            x: tokens, (T,), or vectors, (T, I). inputs: (T, size) by name.
        """
        made, x = self.made(len(x)), _first(self.facts, x)
        scratch = self.parts.room(self.facts["scratch"], self.steps, self.facts["sequenceWidth"] * len(x))
        given = [x, len(x), *self.further(inputs), *self.read, self.states[0], *made.values(), scratch]
        self.parts.call(f"{self.part}_sequence", *given)
        return made

    def made(self, count: int) -> dict[str, Array]:
        """Memory for what so many steps give, by name."""
        sizes = {"output": self.facts["output"]}
        for name, (units, width) in self.facts["emits"].items():
            sizes[name] = self.steps[width] if units is None else units
        return {name: np.full((count, size), np.nan, np.float32) for name, size in sizes.items()}

    def further(self, inputs: Mapping[str, Array] | None) -> list[Array]:
        """What steps read beside their first input."""
        return [np.ascontiguousarray((inputs or {})[name], np.float32) for name in self.facts["inputs"]]


def _first(facts: Mapping[str, Any], x: Array) -> Array:
    """What a part reads first, as it reads it.

    Raises:
        ValueError: a token that is not there.
    """
    if facts["tokens"] is None:
        return np.ascontiguousarray(x, np.float32)
    if len(x) and not 0 <= int(x.min()) <= int(x.max()) < facts["tokens"]:
        raise ValueError(f"tokens are from 0 to {facts['tokens'] - 1}, received {x.tolist()}")
    return np.ascontiguousarray(x, np.uintp)
