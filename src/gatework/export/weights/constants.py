"""The arrays of an ONNX graph that never change."""

from __future__ import annotations

from typing import Any

from gatework.errors import InputError
from gatework.export.cell import Array
from gatework.export.onnx.writer import onnx
from gatework.export.weights.damage import refusing_damage

_FOLDED = {
    "Cast",
    "Concat",
    "Identity",
    "Mul",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}


class Constants:
    """Initializers, Constant nodes, and what rearranges them.

    Args:
        opset: of ONNX's own operators.

    Attributes:
        inputs: names of what the model is given.
    """

    def __init__(self, graph: Any, opset: int) -> None:
        self.opset = opset
        self.arrays = {each.name: each for each in graph.initializer}
        self.inputs = {each.name for each in graph.input} - self.arrays.keys()
        self.made: dict[str, Any] = {}  # nodes of what never changes, by each of their outputs
        for node in graph.node:
            fixed = node.op_type in _FOLDED and all(self.known(name) for name in node.input if name)
            if node.op_type == "Constant" or fixed:
                self.made |= {name: node for name in node.output if name and not self.known(name)}
        self._read: dict[str, Array] = {}

    def known(self, name: str) -> bool:
        """Whether an array is the same whatever the model is given."""
        return name in self.arrays or name in self.made

    def array(self, name: str, where: str) -> Array:
        """An array.

        Raises:
            InputError: it is given to the model, computed by it, or damaged.
        """
        if not self.known(name):
            how = "an input of the model" if name in self.inputs else "computed by the model"
            raise InputError(
                where,
                f"its weights {name!r} are {how}; what is read stands in the file",
                "Export the model with its weights as initializers.",
            )
        if name not in self._read:
            with refusing_damage(where, f"the array {name!r} cannot be read"):
                self._read[name] = self._folded(name)
        return self._read[name]

    def _folded(self, name: str) -> Array:
        package = onnx()
        if name in self.arrays:
            return package.numpy_helper.to_array(self.arrays[name])
        node = self.made[name]
        given = {own: self._folded(own) for own in node.input if own}
        inputs = [package.helper.make_empty_tensor_value_info(own) for own in given]
        outputs = [package.helper.make_empty_tensor_value_info(own) for own in node.output]
        graph = package.helper.make_graph([node], "constant", inputs, outputs)
        model = package.helper.make_model(graph, opset_imports=[package.helper.make_opsetid("", self.opset)])
        from onnx.reference import ReferenceEvaluator

        results = ReferenceEvaluator(model).run(None, given)
        return dict(zip(node.output, results, strict=True))[name]
