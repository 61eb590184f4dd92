"""The engine's elementary functions against extended precision: at most 4 units in the last place, everywhere."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

from gatework.backends.llvm.codegen import mathematics
from gatework.backends.llvm.codegen.emitter import I64, POINTER, function
from gatework.backends.llvm.codegen.target import Target, host, target_of
from tests.tolerances import MOST_ULP

FUNCTIONS = ("exp", "expm1", "tanh", "sigmoid", "log", "softplus", "sin", "cos")
TARGETS = {"host": "", "avx2": "+sse4.2,+avx,+avx2,+fma", "sse2": "+sse2"}


def target(name: str) -> Target:
    if name == "host":
        return host()
    if not host().triple.startswith("x86_64"):
        pytest.skip(f"{name} is a feature of x86-64, and this machine is {host().triple}")
    have = set(host().features.split(","))
    missing = [feature for feature in TARGETS[name].split(",") if feature not in have]
    if missing:
        pytest.skip(f"this machine lacks {missing}")
    return target_of(host().triple, TARGETS[name])


def exact(name: str, x: np.ndarray) -> np.ndarray:
    """The function in extended precision."""
    small = np.exp(-np.abs(x))
    return {
        "exp": lambda: np.exp(x),
        "expm1": lambda: np.expm1(x),
        "tanh": lambda: np.tanh(x),
        "sigmoid": lambda: np.where(x >= 0, 1 / (1 + small), small / (1 + small)),
        "log": lambda: np.log(x),
        "softplus": lambda: np.maximum(x, 0) + np.log1p(small),
        "sin": lambda: np.sin(x),
        "cos": lambda: np.cos(x),
    }[name]()


def compiled(
    emit: Callable[..., Any], dtype: str, on: Target
) -> tuple[Callable[[np.ndarray], np.ndarray], Any]:
    """A native function over an array whose length is a multiple of the lanes."""
    module = ir.Module("test")
    module.triple = on.triple
    e = function(module, "f", [("x", POINTER), ("y", POINTER), ("count", I64)], on, dtype)
    x, y, count = e.function.args
    with e.loop(e.i64(0), count, e.lanes) as (i, _):
        e.store_vector(emit(e, e.load_vector(e.at(x, i))), e.at(y, i))
    e.b.ret_void()
    machine = llvm.Target.from_triple(on.triple).create_target_machine(features=on.features, opt=2)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), machine)
    engine.finalize_object()
    native = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(
        engine.get_function_address("f")
    )

    def run(values: np.ndarray) -> np.ndarray:
        result = np.full_like(values, np.nan)
        native(values.ctypes.data, result.ctypes.data, len(values))
        return result

    return run, engine


def arguments(dtype: Any) -> np.ndarray:
    generator = np.random.default_rng(0)
    reach = 120 if dtype == np.float32 else 760
    size = 10.0 ** generator.uniform(-30, 2, 4096)
    parts = [generator.uniform(-reach, reach, 8192), generator.normal(0, 1, 8192), size, -size]
    return np.concatenate(parts).astype(dtype)


def error_in_ulp(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        spacing = np.spacing(np.abs(want.astype(got.dtype))).astype(np.longdouble)
    finite = np.isfinite(want.astype(np.longdouble)) & np.isfinite(spacing)
    assert np.isfinite(got[finite]).all()
    return np.abs(got[finite].astype(np.longdouble) - want[finite]) / spacing[finite]


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value", "ignore:divide by zero")
@pytest.mark.parametrize("on", TARGETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_right_to_the_last_places(name: str, dtype: Any, on: str) -> None:
    run, _engine = compiled(getattr(mathematics, name), dtype.__name__, target(on))
    x = arguments(dtype)
    want = exact(name, x.astype(np.longdouble))
    assert error_in_ulp(run(x), want).max() <= MOST_ULP
    special = np.array([0, np.inf, -np.inf, np.nan, 1, -1, 2, -2] * 2, dtype)
    expected = exact(name, special.astype(np.longdouble)).astype(dtype)
    np.testing.assert_allclose(run(special), expected, rtol=MOST_ULP * np.finfo(dtype).eps)


@pytest.mark.parametrize("on", TARGETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_angles_beside_quarter_turns_and_very_large_ones(name: str, dtype: Any, on: str) -> None:
    run, _engine = compiled(getattr(mathematics, name), dtype.__name__, target(on))
    turns = np.arange(-2048, 2048) * (np.pi / 2)
    large = 10.0 ** np.arange(0, 16)  # registers that hold both small and large ones
    x = np.concatenate([turns, np.nextafter(turns, 0), large, -large]).astype(dtype)
    assert error_in_ulp(run(x), exact(name, x.astype(np.longdouble))).max() <= MOST_ULP
    if name == "sin":
        assert np.signbit(run(np.full(16, -0.0, dtype))).all()


def test_the_check_can_fail() -> None:
    run, _engine = compiled(lambda e, x: e.b.fadd(mathematics.exp(e, x), e.const(1e-5)), "float32", host())
    x = np.linspace(-1, 1, 64, dtype=np.float32)
    assert error_in_ulp(run(x), np.exp(x.astype(np.longdouble))).max() > MOST_ULP
