"""The derived backward graph of a cell against autograd through the tests' own interpreter."""

from __future__ import annotations

import torch
from torch import Tensor

from gatework.graph import Graph
from gatework.graph.keys import ArrayKey
from tests.graph.evaluate import Leaves, evaluate, random_leaves
from tests.tolerances import assert_close


def gradients_by_autograd(graph: Graph, leaves: Leaves) -> dict[ArrayKey, Tensor]:
    """What the derived graph should give, by its keys."""
    outputs = evaluate(graph, leaves)
    leaves.cotangents = {name: torch.randn_like(value) for name, value in outputs.items()}
    loss = torch.stack([(outputs[name] * leaves.cotangents[name]).sum() for name in outputs]).sum()
    wanted = {spec.key.gradient: leaves.inputs[spec.name] for spec in graph.inputs if spec.kind != "memory"}
    wanted |= {ArrayKey("state_gradient", name): value for name, value in leaves.states.items()}
    wanted |= {ArrayKey("weight_gradient", gate, slot): v for (slot, gate), v in leaves.weights.items()}
    wanted |= {ArrayKey("bias_gradient", gate, slot): v for (slot, gate), v in leaves.biases.items()}
    wanted |= {ArrayKey("vector_gradient", name): value for name, value in leaves.vectors.items()}
    wanted |= {ArrayKey("memory_gradient", name): value for name, value in leaves.memories.items()}
    found = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(wanted, found, strict=True) if gradient is not None}


def check_derivative(graph: Graph, derived: Graph, rows: int = 6) -> None:
    """Every gradient of a derived graph is autograd's, to rounding, in float64.

    Raises:
        AssertionError: one is not, or is missing.
    """
    sizes = {size: 2 + number for number, size in enumerate(graph.sizes())}
    leaves = random_leaves(graph, sizes, rows)
    expected = gradients_by_autograd(graph, leaves)
    with torch.no_grad():
        got = evaluate(derived, leaves)
    for key in [key for key in got if key.kind == "memory_gradient"]:  # parts of one gradient
        part, whole = got.pop(key), ArrayKey("memory_gradient", key.name)
        got[whole] = got[whole] + part if whole in got else part
    assert set(expected) <= set(got), "a gradient is missing"
    for key, value in got.items():
        reference = expected.get(key)
        if reference is None:  # autograd calls it unused
            assert not value.any(), key
            continue
        assert_close(value.expand_as(reference), reference, what=str(key))
