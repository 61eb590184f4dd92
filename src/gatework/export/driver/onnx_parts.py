"""The parts of an export to ONNX, on ONNX Runtime: arrays of NumPy in and out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Session = Any
"""ONNX Runtime's session of a model."""


def from_folder(folder: Path) -> Parts:
    """The parts of an export."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the products of a step are too small to share

    def session(file: str) -> Session | None:
        if not (folder / file).is_file():
            return None
        return onnxruntime.InferenceSession(folder / file, options, providers=["CPUExecutionProvider"])

    return Parts(session, json.loads((folder / "model.json").read_text("utf-8"))["parts"])


class Parts:
    """The parts by name.

    Args:
        session: of a file of the export; None where there is none.
        facts: of each part, of `model.json`.
    """

    def __init__(self, session: Callable[[str], Session | None], facts: list[dict[str, Any]]) -> None:
        self.facts = {part["name"]: part for part in facts}
        files = [f"{name}{ending}.onnx" for name in self.facts for ending in ("", "_step", "_attend")]
        self.sessions = {file: made for file in files if (made := session(file)) is not None}

    def run(self, file: str, given: Mapping[str, Array]) -> dict[str, Array]:
        session = self.sessions[f"{file}.onnx"]
        names = [each.name for each in session.get_outputs()]
        wanted = {each.name for each in session.get_inputs()}
        feeds = {name: value for name, value in given.items() if name in wanted}
        return dict(zip(names, session.run(None, feeds), strict=True))

    def map(self, part: str, given: Mapping[str, Array]) -> dict[str, Array]:
        """A map of vectors, (N, size) each, by name."""
        wanted = {name: np.asarray(value, np.float32) for name, value in given.items()}
        return {name.removesuffix("_out"): value for name, value in self.run(part, wanted).items()}

    def sequence(self, part: str, x: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        """One whole sequence of tokens, (T,), or of vectors, (T, I).

        Returns:
            What it gives by name, (T, size), `output` among it, and the states after it by name, (units,).
        """
        facts = self.facts[part]
        first = x.astype(np.int64)[:, None] if facts["tokens"] is not None else x.astype(np.float32)[:, None]
        given = {"tokens" if facts["tokens"] is not None else "x": first, "lengths": np.array([len(x)])}
        made = self.run(part, given | _start(facts, 1, {}))
        states = {name: made.pop(f"next_{name}")[0] for name in facts["states"]}
        return {name: value[:, 0] for name, value in made.items()}, states

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
        self.parts, self.part, self.facts, self.rows = parts, part, parts.facts[part], 1
        self.memories = {name: np.asarray(value, np.float32)[:, None] for name, value in memories.items()}
        if f"{part}_attend.onnx" in parts.sessions:
            self.memories |= parts.run(f"{part}_attend", self.memories)
        steps = {f"{name}_steps": len(value) for name, value in memories.items()}
        self.given = {name: np.asarray(value, np.float32)[None] for name, value in statics.items()}
        self.given |= _start(self.facts, 1, steps)

    def set(self, name: str, values: Array) -> None:
        """Sets a state: (N, units)."""
        self.given[name] = np.asarray(values, np.float32)

    def get(self, name: str) -> Array:
        """A state, (N, units)."""
        return self.given[name]

    def select(self, index: Array) -> None:
        """Row n becomes row index[n] of those before."""
        self.rows = len(index)
        self.given = {name: value[index] for name, value in self.given.items()}

    def step(self, x: Array) -> dict[str, Array]:
        """A step of tokens, (N,), or of vectors, (N, I): what it gives by name, (N, size)."""
        tokens = self.facts["tokens"] is not None
        given = {"tokens" if tokens else "x": x.astype(np.int64 if tokens else np.float32), **self.given}
        for name, value in self.memories.items():
            given[name] = np.repeat(value, self.rows, axis=1)
            if name in self.facts["memories"]:
                given[f"{name}_lengths"] = np.full(self.rows, len(value))
        made = self.parts.run(f"{self.part}_step", given)
        self.given |= {name: made.pop(f"next_{name}") for name in self.facts["states"]}
        return made


def _start(facts: Mapping[str, Any], rows: int, steps: Mapping[str, int]) -> dict[str, Array]:
    """The states before a first step."""
    return {
        name: np.full((rows, steps[width] if units is None else units), init, np.float32)
        for name, (units, init, width) in facts["states"].items()
    }
