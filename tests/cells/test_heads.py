"""Recurrent weights in blocks, a head each: `linear(…, heads=…)`."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor

import gatework as gw
from gatework.export import targets
from gatework.export.files import ExportOptions
from gatework.export.native.checking import check_codes
from gatework.export.native.code import compiled
from gatework.export.native.functions import Functions
from gatework.export.network import network
from gatework.graph import GraphError, TraceError
from gatework.graph.printing import describe, parameter_count
from gatework.graph.serialize import from_json, to_json
from tests.export.test_onnx import error_of
from tests.tolerances import EXPORTED_ONNX, GRADIENTS, ROUNDED_INPUTS, VALUES, assert_close

SLSTM = gw.cells.get("slstm").with_options(heads=4)
GATES = ("input", "forget", "candidate", "output")


def by_head(stored: Tensor, h: Tensor, heads: int) -> dict[str, Tensor]:
    """R h of each gate, (B, H), head by head, as the paper writes it."""
    blocks = stored.unflatten(0, (len(GATES), heads, -1))  # (gate, head, row, column)
    units = h.unflatten(1, (heads, -1))  # (B, head, column)
    return {gate: torch.einsum("hrc,bhc->bhr", blocks[k], units).flatten(1) for k, gate in enumerate(GATES)}


def paper(layer: gw.Recurrent, x: Tensor) -> Tensor:
    """sLSTM with heads (Beck et al. 2024, equations 8 to 14 and section 2.2), without the stabiliser: (T, B, H)."""
    heads, size = layer.stack.heads["weight_hh"], layer.hidden_size
    h = c = n = x.new_zeros(x.shape[1], size)
    outputs = []
    for step in x:
        drive = (step @ layer.weight_ih_l0.T + layer.bias_ih_l0 + layer.bias_hh_l0).split(size, dim=1)
        recurrent = by_head(layer.weight_hh_l0, h, heads)
        i, f, z, o = (own + recurrent[gate] for gate, own in zip(GATES, drive, strict=True))
        i, f, z, o = i.exp(), f.sigmoid(), z.tanh(), o.sigmoid()
        c, n = f * c + i * z, f * n + i
        h = o * c / n
        outputs.append(h)
    return torch.stack(outputs)


@pytest.mark.parametrize(("size", "heads"), [(12, 4), (30, 3), (100, 4), (64, 8)])
@pytest.mark.parametrize("backend", ["eager", "llvm"])
def test_heads_read_their_own_units_alone(backend: str, size: int, heads: int) -> None:
    """Where a register of units ends at a head's last one, and where it does not."""
    torch.manual_seed(0)
    layer = gw.Recurrent(gw.cells.get("slstm").with_options(heads=heads), 5, size, dtype=torch.float64)
    assert layer.weight_hh_l0.shape == (4 * size, size // heads)
    x = torch.randn(9, 3, 5, dtype=torch.float64, requires_grad=True)
    with gw.backend(backend):
        output, _ = layer(x)
        found = [output, *torch.autograd.grad(output.square().sum(), [x, *layer.parameters()])]
    wanted = paper(layer, x)
    expected = [wanted, *torch.autograd.grad(wanted.square().sum(), [x, *layer.parameters()])]
    for got, value in zip(found, expected, strict=True):
        assert_close(got, value, GRADIENTS)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_engine_multiplies_no_blocks_of_zeros(steps: int) -> None:
    """What is not a number in one head would reach the others by a product with zero, in both directions of time."""
    layer, x = gw.Recurrent(SLSTM, 5, 64, dtype=torch.float64), torch.randn(steps, 2, 5, dtype=torch.float64)
    start = [state.clone() for state in layer.initial_state(2)]
    start[0] += torch.randn_like(start[0])
    start[0][..., :16] = torch.nan
    for state in start:
        state.requires_grad_()
    with gw.backend("llvm"):
        output, _ = layer(x, tuple(start))
        output[..., 32:].sum().backward()
    assert output[..., :16].isnan().all()
    assert output[..., 16:].isfinite().all()
    of_weights = layer.weight_hh_l0.grad
    assert of_weights is not None
    of_head = of_weights.view(4, 4, 16, 16)
    assert of_head[:, 2:].isfinite().all()
    assert of_head[:, 2:].any()


def test_layers_cells_streams_and_exports_agree() -> None:
    torch.manual_seed(0)
    layer = gw.Recurrent(SLSTM, 5, 8, num_layers=2).eval()
    x = torch.randn(6, 2, 5)
    output, _ = layer(x)
    stream = layer.stream(2)
    assert_close(torch.stack([stream.step(step).clone() for step in x]), output.detach(), GRADIENTS)
    assert error_of(layer) <= EXPORTED_ONNX
    assert network(layer, "own").cells[0].weights["hh", "forget"].shape == (8, 8)
    single = gw.Recurrent(SLSTM, 5, 8)
    cell = gw.RecurrentCell(SLSTM, 5, 8)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in single.state_dict().items()})
    states: Any = None
    for t, step in enumerate(x):
        states = cell(step, states)
        assert_close(states[0], single(x)[0][t], GRADIENTS)


@pytest.mark.parametrize(("size", "heads"), [(12, 4), (100, 4), (64, 8)])
def test_streams_in_fewer_bits(size: int, heads: int) -> None:
    """Weights of 8 bits are multiplied in pairs, of which one may stand across two heads."""
    layer = gw.Recurrent(gw.cells.get("slstm").with_options(heads=heads), 5, size)
    x = torch.randn(6, 2, 5)
    for weights in ("bf16", "int8"):
        found = []
        for backend in ("llvm", "eager"):
            with gw.backend(backend):
                stream = layer.stream(2, weights=weights)
                found.append(torch.stack([stream.step(step).clone() for step in x]))
        assert_close(*found, ROUNDED_INPUTS if weights == "int8" else VALUES)


@pytest.mark.parametrize(("size", "heads"), [(100, 4), (64, 8)])
@pytest.mark.parametrize("int8", [False, True])
def test_machine_code_has_the_blocks_alone(size: int, heads: int, int8: bool) -> None:
    """Their numbers are checked before an export is written: `tests/export/test_checking.py`."""
    layer = gw.Recurrent(gw.cells.get("slstm").with_options(heads=heads), 5, size, num_layers=2)
    target = targets.find(targets.NATIVE)
    code = compiled(network(layer, "own"), target, int8=int8)
    check_codes([code], target, ExportOptions(weights="int8" if int8 else "float32"))
    blocks = [-(-size // target.lanes), target.lanes]  # of lanes, each with the columns of its own heads
    of_lanes = min(size, (-(-(target.lanes - 1) // (size // heads)) + 1) * (size // heads))
    recurrent = 4 * prod(blocks) * of_lanes * (1 if int8 else 4)
    whole = compiled(network(gw.Recurrent("slstm", 5, size, num_layers=2), "own"), target, int8=int8)
    assert isinstance(code.functions, Functions)
    assert isinstance(whole.functions, Functions)
    saved = whole.functions.module.data - code.functions.module.data
    assert saved >= 2 * (4 * prod(blocks) * size * (1 if int8 else 4) - recurrent)


def test_each_head_is_orthogonal_at_the_start() -> None:
    layer = gw.Recurrent(SLSTM, 5, 24, dtype=torch.float64, init="keras")
    of_heads = (
        layer.weight_hh_l0.detach().view(4, 4, 6, 6).transpose(0, 1).flatten(1, 2)
    )  # (head, gate and row, column)
    assert_close(of_heads.transpose(1, 2) @ of_heads, torch.eye(6, dtype=torch.float64).expand(4, 6, 6))


def test_a_layer_with_heads_compiles() -> None:
    layer, x = gw.Recurrent(SLSTM, 5, 8).eval(), torch.randn(6, 2, 5)
    with torch.no_grad():
        assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x)[0], layer(x)[0], GRADIENTS)


def test_a_state_dict_has_the_blocks_and_gates_have_names() -> None:
    """Whatever the order of the gates: rows go by their names."""

    @gw.cell
    def one(x: Any, h: Any) -> Any:
        a, b = gw.linear("a", x, h, heads=2), gw.linear("b", x, h, heads=2)
        return gw.tanh(a) * gw.sigmoid(b)

    @gw.cell
    def other(x: Any, h: Any) -> Any:
        b, a = gw.linear("b", x, h, heads=2), gw.linear("a", x, h, heads=2)
        return gw.tanh(a) * gw.sigmoid(b)

    first, second = gw.Recurrent(one, 3, 6), gw.Recurrent(other, 3, 6)
    second.load_state_dict(first.state_dict())
    x = torch.randn(4, 2, 3)
    assert_close(second(x)[0], first(x)[0], GRADIENTS)
    assert not torch.equal(first.weight_hh_l0, second.weight_hh_l0)


def test_a_graph_keeps_its_heads_and_counts_its_parameters() -> None:
    assert from_json(to_json(SLSTM.graph)) == SLSTM.graph
    assert "weight_hh   rows input + forget + candidate + output; columns hidden_size / 4" in describe(
        SLSTM.graph
    )
    count = "hidden_size * hidden_size + 4 * hidden_size * input_size + 8 * hidden_size"
    assert parameter_count(SLSTM.graph) == count
    assert parameter_count(gw.cells.get("slstm").with_options(heads=8).graph).startswith(
        "hidden_size * hidden_size / 2 + "
    )
    layer = gw.Recurrent(SLSTM, 5, 12)
    assert sum(p.numel() for p in layer.parameters()) == 12 * 12 + 4 * 12 * 5 + 8 * 12
    damaged = to_json(SLSTM.graph).replace("true, 4]", "true, 0]")
    with pytest.raises(GraphError, match=r"the heads of hh\.\w+ are no whole number"):
        from_json(damaged)


def test_wrong_heads_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"slstm has 4 heads in weight_hh, and 10 units cannot be shared out"
    ):
        gw.Recurrent(SLSTM, 5, 10)

    def made(**options: Any) -> Any:
        def own(x: Any, h: Any) -> Any:
            return gw.tanh(gw.linear("a", *((x, h) if options.pop("reads", True) else (x,)), **options)) + h

        return gw.cell(own).graph

    for options, message in (
        ({"heads": 0}, "heads is a whole number, 1 or more"),
        ({"heads": 2, "reads": False}, "reads no state: the weights of inputs have no heads"),
        ({"heads": 2, "size": 1}, "blocks on a diagonal are square"),
    ):
        with pytest.raises(TraceError, match=message):
            made(**options)

    @gw.cell
    def mixed(x: Any, h: Any) -> Any:
        return gw.tanh(gw.linear("a", x, h, heads=2)) * gw.linear("b", x, h)

    with pytest.raises(TraceError, match="'a' and 'b' have 2 and 1 heads"):
        _ = mixed.graph
