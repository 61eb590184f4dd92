"""The engine on AArch64 (NEON), emulated: products, functions, layers forward and backward, a stream."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from llvmlite import binding as llvm
from llvmlite import ir

import gatework as gw
from gatework.backends.llvm.codegen import driver, mathematics
from gatework.backends.llvm.codegen.emitter import I64, POINTER, function
from gatework.backends.llvm.codegen.target import host
from tests.backends.llvm.aarch64 import ARM, Machine, emulated, machine
from tests.backends.llvm.test_mathematics import FUNCTIONS, arguments, error_in_ulp, exact
from tests.contracts.backend_contract import check_backend, check_resets
from tests.contracts.test_backends import layer_of
from tests.layers.test_stream_weights import steps
from tests.tolerances import (
    GRADIENTS,
    MOST_ULP,
    OF_THE_LARGEST_REFERENCE,
    ROUNDED_INPUTS,
    assert_close,
    of_the_largest,
)


@pytest.fixture
def arm() -> Machine:
    if not host().triple.startswith("x86_64"):
        pytest.skip(
            f"this machine is {host().triple}: the engine's other tests run its code for AArch64, or none can"
        )
    return machine()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_products(arm: Machine, dtype: torch.dtype) -> None:
    """Rows and units around those of a tile, and more of both; gradients are products of other layouts."""
    torch.manual_seed(0)
    for rows, depth, units in ((1, 1, 1), (3, 7, 5), (13, 33, 17), (64, 100, 130)):
        linear = gw.Linear(depth, units, dtype=dtype)
        x = torch.randn(rows, depth, dtype=dtype, requires_grad=True)
        leaves = [x, linear.weight, linear.bias]
        with emulated():
            output = linear(x)
            gradients = torch.autograd.grad(output.square().sum(), leaves)
        leaves = [leaf.detach().double().requires_grad_() for leaf in leaves]
        expected = torch.nn.functional.linear(*leaves)
        wanted = torch.autograd.grad(expected.square().sum(), leaves)
        for got, want in zip([output, *gradients], [expected, *wanted], strict=True):
            assert of_the_largest(got, want) <= OF_THE_LARGEST_REFERENCE[dtype]


def applied(on: Machine, emit: Callable[..., Any], values: np.ndarray) -> np.ndarray:
    """A function of a register, over an array whose length is a multiple of the lanes."""
    module = ir.Module("test")
    module.triple = ARM.triple
    e = function(module, "f", [("x", POINTER), ("y", POINTER), ("count", I64)], ARM, values.dtype.name)
    x, y, count = e.function.args
    with e.loop(e.i64(0), count, e.lanes) as (i, _):
        e.store_vector(emit(e, e.load_vector(e.at(x, i))), e.at(y, i))
    e.b.ret_void()
    symbol = on.add(_machine().emit_object(llvm.parse_assembly(str(module)))) + "f"
    result = np.full_like(values, np.nan)
    on.call(symbol, values.ctypes.data, result.ctypes.data, len(values))
    return result


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value", "ignore:divide by zero")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_right_to_the_last_places(arm: Machine, name: str, dtype: Any) -> None:
    special = np.array([0, np.inf, -np.inf, np.nan, 1, -1, 2, -2], dtype)
    values = np.concatenate([arguments(dtype), special])
    got = applied(arm, getattr(mathematics, name), values)
    want = exact(name, values.astype(np.longdouble))
    assert error_in_ulp(got, want).max() <= MOST_ULP
    got, want = got[-len(special) :], want[-len(special) :].astype(dtype)
    np.testing.assert_allclose(got, want, rtol=MOST_ULP * np.finfo(dtype).eps)


def test_a_wrong_function_is_found(arm: Machine) -> None:
    values = np.linspace(-1, 1, 64, dtype=np.float32)
    got = applied(arm, lambda e, x: e.b.fadd(mathematics.exp(e, x), e.const(1e-5)), values)
    assert error_in_ulp(got, np.exp(values.astype(np.longdouble))).max() > MOST_ULP


@pytest.mark.parametrize("name", ["lstm", "layer_norm_lstm", "bahdanau_gru"])
def test_a_layer_equals_the_reference(arm: Machine, name: str) -> None:
    """Forward and backward, dense and ragged; the decoder attends to memories of several lengths."""
    with emulated():
        check_backend("llvm", layer_of(name), torch.float64)
        check_backend("llvm", layer_of(name), torch.float32)
        if name == "lstm":
            check_backend("llvm", layer_of(name, num_layers=2, bidirectional=True), torch.float64)
            check_resets("llvm", layer_of(name), torch.float64)


def test_what_is_not_emulated_is_found(arm: Machine) -> None:
    with pytest.raises(AssertionError, match="nothing was emulated"), emulated():
        check_backend("eager", layer_of("lstm"), torch.float64)
    with mock.patch.object(Machine, "_run"), pytest.raises(AssertionError, match="differs by"), emulated():
        check_backend("llvm", layer_of("lstm"), torch.float64)


def test_more_units_than_a_tile(arm: Machine) -> None:
    torch.manual_seed(0)
    layer = gw.LSTM(19, 70, num_layers=2)
    x = torch.randn(6, 13, 19)
    with emulated(), gw.backend("llvm"), torch.no_grad():
        output, state = layer(x)
        stream = layer.stream(13)
        steps = [stream.step(step).clone() for step in x]
    with torch.no_grad():
        assert_close(output, layer.double()(x.double())[0].float())
    assert torch.equal(torch.stack(steps), output)
    assert torch.equal(stream.state[1], state[1])


def test_weights_of_8_bits_and_a_cells_steps(arm: Machine) -> None:
    torch.manual_seed(0)
    layer, cell, x = gw.LSTM(19, 70), gw.LSTMCell(19, 70), torch.randn(4, 3, 19)

    def gradients() -> list[torch.Tensor]:
        state = torch.ones(3, 70), torch.ones(3, 70)
        for step in x:
            state = cell(step, state)
        return [*state, *torch.autograd.grad(state[0].sum() + state[1].sum(), [*cell.parameters()])]

    with emulated(), gw.backend("llvm"):
        found = steps(layer, x, "int8", "llvm"), gradients()
    with gw.backend("eager"):
        assert_close(found[0], steps(layer, x, "int8", "eager"), ROUNDED_INPUTS)
        assert_close(found[1], gradients(), GRADIENTS)


def test_the_barrier_acquires_and_releases() -> None:
    """From its assembly, since one emulated thread cannot show that who leaves sees what the others wrote before."""
    module = ir.Module("driver")
    module.triple = ARM.triple
    driver.emit_driver(module, ARM, "float32")
    assembly = _machine().emit_assembly(llvm.parse_assembly(str(module)))
    body = re.search(rf"^{driver.BARRIER}:$(.*?)^\.Lfunc_end", assembly, re.MULTILINE | re.DOTALL)
    assert body is not None
    code = " ".join(body[1].split())
    (generation,) = re.findall(r"add (x\d+), x0, #64 ", code)  # the count is at x0
    assert re.search(rf"ldar (x\d+), \[{generation}\] .* ldar (x\d+), \[{generation}\] cmp \2, \1 ", code)
    assert re.search(
        r"ldaxr (x\d+), \[x0\] add (x\d+), \1, #1 stlxr w\d+, \2, \[x0\] ", code
    )  # one more has come
    assert re.search(rf"stlxr w\d+, x\d+, \[{generation}\] ", code)  # the last one lets the others go


def _machine() -> Any:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(ARM.triple).create_target_machine(features=ARM.features, opt=2)
