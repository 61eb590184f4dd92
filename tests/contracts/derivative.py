"""The derived backward graph of a cell against autograd through the tests' own interpreter."""

from __future__ import annotations

import torch
from torch import Tensor

from gatework.graph import Graph
from tests.graph.evaluate import Leaves, evaluate, random_leaves


def gradients_by_autograd(graph: Graph, leaves: Leaves) -> dict[str, Tensor]:
    """What the derived graph should give, under its names."""
    outputs = evaluate(graph, leaves)
    leaves.cotangents = {name: torch.randn_like(value) for name, value in outputs.items()}
    loss = torch.stack([(outputs[name] * leaves.cotangents[name]).sum() for name in outputs]).sum()
    wanted = {f"gradient:{name}": value for name, value in {**leaves.inputs, **leaves.states}.items()}
    wanted |= {f"weight:{slot}:{gate}": value for (slot, gate), value in leaves.weights.items()}
    wanted |= {f"bias:{slot}:{gate}": value for (slot, gate), value in leaves.biases.items()}
    wanted |= {f"vector:{name}": value for name, value in leaves.vectors.items()}
    wanted |= {f"memory:{name}": value for name, value in leaves.memories.items()}
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
    for name in [name for name in got if name.startswith("memory:")]:  # parts of one gradient
        part, whole = got.pop(name), name.rpartition(":")[0]
        got[whole] = got[whole] + part if whole in got else part
    assert set(expected) <= set(got), "a gradient is missing"
    for name, value in got.items():
        reference = expected.get(name)
        if reference is None:  # autograd calls it unused
            assert not value.any(), name
            continue
        torch.testing.assert_close(
            value.expand_as(reference),
            reference,
            rtol=1e-10,
            atol=1e-12,
            msg=lambda text, name=name: f"{name}: {text}",
        )
