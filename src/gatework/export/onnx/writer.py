"""A graph of ONNX under construction: its nodes, and the arrays that they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gatework.errors import MissingExtraError
from gatework.export.rounding import rounded_rows

OPSET, IR_VERSION = 17, 8


def onnx() -> Any:
    """The package `onnx`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx", "export") from error
    return onnx


class Writer:
    """Nodes of one graph. The body of a Scan has a writer of its own, and reads the arrays of the outer one.

    Args:
        int8: weight matrices are kept in 8 bits, with a scale for each row.
    """

    def __init__(self, outer: Writer | None = None, *, int8: bool = False) -> None:
        self.nodes: list[Any] = []
        self.outer = outer
        self.root: Writer = self if outer is None else outer.root
        if outer is None:
            self.int8 = int8
            self.arrays: list[Any] = []
            self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}
            self._count = 0

    def name(self, hint: str) -> str:
        """A name that nothing else has."""
        self.root._count += 1
        return f"{hint}_{self.root._count}"

    def node(
        self, op: str, inputs: Sequence[str], outputs: int | Sequence[str] = 1, **attributes: Any
    ) -> Any:
        """Adds a node: the name of its output, or a list of them for several."""
        names = [self.name(op.lower()) for _ in range(outputs)] if isinstance(outputs, int) else list(outputs)
        self.nodes.append(onnx().helper.make_node(op, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def array(self, value: Any, dtype: Any = np.float32) -> str:
        """The name of an array that never changes; equal ones are kept once."""
        array = np.array(value, dtype, order="C")
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self.root._known:
            self.root._known[key] = self.name("array")
            made = onnx().numpy_helper.from_array(array, self.root._known[key])
            self.root.arrays.append(made)
        return self.root._known[key]

    def numbers(self, *values: int) -> str:
        """The name of a vector of whole numbers."""
        return self.array(values, np.int64)

    def weight(self, matrix: np.ndarray, transposed: bool = False) -> str:
        """The name of a weight matrix, (rows, columns), or of its transpose."""
        if not self.root.int8:
            return self.array(matrix.T if transposed else matrix)
        stored, scales = rounded_rows(matrix)
        numbers = self.array(stored.T if transposed else stored, np.int8)
        # A product: runtimes take DequantizeLinear for leave to round what is multiplied with the weights too.
        widened = self.root.node("Cast", [numbers], to=onnx().TensorProto.FLOAT)
        return str(self.root.node("Mul", [widened, self.array(scales if transposed else scales[:, None])]))

    def value(self, name: str, shape: Sequence[int | str | None] | None, kind: str = "FLOAT") -> Any:
        """The description of an input or output."""
        package = onnx()
        return package.helper.make_tensor_value_info(name, getattr(package.TensorProto, kind), shape)
