"""Reasons for a choice of backend, as codes with values: a call makes codes, and only who asks why reads sentences."""

from __future__ import annotations

from typing import Any, NamedTuple


class Reason(NamedTuple):
    """A code of `SENTENCES` and the values that its sentence names, other reasons among them."""

    code: str
    values: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return SENTENCES[self.code].format(*self.values)


SENTENCES = {
    # torch's modes, in which native code is out of place
    "compiling": "torch is tracing, and cannot see into native code",
    "Tracer": "torch.jit.trace, or an export built on it, is recording torch's operators",
    "Python": "a dispatch mode, such as FakeTensorMode or make_fx, is at work, and cannot see into native code",
    "PreDispatch": "make_fx is recording torch's operators, and cannot see into native code",
    "FuncTorchDynamicLayerFrontMode": "a transform of torch.func is at work, and cannot see into native code",
    "VmapMode": "torch is batching a computation, and cannot see into native code",
    "unknown mode": "torch is in a mode that native code does not know ({0})",
    "forward mode": "the engine has no forward-mode derivatives",
    "autocast": "autocast is on, and the engine does not compute in half precision",
    # tensors that native code cannot read
    "device": "the engine runs on the CPU, and {0} is on {1}",
    "dtype": "the engine computes in float32 and float64, and {0} is {1}",
    "not plain": "the engine reads plain dense tensors, and {0} is {1}",
    "dtypes differ": "there is nothing to compute, or the dtypes differ",
    # graphs and calls
    "repaid step": "a single step of so many products repays the engine's call",
    "one step": "a single step does not repay the engine's call",
    "empty": "there is nothing to compute",
    "tape": "the backend {0!r} keeps no gates, and a tape is recording",
    "by name": "it was asked for by name",
    "other linear": "another backend was asked for by name, and none but the engine has a linear map",
    "compiled": "a compiled graph holds its operator whole, and would take torch's apart into steps",
    "linear": "it runs linear maps wherever it can",
    "own equations": "the engine runs every cell's own equations, and {0}",
    "neither": "{0}, and {1}",
    "fused": "{0}, and torch has a fused operator for {1}",
    "transform": "{0}, nor into torch's fused operator",
    "torch is quicker": "its operator was measured {0:.2f} times as fast at about this shape, {1}, in {2}",
    "engine is quicker": "it was measured {0:.2f} times as fast as torch's operator at about this shape, {1}, in {2}",
}
