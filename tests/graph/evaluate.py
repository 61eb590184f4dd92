"""A second interpreter of graphs, for tests: one step, every operation spelled out in torch, no sharing.

It knows nothing of `gatework.backends`, so that a mistake there is not repeated here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from gatework.graph import Graph, Node
from gatework.graph.keys import ArrayKey, Kind

STEPS = 4  # of every memory


@dataclass
class Leaves:
    """What a step reads: (B, size) tensors by name; weights by (slot, gate); vectors by name; memories, (S, B, size),
    with one tensor of their lengths, (B,)."""

    inputs: dict[str, Tensor]
    states: dict[str, Tensor]
    sizes: Mapping[str, int]
    weights: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    biases: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    vectors: dict[str, Tensor] = field(default_factory=dict)
    cotangents: dict[ArrayKey, Tensor] = field(default_factory=dict)
    memories: dict[str, Tensor] = field(default_factory=dict)
    lengths: Tensor | None = None
    gathered: dict[str, Tensor] = field(default_factory=dict)  # what `compare_back` sums beside its result


def random_leaves(graph: Graph, sizes: Mapping[str, int], rows: int, scale: float = 0.7) -> Leaves:
    """Float64 values that differ everywhere, for everything that a graph reads but its cotangents."""

    def of(width: str | int) -> int:
        return width if isinstance(width, int) else sizes[width]

    def draw(*shape: int) -> Tensor:
        return (scale * torch.randn(*shape, dtype=torch.float64)).requires_grad_()

    return Leaves(
        inputs={spec.name: draw(rows, of(spec.size)) for spec in graph.inputs if spec.kind != "memory"},
        # a state such as a normaliser is positive where a cell reaches it by itself
        states={s.name: (0.5 + draw(rows, of(s.size)).abs()).detach().requires_grad_() for s in graph.states},
        sizes=sizes,
        weights={(b.slot, b.gate): draw(of(b.rows), of(b.columns)) for b in graph.blocks},
        biases={(b.slot, b.gate): draw(of(b.rows)) for b in graph.blocks if b.bias},
        vectors={v.name: draw(of(v.size)) for v in graph.vectors},
        memories={spec.name: draw(STEPS, rows, of(spec.size)) for spec in graph.inputs_of_kind("memory")},
        lengths=torch.arange(STEPS, STEPS - rows, -1).clamp_min(0),
    )


def _where(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(condition != 0, yes, no)


def _hard_sigmoid(line: Tensor) -> Tensor:
    # No gradient at the bounds and at NaN, as torch's hardsigmoid, which holds 1/6 in float32 whatever the dtype.
    return torch.where((line > 0) & (line < 1), line, line.detach().clamp(0.0, 1.0))


FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "less": lambda a, b: torch.lt(a, b).to(a.dtype),
    "less_equal": lambda a, b: torch.le(a, b).to(a.dtype),
    "equal": lambda a, b: torch.eq(a, b).to(a.dtype),
    "where": _where,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softplus": lambda a: torch.logaddexp(a, torch.zeros_like(a)),
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "sin": torch.sin,
    "cos": torch.cos,
    "stop_gradient": lambda a: a.detach(),
    "softsign": F.softsign,
    "log_sigmoid": F.logsigmoid,
    "softmax": lambda a: torch.softmax(a, -1),
    "max": lambda a: a.amax(-1, keepdim=True),
    "sum": lambda *args: sum(a.sum(-1, keepdim=True) for a in args),
}

WITH_ATTRIBUTES: dict[str, Callable[..., Tensor]] = {
    "pow": lambda node, a: a ** node.number("exponent"),
    "clip": lambda node, a: a.clamp(node.number("low"), node.number("high")),
    "leaky_relu": lambda node, a: F.leaky_relu(a, node.number("slope")),
    "elu": lambda node, a: F.elu(a, node.number("alpha")),
    "hard_sigmoid": lambda node, a: _hard_sigmoid(a * node.number("slope") + 0.5),
}


_EXPONENTS = (-3.0, -2.0, -1.0, -0.5, 0.0, 1 / 3, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 17.0)
ATTRIBUTES: dict[str, tuple[dict[str, Any], ...]] = {  # with which operations are tried
    "pow": tuple({"exponent": exponent} for exponent in _EXPONENTS),
    "clip": ({"low": -1.0, "high": 2.0},),
    "leaky_relu": ({"slope": 0.3},),
    "elu": ({"alpha": 0.4},),
    "hard_sigmoid": ({"slope": 1 / 6}, {"slope": 0.25}),
    "layer_norm": tuple({"name": "norm", "index": index, "epsilon": 1e-5} for index in (0, 1)),
}

ROWS_OF_MEMORIES = (
    "dot_score",
    "additive_score",
    "masked_softmax",
    "attention_context",
    "masked_softmax_gradient",
    "additive_score_gradient",
    "location_score",
    "location_score_gradient",
    "location_gradient",
)


def evaluate(graph: Graph, leaves: Leaves) -> dict[ArrayKey, Tensor]:
    """The outputs of one step by key. Gradients of parameters come summed over the rows."""
    values: list[Tensor] = []
    for node in graph.nodes:
        args = [values[arg] for arg in node.args]
        if node.op in ROWS_OF_MEMORIES:
            values.append(_row_by_row(graph, node, args, leaves))
        else:
            values.append(_value(node, args, leaves))
    return {key: values[index] for key, index in graph.outputs}


def _value(node: Node, args: list[Tensor], leaves: Leaves) -> Tensor:
    if node.op in FUNCTIONS:
        return FUNCTIONS[node.op](*args)
    if node.op in WITH_ATTRIBUTES:
        return WITH_ATTRIBUTES[node.op](node, *args)
    match node.op:
        case "constant":
            return torch.tensor(node.number("value"), dtype=torch.float64).view(1, 1)
        case "input" | "static":
            return leaves.inputs[node.text("name")]
        case "state":
            return leaves.states[node.text("name")]
        case "cotangent":
            return leaves.cotangents[ArrayKey(cast(Kind, node["kind"]), node.text("name"))]
        case "vector":
            return leaves.vectors[node.text("name")]
        case "bias":
            return leaves.biases[node.text("slot"), node.text("gate")]
        case "size":
            of = node["of"]
            count = leaves.sizes[of] if isinstance(of, str) else of
            return torch.tensor(float(count), dtype=torch.float64).view(1, 1)
        case "broadcast":
            width = leaves.sizes[node.width] if isinstance(node.width, str) else node.width
            return args[0].expand(*args[0].shape[:-1], width)
        case "layer_norm":
            joined = torch.cat(args, -1)
            parts = F.layer_norm(joined, joined.shape[-1:], eps=node.number("epsilon"))
            return parts.split([arg.shape[-1] for arg in args], -1)[int(node.number("index"))]
        case "gate_matmul":
            return args[0] @ leaves.weights[node.text("slot"), node.text("gate")].T
        case "gate_matmul_transposed":
            return args[0] @ leaves.weights[node.text("slot"), node.text("gate")]
        case "weight_gradient":
            return args[0].T @ args[1]
        case "bias_gradient" | "vector_gradient":
            return args[0].sum(0)
        case "memory":
            return leaves.memories[node.text("name")]
        case "memory_gradient":
            return torch.einsum("bs,bm->sbm", *args)
        case "keys_gradient" | "energy_gradient":
            return leaves.gathered[node.text("name")]
        case _:
            raise NotImplementedError(f"the tests' interpreter does not know {node.op}")


def _row_by_row(graph: Graph, node: Node, args: list[Tensor], leaves: Leaves) -> Tensor:
    """Operations on memories, written out for one row and the steps that it has."""
    assert leaves.lengths is not None
    found, of_keys, of_energy, of_kernel = [], [], [], []
    for row, length in enumerate(leaves.lengths.tolist()):
        past = torch.zeros(STEPS - length, dtype=torch.float64)
        own = [arg[row] if arg.dim() == 2 else arg for arg in args]
        own = [arg[:length, row] if arg.dim() == 3 else arg for arg in own]
        match node.op:
            case "dot_score":
                value = torch.cat([own[1] @ own[0], past])
            case "additive_score":
                value = torch.cat([torch.tanh(own[0] + own[1]) @ own[2], past])
            case "masked_softmax":
                share = torch.exp(own[0][:length])
                value = torch.cat([share / share.sum(), past])
            case "attention_context":
                value = own[0][:length] @ own[1]
            case "masked_softmax_gradient":
                weights, flow = own[0][:length], own[1][:length]
                value = torch.cat([weights * (flow - weights @ flow), past])
            case "location_score":
                kernel = args[4][:, row]
                told = told_by(own[3], kernel)[:length]
                value = torch.cat([torch.tanh(own[0] + own[1] + told) @ own[2], past])
            case _:
                flow, query, keys, energy, *located = own
                kernel = args[5][:, row] if located else None
                told = 0.0 if kernel is None else told_by(located[0], kernel)[:length]
                hidden = torch.tanh(query + keys + told)
                inner = flow[:length, None] * energy * (1 - hidden**2)
                value = inner.sum(0)
                if kernel is not None:
                    flows = torch.cat([inner, inner.new_zeros(STEPS - length, len(query))])
                    before = located[0].detach().requires_grad_()
                    shared = kernel.detach().requires_grad_()
                    with torch.enable_grad():
                        back = torch.autograd.grad((told_by(before, shared) * flows).sum(), (before, shared))
                    if node.op == "location_gradient":
                        found.append(back[0])
                        continue
                    of_kernel.append(back[1])
                of_keys.append(torch.cat([inner, inner.new_zeros(STEPS - length, len(query))]))
                of_energy.append(flow[:length] @ hidden)
        found.append(value)
    if of_keys:
        keys, energy = (graph.nodes[arg].text("name") for arg in node.args[2:4])
        leaves.gathered |= {keys: torch.stack(of_keys, 1), energy: torch.stack(of_energy).sum(0)}
    if of_kernel:
        leaves.gathered[graph.nodes[node.args[5]].text("name")] = torch.stack(of_kernel, 1)
    return torch.stack(found)


def told_by(alignment: Tensor, kernel: Tensor) -> Tensor:
    """(S, A), the convolution of an alignment, (S,), with a kernel, (K, A), zero beyond both ends."""
    count = len(kernel)
    wide = torch.cat([alignment.new_zeros(count // 2), alignment, alignment.new_zeros(count)])
    return torch.stack([wide[step : step + count] @ kernel for step in range(len(alignment))])
