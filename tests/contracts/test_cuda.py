"""Layers and tasks on a GPU beside the same on the CPU; skipped where torch sees none."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gatework as gw
from gatework import tasks
from tests.contracts.cell_contract import ALONE, fits, reference_layer, sequence, side_by_side
from tests.contracts.task_contract import Case
from tests.contracts.task_examples import EXAMPLES
from tests.tensors import flat
from tests.tolerances import (
    GRADIENTS,
    OF_CUDNN,
    TRAINED_IN_BF16,
    TRAINED_ON_A_GPU,
    VALUES,
    assert_close,
    close_to,
)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")

RAGGED = torch.tensor([7, 0, 3, 7, 1])
FUSED = {"LSTM": "lstm", "GRU": "gru", "RNN": "elman"}


@pytest.fixture(autouse=True)
def _exact_products() -> Iterator[None]:
    """cuDNN rounds the operands of float32 products to 10 bits unless it is told not to."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def layer_of(name: str, dtype: torch.dtype, **options: Any) -> tuple[nn.Module, int]:
    """Two layers of a cell where they may stand on one another, and the width of what they read."""
    cell = gw.cells.get(name)
    layers = 2 if fits(cell, 6, 6, 2, **options) else 1
    layer, width = side_by_side(reference_layer(cell, 6, 6, num_layers=layers, **options))
    return layer.to(dtype), width


def both(layer: nn.Module, x: torch.Tensor, **given: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Outputs, states and gradients of a layer on the CPU, by the reference, and on the GPU, as `auto` chooses.

    The numbers of a gradient are shares of its largest, where that is above 1: a small one may be the difference of
    large ones, and keeps their rounding.
    """
    found = []
    for device, backend in (("cpu", "eager"), ("cuda", "auto")):
        layer.zero_grad()
        layer.to(device)
        own = x.detach().to(device).requires_grad_()
        with gw.backend(backend):
            results = flat(layer(own, **given))
        sum((result.square().sum() for result in results), torch.zeros((), device=device)).backward()
        gradients = [own.grad, *(parameter.grad for parameter in layer.parameters())]
        shares = [each / each.abs().max().clamp(min=1) for each in gradients if each is not None]
        found.append([value.detach().cpu().clone() for value in [*results, *shares]])
    return found[0], found[1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", ALONE)
def test_a_cell_gives_the_references_numbers(name: str, dtype: torch.dtype) -> None:
    layer, width = layer_of(name, dtype, bidirectional=True)
    expected, got = both(layer, sequence(7, 5, width).to(dtype), lengths=RAGGED)
    assert_close(got, expected, GRADIENTS)


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("training", [True, False])
def test_a_layer_is_that_of_torch(name: str, training: bool) -> None:
    torch.manual_seed(0)
    ours = getattr(gw, name)(6, 8, num_layers=2, bidirectional=True, device="cuda").train(training)
    theirs = getattr(nn, name)(6, 8, num_layers=2, bidirectional=True, device="cuda")
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(7, 5, 6, device="cuda")
    assert_close(flat(ours(x)), flat(theirs(x)), VALUES)
    packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([7, 2, 3, 7, 1]), enforce_sorted=False)
    assert_close(flat(ours(packed)[0].data), flat(theirs(packed)[0].data), VALUES)
    x.requires_grad_()
    ours(x)[0].sum().backward()  # in eval mode too
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("name", [*FUSED.values(), "layer_norm_lstm", "slstm"])
def test_padding_reaches_nothing(name: str) -> None:
    layer = gw.Recurrent(gw.cells.get(name), 6, 8, bidirectional=True, device="cuda")
    x = torch.randn(7, 5, 6, device="cuda")
    outside = torch.arange(7, device="cuda")[:, None] >= RAGGED.cuda()
    clean = layer(x.masked_fill(outside[..., None], 0.0), lengths=RAGGED)
    dirty = x.masked_fill(outside[..., None], math.nan).requires_grad_()
    output = layer(dirty, lengths=RAGGED.cuda())
    assert_close(flat(output), flat(clean), VALUES)
    output[0].sum().backward()
    assert dirty.grad is not None
    assert dirty.grad.isfinite().all()


@pytest.mark.parametrize("name", ALONE)
def test_a_stream_gives_the_sequences_numbers(name: str) -> None:
    layer, width = layer_of(name, torch.float32)
    layer, x = layer.cuda(), sequence(7, 5, width).float().cuda()
    with torch.no_grad():
        output = flat(layer(x)[0])[0]
        stream = layer.stream(batch_size=5)
        steps = [flat(stream.step(step))[0].clone() for step in x]
    assert_close(torch.stack(steps), output, OF_CUDNN)


@pytest.mark.parametrize("name", ["LSTMCell", "GRUCell", "RNNCell"])
def test_a_single_step_is_that_of_torch(name: str) -> None:
    ours, theirs = (getattr(module, name)(6, 8, device="cuda") for module in (gw, nn))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(5, 6, device="cuda")
    assert_close(flat(ours(x)), flat(theirs(x)), VALUES)


def test_a_tape_records_gates_and_gradients() -> None:
    layer = gw.LSTM(6, 8, device="cuda")
    with gw.record(layer) as tape:
        output, _ = layer(torch.randn(7, 5, 6, device="cuda"))
    output[-1].sum().backward()
    assert tape["forget"].shape == (7, 5, 8)
    assert tape["forget"].is_cuda
    assert tape.gradient("h").abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ALONE)
def test_autocast_computes_in_fewer_bits(name: str, dtype: torch.dtype) -> None:
    layer, width = layer_of(name, torch.float32)
    layer, x = layer.cuda(), sequence(7, 5, width).float().cuda()
    with torch.no_grad():
        for weight in layer.parameters():
            weight.mul_(0.4)  # that no state grows beyond what the tolerance is meant for
    with torch.autocast("cuda", dtype):
        output = flat(layer(x, lengths=RAGGED)[0])[0]
    exact = flat(layer(x, lengths=RAGGED)[0])[0]
    assert_close(output.float(), exact, VALUES, dtype=dtype)
    output.float().sum().backward()
    assert all(weight.grad.isfinite().all() for weight in layer.parameters() if weight.grad is not None)


def test_the_engine_refuses_a_gpu_and_says_why() -> None:
    layer, x = gw.GRU(6, 8, device="cuda"), torch.randn(7, 5, 6, device="cuda")
    with gw.backend("llvm"), pytest.raises(gw.BackendError, match="cuda"):
        layer(x)
    assert "torch" in str(gw.explain(layer, x))


# Tasks


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Case]:
    def on_a_gpu(name: str) -> Case:
        example = EXAMPLES[name]
        options = {**example.options, "device": "cuda", "precision": "float32"}
        folder = tmp_path_factory.mktemp(name)
        return Case(tasks.get(name), dataclasses.replace(example, options=options), folder)

    return {name: on_a_gpu(name) for name in EXAMPLES}


@pytest.mark.parametrize("name", tasks.names())
def test_a_task_trains_as_on_the_cpu(name: str, cases: Mapping[str, Case]) -> None:
    case = cases[name]
    without = {option: 0.0 for option in case.kind.Options.model_fields if "dropout" in option}
    gpu, cpu = (case.fit(options={"device": device, **without}) for device in ("cuda", "cpu"))
    assert gpu.device.type == "cuda"
    figures, expected = (model.metrics_["model"] for model in (gpu, cpu))
    assert figures.keys() == expected.keys()
    # The synthesizer's durations are of a transcriber that is trained first, whose draws are the device's own.
    table = TRAINED_IN_BF16 if name == "synthesizer" else TRAINED_ON_A_GPU
    assert figures["loss"] == close_to(expected["loss"], table=table)


@pytest.mark.parametrize("name", tasks.names())
def test_a_run_of_a_gpu_loads_on_either(name: str, cases: Mapping[str, Case]) -> None:
    case = cases[name]
    model = case.model
    records = {device: case.predict(gw.load(model.run_.path, device=device)) for device in ("cpu", "cuda")}
    assert len(records["cpu"]) == len(records["cuda"]) == len(case.example.inputs)
    for device in ("cpu", "cuda"):
        figures = gw.load(model.run_.path, device=device).evaluate(case.example.valid)["model"]
        assert figures["loss"] == close_to(model.metrics_["model"]["loss"], table=TRAINED_ON_A_GPU)


@pytest.mark.parametrize("name", tasks.names())
def test_a_run_goes_on_on_another_device(name: str, cases: Mapping[str, Case], tmp_path: Path) -> None:
    case = cases[name]
    steps = case.model.result_.steps
    run = case.copy("goes-on")
    for more, device in ((4, "cpu"), (8, "cuda")):
        model = case.kind(max_steps=steps + more, device=device).fit(
            case.example.rows, valid=case.example.valid, out=run, resume=True
        )
        assert model.result_.steps == steps + more
        assert model.device.type == device


@pytest.mark.parametrize("name", tasks.names())
def test_auto_is_bf16_on_a_gpu(name: str, cases: Mapping[str, Case]) -> None:
    case = cases[name]
    # Few steps: later a loss falls so fast that half a step is a tenth of it.
    expected = case.fit(options={"max_steps": 5}).metrics_["model"]["loss"]
    model = case.fit(options={"device": "auto", "precision": "auto", "max_steps": 5})
    assert model.device.type == "cuda"
    assert model.metrics_["model"]["loss"] == close_to(expected, table=TRAINED_IN_BF16)
    assert model.metrics_["model"]["loss"] != expected
    assert len(case.predict(model)) == len(case.example.inputs)


@pytest.mark.parametrize("name", tasks.names())
def test_runs_answer_together_on_a_gpu(name: str, cases: Mapping[str, Case], tmp_path: Path) -> None:
    case = cases[name]
    runs = [case.fit(tmp_path / str(seed), options={"seed": seed}).run_.path for seed in (3, 4)]
    one, other = (gw.load(run, device="cuda") for run in runs)
    joint = one.ensemble(other)
    assert len(case.predict(joint)) == len(case.example.inputs)
    assert joint.evaluate(case.example.valid)["model"]["loss"] > 0
