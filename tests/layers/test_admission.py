"""What reaches native code: plain dense CPU tensors alone. Everything else gets torch's own operators and right values.

Each case here once crashed the process or gave wrong numbers in silence. The witness is torch.nn's layer with the
same weights, called in the same way, or the reference on plain tensors.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

import gatework as gw
from gatework.layers.softmax import Softmax
from tests.tolerances import GRADIENTS, assert_close

STEPS, ROWS, INPUT, HIDDEN = 5, 4, 3, 6

LAYERS: dict[str, Callable[[], gw.Recurrent]] = {
    "lstm": lambda: gw.LSTM(INPUT, HIDDEN, num_layers=2),
    "gru": lambda: gw.GRU(INPUT, HIDDEN),
    "gru_both_directions": lambda: gw.GRU(INPUT, HIDDEN, bidirectional=True, batch_first=True),
    "no_operator_of_torch": lambda: gw.Recurrent("layer_norm_lstm", INPUT, HIDDEN),
}
layers = pytest.mark.parametrize("name", LAYERS)


class Output(nn.Module):
    """A layer's output without its states, for tools that want one tensor."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x)[0]
        return output


def inputs(count: int = 2) -> list[Tensor]:
    return [torch.randn(STEPS, ROWS, INPUT) for _ in range(count)]


# -- tools that record torch's operators


@layers
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit.*:DeprecationWarning")
def test_a_traced_layer_computes_what_the_layer_does(name: str) -> None:
    model, (x, other) = Output(LAYERS[name]()), inputs()
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            traced = torch.jit.trace(model, (x,), check_trace=False)
            torch.testing.assert_close(traced(other), model(other))


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.filterwarnings("ignore")
def test_the_older_onnx_export_computes_what_the_layer_does(name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model, (x, other) = Output(LAYERS[name]()).eval(), inputs()
    file = io.BytesIO()
    torch.onnx.export(model, (x,), file, dynamo=False, input_names=["x"])
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    [got] = session.run(None, {"x": other.numpy()})
    assert_close(torch.from_numpy(got), model(other).detach(), GRADIENTS)


@layers
@pytest.mark.filterwarnings("ignore")
def test_a_graph_for_tensorboard(name: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(tmp_path))
    writer.add_graph(Output(LAYERS[name]()), torch.randn(STEPS, ROWS, INPUT))
    writer.close()
    assert any(tmp_path.iterdir())


@layers
@pytest.mark.parametrize("mode", ["real", "fake", "pre_dispatch"])
def test_make_fx_records_what_the_layer_does(name: str, mode: str) -> None:
    model, (x, other) = Output(LAYERS[name]()), inputs()
    options: dict[str, Any] = {"pre_dispatch": True} if mode == "pre_dispatch" else {"tracing_mode": mode}
    if mode == "fake":
        options["_allow_non_fake_inputs"] = True
    with torch.no_grad():
        recorded = make_fx(model, **options)(x)
        torch.testing.assert_close(recorded(other), model(other))


@layers
def test_make_fx_records_the_gradients_of_a_pass_that_went_before(name: str) -> None:
    layer, (x, _) = LAYERS[name](), inputs()
    x.requires_grad_()
    output = layer(x)[0]
    first, second = torch.randn_like(output), torch.randn_like(output)

    def gradient(given: Tensor) -> Tensor:
        return torch.autograd.grad(output, x, given, retain_graph=True)[0]

    recorded = make_fx(gradient)(first)
    torch.testing.assert_close(recorded(second), gradient(second))


# -- tensors that are not their memory


@layers
def test_fake_tensors_have_shapes_and_no_memory(name: str) -> None:
    layer = LAYERS[name]()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        output = layer(mode.from_tensor(torch.randn(STEPS, ROWS, INPUT)))[0]
    assert output.shape == layer(torch.randn(STEPS, ROWS, INPUT))[0].shape
    with FakeTensorMode():
        made = LAYERS[name]()
        assert made(torch.randn(STEPS, ROWS, INPUT))[0].shape == output.shape


class Wrapper(Tensor):
    """A tensor that holds another and has no memory of its own."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Wrapper:
        made = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            inner.stride(),
            inner.storage_offset(),
            dtype=inner.dtype,
            device=inner.device,
            requires_grad=inner.requires_grad,
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        unwrap = lambda value: value.inner if isinstance(value, Wrapper) else value  # noqa: E731
        wrap = lambda value: Wrapper(value) if type(value) is Tensor else value  # noqa: E731
        args, kwargs = torch.utils._pytree.tree_map(unwrap, (args, kwargs or {}))
        return torch.utils._pytree.tree_map(wrap, function(*args, **kwargs))


class Subclass(Tensor):
    """A tensor whose class says nothing new."""


@layers
@pytest.mark.parametrize("where", ["input", "state", "gradient"])
def test_a_wrapped_tensor_computes_what_it_holds(name: str, where: str) -> None:
    layer, (x, _) = LAYERS[name](), inputs()
    rows = x.shape[0] if layer.batch_first else x.shape[1]
    states = layer.initial_state(rows)
    expected, _ = layer(x, states)
    gradients = torch.autograd.grad(expected.sum(), list(layer.parameters()))
    if where == "input":
        got = layer(Wrapper(x), states)[0]
    elif where == "state":
        wrapped = tuple(map(Wrapper, states)) if isinstance(states, tuple) else Wrapper(states)
        got = layer(x, wrapped)[0]
    else:
        output, _ = layer(x, states)
        found = torch.autograd.grad(output, list(layer.parameters()), Wrapper(torch.ones_like(output)))
        for a, b in zip(found, gradients, strict=True):
            torch.testing.assert_close(a.inner if isinstance(a, Wrapper) else a, b)
        return
    torch.testing.assert_close(got.inner, expected)


@layers
def test_a_subclass_keeps_its_class_as_torchs_operators_do(name: str) -> None:
    layer, (x, _) = LAYERS[name](), inputs()
    output = layer(x.as_subclass(Subclass))[0]
    assert type(output) is Subclass
    torch.testing.assert_close(output.as_subclass(Tensor), layer(x)[0])


@pytest.fixture
def mesh() -> Iterator[Any]:
    """One process that holds everything."""
    from torch.distributed.device_mesh import init_device_mesh

    with tempfile.TemporaryDirectory() as folder:
        store = torch.distributed.FileStore(f"{folder}/store", 1)
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
        try:
            yield init_device_mesh("cpu", (1,))
        finally:
            torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore")
def test_distributed_tensors(mesh: Any) -> None:
    from torch.distributed.tensor import DTensor, Replicate, distribute_module

    layer, (x, _) = gw.Recurrent("layer_norm_lstm", INPUT, HIDDEN), inputs()
    expected = layer(x)[0]
    distribute_module(layer, mesh)
    assert isinstance(layer.weight_ih_l0, DTensor)
    output = layer(DTensor.from_local(x, mesh, [Replicate()]))[0]
    torch.testing.assert_close(output.full_tensor(), expected)


def negative(tensor: Tensor) -> Tensor:
    """The same numbers, as a view with the negative bit of memory with the other sign."""
    return torch._neg_view((-tensor.detach()).clone())


@layers
@pytest.mark.parametrize("where", ["input", "state", "weight", "gradient"])
def test_a_view_with_the_negative_bit_keeps_its_sign(name: str, where: str) -> None:
    layer, (x, _) = LAYERS[name](), inputs()
    rows = x.shape[0] if layer.batch_first else x.shape[1]
    states = torch.utils._pytree.tree_map(lambda s: torch.randn_like(s), layer.initial_state(rows))
    weights = list(layer.parameters())
    expected, _ = layer(x, states)
    towards = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, weights, towards)
    if where == "input":
        x = negative(x)
    elif where == "state":
        states = torch.utils._pytree.tree_map(negative, states)
    elif where == "weight":
        layer.weight_hh_l0.data = negative(layer.weight_hh_l0)
    else:
        towards = negative(towards)
    output, _ = layer(x, states)
    torch.testing.assert_close(output, expected)
    for a, b in zip(torch.autograd.grad(output, weights, towards), gradients, strict=True):
        assert_close(a, b, GRADIENTS)


@layers
def test_zeros_without_memory_are_gradients_of_zero(name: str) -> None:
    layer, (x, _) = LAYERS[name](), inputs()
    output, _ = layer(x)
    zeros = torch._efficientzerotensor(output.shape)
    for gradient in torch.autograd.grad(output, list(layer.parameters()), zeros):
        assert not gradient.any()


@pytest.mark.parametrize("kind", ["negative", "wrapper", "fake"])
def test_the_layers_over_a_vocabulary(kind: str) -> None:
    softmax, linear = Softmax(HIDDEN, 11), gw.Linear(HIDDEN, 7)
    hidden, targets = torch.randn(9, HIDDEN), torch.arange(9)
    expected = [softmax.loss(hidden, targets), softmax.best(hidden, 3)[0], linear(hidden)]
    if kind == "fake":
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            given = mode.from_tensor(hidden)
            got = [softmax.loss(given, targets), softmax.best(given, 3)[0], linear(given)]
        assert [value.shape for value in got] == [value.shape for value in expected]
        return
    given = negative(hidden) if kind == "negative" else Wrapper(hidden)
    got = [softmax.loss(given, targets), softmax.best(given, 3)[0], linear(given)]
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a.inner if isinstance(a, Wrapper) else a, b)


@pytest.mark.parametrize("module", [Softmax(HIDDEN, 11), gw.Linear(HIDDEN, 7)])
def test_gradients_of_any_kind_reach_a_vocabulary(module: nn.Module) -> None:
    hidden = torch.randn(9, HIDDEN, requires_grad=True)
    for given in (torch._efficientzerotensor, lambda shape: negative(torch.full(shape, 2.0))):
        output = module.loss(hidden, torch.arange(9)) if isinstance(module, Softmax) else module(hidden)
        towards = given(output.shape)
        found = torch.autograd.grad(output, hidden, towards, retain_graph=True)[0]
        expected = torch.autograd.grad(output, hidden, towards.resolve_neg() + torch.zeros(output.shape))[0]
        torch.testing.assert_close(found, expected)


# -- where no other path can serve


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit.*:DeprecationWarning")
def test_a_stream_refuses_what_it_cannot_read() -> None:
    stream = gw.GRU(INPUT, HIDDEN).stream(2)
    x = torch.randn(2, INPUT)
    for wrong in (Wrapper(x), FakeTensorMode().from_tensor(x), torch.zeros(2, INPUT, device="meta")):
        with pytest.raises(TypeError, match="x: the engine"):
            stream.step(wrong)
    same, first = gw.GRU(INPUT, HIDDEN).stream(2), stream.step(x).clone()
    stream.reset()
    assert torch.equal(stream.step(negative(x)), first)
    with pytest.raises(TypeError, match="recording torch's operators"):
        torch.jit.trace(lambda x: same.step(x), (x,))


def test_the_engine_by_name_says_what_it_cannot_read() -> None:
    layer, (x, _) = gw.GRU(INPUT, HIDDEN), inputs()
    with gw.backend("llvm"):
        for wrong in (Wrapper(x), negative(x), x.as_subclass(Subclass)):
            with pytest.raises(gw.BackendError, match="plain dense tensors"):
                layer(wrong)
        cell = gw.GRUCell(INPUT, HIDDEN)
        with pytest.raises(gw.BackendError, match="plain dense tensors"):
            cell(negative(x[0]))
        with pytest.raises(gw.BackendError, match=r"torch\.func"):
            torch.func.vmap(lambda x: layer(x)[0])(torch.randn(2, STEPS, ROWS, INPUT))


def test_explain_names_the_tensor() -> None:
    layer, (x, _) = gw.Recurrent("slstm", INPUT, HIDDEN), inputs()
    assert "Negative" in gw.explain(layer, negative(x)).reason
    assert "Wrapper" in gw.explain(layer, Wrapper(x)).reason


def test_a_compiled_function_breaks_at_a_streams_step_and_an_export_is_refused() -> None:
    stream, x = gw.GRU(INPUT, HIDDEN).stream(2), torch.randn(3, 2, INPUT)

    class Doubled(torch.nn.Module):
        def forward(self, step: torch.Tensor) -> Any:
            return stream.step(step * 2) + 1

    wanted = [Doubled()(step) for step in x]
    stream.reset()
    compiled = torch.compile(Doubled(), backend="eager")
    for step, want in zip(x, wanted, strict=True):
        assert torch.equal(compiled(step), want)
    with pytest.raises(TypeError, match=r"x: .*FakeTensor|compiled code"):
        torch.export.export(Doubled(), (x[0],), strict=False)
