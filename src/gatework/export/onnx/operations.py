"""A step's graph in ONNX's operations, for rows of a batch, or for all steps of it together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gatework.export.cell import Cell, width_of
from gatework.export.onnx.writer import Writer, onnx
from gatework.graph.keys import ArrayKey
from gatework.graph.node import Graph, Node

_MASKED = -1e30  # of scores past a memory's end: their softmax is 0


class Rendered:
    """The values of a graph's nodes, written by one writer.

    Args:
        leaves: names of the arrays that the graph reads: (…, B, size); memories (B, S, size).
        masks: names of (B, S), 1 where a step of a memory exists, by the memory's name and those of its keys.
    """

    def __init__(
        self,
        writer: Writer,
        cell: Cell,
        graph: Graph,
        leaves: Mapping[ArrayKey, str],
        masks: Mapping[str, str] | None = None,
    ) -> None:
        self.writer, self.cell, self.graph = writer, cell, graph
        self.leaves, self.masks = dict(leaves), dict(masks or {})
        self._values: dict[int, str] = {}
        self._products: dict[int, str] = {}

    def outputs(self) -> dict[ArrayKey, str]:
        """The names of what the graph gives."""
        return {key: self.value(index) for key, index in self.graph.outputs}

    def value(self, index: int) -> str:
        if index not in self._values:
            for earlier in sorted(self._below(index) - self._values.keys()):
                self._values[earlier] = self._computed(self.graph.nodes[earlier], earlier)
        return self._values[index]

    def _below(self, index: int) -> set[int]:
        """A node and all that it is computed from."""
        found: set[int] = set()
        waiting = [index]
        while waiting:
            each = waiting.pop()
            if each not in found:
                found.add(each)
                waiting += self.graph.nodes[each].args
        return found

    def _computed(self, node: Node, index: int) -> str:
        e = self.writer
        args = [self._values[arg] for arg in node.args]
        match node.op:
            case "constant":
                return e.array([node.number("value")])
            case "size":
                of = node["of"]
                size = width_of(self.cell, of if isinstance(of, str) else int(of))
                return e.array([float(size or 0)])
            case "vector":
                return e.array(self.cell.vectors[node.text("name")])
            case "bias":
                return e.array(self.cell.biases[node.text("slot"), node.text("gate")])
            case "memory" if node.text("name") in self.cell.kernels:
                return ""  # of the location score, which reads the array itself
            case "input" | "static" | "state" | "memory" | "array":
                return self.leaves[node.key]
            case "gate_matmul":
                return self._product(node, index)
            case "broadcast":
                units = width_of(self.cell, node.width)
                return str(e.node("Add", [args[0], e.array(np.zeros(units or 1))]))
            case "sum":
                parts = [e.node("ReduceSum", [arg, e.numbers(-1)], keepdims=1) for arg in args]
                return str(parts[0] if len(parts) == 1 else e.node("Sum", parts))
            case "max":
                return str(e.node("ReduceMax", args, axes=[-1], keepdims=1))
            case op if op in _ATTENTION:
                return _ATTENTION[op](self, node, args)
            case _:
                return OPERATIONS[node.op](e, node, args)

    def _product(self, node: Node, index: int) -> str:
        """A gate's product: the gates of one slot and operand are one product."""
        if index not in self._products:
            members = [
                (position, other)
                for position, other in enumerate(self.graph.nodes)
                if other.op == "gate_matmul" and other.args == node.args and other["slot"] == node["slot"]
            ]
            blocks = [self.cell.weights[other.text("slot"), other.text("gate")] for _, other in members]
            weight = self.writer.weight(np.concatenate(blocks), transposed=True)
            operand = self._values[node.args[0]]
            product = self.writer.node("MatMul", [operand, weight])
            names = [product]
            if len(members) > 1:
                rows = self.writer.numbers(*(len(block) for block in blocks))
                names = self.writer.node("Split", [product, rows], len(members), axis=-1)
            self._products |= {position: name for (position, _), name in zip(members, names, strict=True)}
        return self._products[index]

    # Attention: queries (B, A), keys and memories (B, S, ·), weights (B, S)

    def _row(self, name: str) -> str:
        return str(self.writer.node("Unsqueeze", [name, self.writer.numbers(1)]))

    def _dot_score(self, node: Node, args: list[str]) -> str:
        e = self.writer
        keys = e.node("Transpose", [args[1]], perm=[0, 2, 1])
        return str(e.node("Squeeze", [e.node("MatMul", [self._row(args[0]), keys]), e.numbers(1)]))

    def _hidden_score(self, node: Node, args: list[str]) -> str:
        e = self.writer
        hidden = e.node("Add", [self._row(args[0]), args[1]])
        if node.op == "location_score":
            kernel = self.cell.kernels[self.graph.nodes[node.args[4]].text("name")]  # (K, A)
            count = kernel.shape[0]
            weight = e.array(kernel.T[:, None, :])
            told = e.node("Conv", [self._row(args[3]), weight], pads=[count // 2, (count - 1) // 2])
            hidden = e.node("Add", [hidden, e.node("Transpose", [told], perm=[0, 2, 1])])
        column = e.node("Unsqueeze", [args[2], e.numbers(1)])
        product = e.node("MatMul", [e.node("Tanh", [hidden]), column])
        return str(e.node("Squeeze", [product, e.numbers(2)]))

    def _masked_softmax(self, node: Node, args: list[str]) -> str:
        e = self.writer
        mask = self.masks[self.graph.nodes[node.args[1]].text("name")]
        exists = e.node("Cast", [mask], to=onnx().TensorProto.BOOL)
        scores = e.node("Where", [exists, args[0], e.array([_MASKED])])
        return str(e.node("Mul", [e.node("Softmax", [scores], axis=-1), mask]))

    def _context(self, node: Node, args: list[str]) -> str:
        e = self.writer
        return str(e.node("Squeeze", [e.node("MatMul", [self._row(args[0]), args[1]]), e.numbers(1)]))


_ATTENTION: dict[str, Callable[[Rendered, Node, list[str]], str]] = {
    "dot_score": Rendered._dot_score,
    "additive_score": Rendered._hidden_score,
    "location_score": Rendered._hidden_score,
    "masked_softmax": Rendered._masked_softmax,
    "attention_context": Rendered._context,
}

Operation = Callable[[Writer, Node, list[str]], str]


def _plain(op: str, **attributes: Any) -> Operation:
    return lambda e, node, args: str(e.node(op, args, **attributes))


def _comparison(op: str) -> Operation:
    def write(e: Writer, node: Node, args: list[str]) -> str:
        return str(e.node("Cast", [e.node(op, args)], to=onnx().TensorProto.FLOAT))

    return write


def _where(e: Writer, node: Node, args: list[str]) -> str:
    zero = e.node("Equal", [args[0], e.array([0.0])])
    return str(e.node("Where", [zero, args[2], args[1]]))


def _power(e: Writer, node: Node, args: list[str]) -> str:
    return str(e.node("Pow", [args[0], e.array([node.number("exponent")])]))


def _clip(e: Writer, node: Node, args: list[str]) -> str:
    return str(e.node("Clip", [args[0], e.array(node.number("low")), e.array(node.number("high"))]))


def _expm1(e: Writer, node: Node, args: list[str]) -> str:
    """2 t / (1 - t) with t = tanh(x / 2), which is exact near 0; exp(x) - 1 elsewhere."""
    t = e.node("Tanh", [e.node("Mul", [args[0], e.array([0.5])])])
    near = e.node("Div", [e.node("Mul", [t, e.array([2.0])]), e.node("Sub", [e.array([1.0]), t])])
    far = e.node("Sub", [e.node("Exp", args), e.array([1.0])])
    small = e.node("Less", [e.node("Abs", args), e.array([math.log(2)])])
    return str(e.node("Where", [small, near, far]))


def _hard_sigmoid(e: Writer, node: Node, args: list[str]) -> str:
    return str(e.node("HardSigmoid", args, alpha=node.number("slope"), beta=0.5))


OPERATIONS: dict[str, Operation] = {
    "add": _plain("Add"),
    "sub": _plain("Sub"),
    "mul": _plain("Mul"),
    "div": _plain("Div"),
    "neg": _plain("Neg"),
    "pow": _power,
    "less": _comparison("Less"),
    "less_equal": _comparison("LessOrEqual"),
    "equal": _comparison("Equal"),
    "where": _where,
    "maximum": _plain("Max"),
    "minimum": _plain("Min"),
    "sigmoid": _plain("Sigmoid"),
    "tanh": _plain("Tanh"),
    "relu": _plain("Relu"),
    "softplus": _plain("Softplus"),
    "exp": _plain("Exp"),
    "expm1": _expm1,
    "log": _plain("Log"),
    "sqrt": _plain("Sqrt"),
    "abs": _plain("Abs"),
    "sin": _plain("Sin"),
    "cos": _plain("Cos"),
    "clip": _clip,
    "hard_sigmoid": _hard_sigmoid,
    "stop_gradient": _plain("Identity"),
}
"""Elementwise operations of the table of operations, by name."""
