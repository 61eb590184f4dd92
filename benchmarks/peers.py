"""What a recurrent layer is timed against: each peer runs the same layer with the same weights.

A peer that cannot run a cell, or is not installed, is absent and says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

import gatework as gw
from gatework.backends import SequenceInput, eager

TORCH = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "elman": torch.nn.RNN}
ONNX_GATES = {"lstm": ("input", "output", "forget", "candidate"), "gru": ("update", "reset", "candidate")}


class Absent(Exception):
    """Why a peer takes no part."""


@dataclass(frozen=True)
class Contestant:
    """One way of running the layer.

    Attributes:
        forward: gives the output, (T, B, H), as something that `numpy.asarray` takes.
        training: forward and backward of the output's sum; gives the gradient of the recurrent weights, in the
            layout of `weight_hh_l0`. None where there is no backward.
    """

    name: str
    forward: Callable[[], Any]
    training: Callable[[], Any] | None


def _module(name: str, module: torch.nn.Module, x: Tensor, around: Callable[[], Any]) -> Contestant:
    def forward() -> Tensor:
        with torch.no_grad(), around():
            return module(x)[0]

    def training() -> Tensor:
        for parameter in module.parameters():
            parameter.grad = None
        with around():
            output = module(x)[0]
        output.sum().backward()
        gradient = module.get_parameter("weight_hh_l0").grad
        assert gradient is not None
        return gradient

    return Contestant(name, forward, training)


def engine(layer: gw.Recurrent, x: Tensor) -> Contestant:
    return _module("llvm", layer, x, lambda: gw.backend("llvm"))


def reference(layer: gw.Recurrent, x: Tensor) -> Contestant:
    return _module("eager", layer, x, lambda: gw.backend("eager"))


def torch_nn(layer: gw.Recurrent, x: Tensor) -> Contestant:
    if layer.cell.name not in TORCH:
        raise Absent(f"torch.nn has no {layer.cell.name}")
    module = TORCH[layer.cell.name](layer.input_size, layer.hidden_size)
    module.load_state_dict(layer.state_dict())
    return _module("torch", module, x, lambda: gw.backend("auto"))


def compiled(layer: gw.Recurrent, x: Tensor) -> Contestant:
    """torch.compile of the reference's loop, whole: it unrolls the steps."""
    if x.shape[0] > 50:
        raise Absent("torch.compile of more than 50 steps takes minutes")
    stack = layer.stack
    graph = stack.mode_graph(training=True)
    parameters = {name: getattr(layer, f"{name}_l0") for name in stack.names}
    states = tuple(state[0] for state in stack.initial_states(x.shape[1], x, {}))
    first = graph.inputs[0].name

    @torch.compile(dynamic=False)
    def run(x: Tensor) -> Tensor:
        return eager.run(graph, parameters, SequenceInput({first: x}, {}, states)).output

    def forward() -> Tensor:
        with torch.no_grad():
            return run(x)

    def training() -> Tensor:
        for parameter in parameters.values():
            parameter.grad = None
        run(x).sum().backward()
        gradient = parameters["weight_hh"].grad
        assert gradient is not None
        return gradient

    try:
        forward()
        training()
    except Exception as error:  # no compiler, or a graph that it refuses: said, not hidden
        raise Absent(f"torch.compile failed: {str(error).splitlines()[0][:80]}") from error
    return Contestant("compiled", forward, training)


def jax_scan(layer: gw.Recurrent, x: Tensor) -> Contestant:
    """A jitted `lax.scan`. JAX takes all cores by itself."""
    if find_spec("jax") is None:
        raise Absent("jax is not installed")
    name = layer.cell.name
    if name not in ("lstm", "gru"):
        raise Absent(f"the JAX peer is written for LSTM and GRU, not {name}")
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_platforms", "cpu")
    weights = {key: jnp.asarray(value.detach().numpy()) for key, value in layer.state_dict().items()}
    steps = jnp.asarray(x.numpy())
    hidden = layer.hidden_size

    def outputs(weights: dict[str, Any], x: Any) -> Any:
        inside = x @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]

        def lstm(carry: Any, a: Any) -> Any:
            h, c = carry
            a = a + h @ weights["weight_hh_l0"].T + weights["bias_hh_l0"]
            i, f, g, o = jnp.split(a, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        def gru(carry: Any, a: Any) -> Any:
            h = carry[0]
            b = h @ weights["weight_hh_l0"].T + weights["bias_hh_l0"]
            (ar, az, an), (br, bz, bn) = jnp.split(a, 3, axis=-1), jnp.split(b, 3, axis=-1)
            r, z = jax.nn.sigmoid(ar + br), jax.nn.sigmoid(az + bz)
            h = (1 - z) * jnp.tanh(an + r * bn) + z * h
            return (h,), h

        zero = jnp.zeros((x.shape[1], hidden), x.dtype)
        step, start = (lstm, (zero, zero)) if name == "lstm" else (gru, (zero,))
        return jax.lax.scan(step, start, inside)[1]

    run = jax.jit(outputs)
    derive = jax.jit(jax.value_and_grad(lambda weights, x: outputs(weights, x).sum()))
    return Contestant(
        "jax",
        lambda: run(weights, steps).block_until_ready(),
        lambda: derive(weights, steps)[1]["weight_hh_l0"].block_until_ready(),
    )


def onnx_runtime(layer: gw.Recurrent, x: Tensor) -> Contestant:
    """ONNX's own operator in ONNX Runtime, forward."""
    session = onnx_session(layer, *x.shape[:2])
    feeds = {"X": x.numpy()}
    return Contestant("onnx", lambda: session.run(["Y"], feeds)[0][:, 0], None)


def onnx_session(layer: gw.Recurrent, steps: int, rows: int, *, state: bool = False) -> Any:
    """A prepared session from X (T, B, I) to Y (T, 1, B, H).

    Args:
        state: it also takes `initial_h` (and `initial_c`), (1, B, H), and gives `Y_h` (and `Y_c`).
    """
    name = layer.cell.name
    if find_spec("onnxruntime") is None or find_spec("onnx") is None:
        raise Absent("onnx and onnxruntime are not installed")
    if name not in ONNX_GATES:
        raise Absent(f"the ONNX peer is written for LSTM and GRU, not {name}")
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    gates = [block.gate for block in layer.stack.graph.blocks if block.slot == "hh"]

    def ordered(parameter: str) -> np.ndarray:
        parts = np.split(layer.get_parameter(parameter).detach().numpy(), len(gates))
        return np.concatenate([parts[gates.index(gate)] for gate in ONNX_GATES[name]])[None]

    bias = np.concatenate([ordered("bias_ih_l0"), ordered("bias_hh_l0")], axis=1)
    values = {"W": ordered("weight_ih_l0"), "R": ordered("weight_hh_l0"), "B": bias}
    attributes = {"hidden_size": layer.hidden_size}
    if name == "gru":
        attributes["linear_before_reset"] = 1
    letters = ("h", "c")[: len(layer.stack.graph.states)] if state else ()
    reads = ["X", "W", "R", "B", *([""] if state else []), *(f"initial_{letter}" for letter in letters)]
    writes = ["Y", *(f"Y_{letter}" for letter in letters)]

    def told(names: list[str]) -> list[Any]:
        shapes = {"X": [steps, rows, layer.input_size], "Y": [steps, 1, rows, layer.hidden_size]}
        small = [1, rows, layer.hidden_size]
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, shapes.get(n, small)) for n in names]

    graph = helper.make_graph(
        [helper.make_node(name.upper(), reads, writes, **attributes)],
        "layer",
        told(["X", *(f"initial_{letter}" for letter in letters)]),
        told(writes),
        [numpy_helper.from_array(np.ascontiguousarray(value), key) for key, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


PEERS: dict[str, Callable[[gw.Recurrent, Tensor], Contestant]] = {
    "torch": torch_nn,
    "eager": reference,
    "compiled": compiled,
    "jax": jax_scan,
    "onnx": onnx_runtime,
}
