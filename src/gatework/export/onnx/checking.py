"""An export run by ONNX Runtime beside the layer that it was made of, before it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatework.errors import GateworkError, MissingExtraError
from gatework.export.maps import VectorMap
from gatework.export.network import Network
from gatework.export.onnx.model import ModelWriter, attend_model, state_names
from gatework.export.reference import evaluated, expected
from gatework.graph.node import resolve

STEPS, MEMORY_STEPS = 7, 5
LENGTHS, MEMORY_LENGTHS = (7, 3, 1, 6), (5, 2, 4, 1)
TOLERANCE = 1e-5  # of an output: sums in another order, over some steps


def session(model: Any) -> Any:
    """ONNX Runtime on a model, or on the bytes of one.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "export") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class Models:
    """The models of a network: of sequences, of a step, and of what a step attends to; None where there is none."""

    sequence: Any | None
    step: Any | None
    attend: Any | None


def models_of(network: Network, *, int8: bool, native: bool = True) -> Models:
    """The models that a network's calls need.

    Args:
        native: whether ONNX's own recurrent operators may stand for layers.
    """
    sequence = step = attend = None
    if "sequence" in network.calls:
        sequence = ModelWriter(network, step=False, int8=int8, native=native).made()
    if "step" in network.calls and not network.stack.bidirectional:
        step = ModelWriter(network, step=True, int8=int8).made()
        attend = attend_model(network, int8=int8)
    return Models(sequence, step, attend)


def check(network: Network, models: Models, *, int8: bool) -> float:
    """The largest error of a network's models on drawn numbers.

    Raises:
        GateworkError: it is too large: nothing is to be written.
    """
    drawn = _Drawn(network)
    values, finals = expected(
        network,
        drawn.x,
        lengths=drawn.lengths,
        states=drawn.hx,
        inputs={**drawn.inputs, **drawn.statics},
        memories=drawn.memories,
        memory_lengths=drawn.memory_lengths,
        int8=int8,
    )
    known = {name: value.masked_fill(~drawn.live, 0.0) for name, value in values.items()}
    error = 0.0
    if models.sequence is not None:
        feeds = drawn.feeds | {"lengths": drawn.lengths.numpy(), drawn.first: drawn.x.numpy()}
        feeds |= {name: value.numpy() for name, value in drawn.inputs.items()}
        got = _run(session(models.sequence), feeds)
        error = max(_error(got[name], value, drawn.live) for name, value in known.items())
        for name, value in _by_name(network, finals).items():
            error = max(error, _error(got[f"next_{name}"], value))
    if models.step is not None:
        runner, state = session(models.step), dict(drawn.feeds)
        if models.attend is not None:
            state |= _run(session(models.attend), drawn.feeds)
        for t in range(STEPS):
            feeds = {**state, drawn.first: drawn.x[t].numpy()}
            feeds |= {name: value[t].numpy() for name, value in drawn.inputs.items()}
            got = _run(runner, feeds)
            state |= {
                name.removeprefix("next_"): value for name, value in got.items() if name.startswith("next_")
            }
            rows = drawn.live[t, :, 0]
            for name, value in known.items():
                error = max(error, _error(got[name][rows.numpy()], value[t][rows]))
    return _accepted(network.name, error)


def check_map(part: VectorMap, model: Any, *, int8: bool) -> float:
    """The largest error of a map's model on drawn numbers.

    Raises:
        GateworkError: as for `check`.
    """
    random = torch.Generator().manual_seed(0)
    reads = {name: torch.randn(len(LENGTHS), size, generator=random) for name, size in part.reads.items()}
    got = _run(session(model), {name: value.numpy() for name, value in reads.items()})
    wanted = evaluated(part.cell, reads, int8=int8)
    given = {name.removesuffix("_out"): value for name, value in got.items()}
    return _accepted(part.name, max(_error(given[name], value) for name, value in wanted.items()))


def _accepted(name: str, error: float) -> float:
    if not error <= TOLERANCE:
        raise GateworkError(
            f"{name}: ONNX Runtime gives numbers that differ from the layer's by {error:.1e}, more than "
            f"{TOLERANCE:.0e}; nothing is written."
        )
    return error


class _Drawn:
    """Numbers that a check runs on: a ragged batch."""

    def __init__(self, network: Network) -> None:
        random = torch.Generator().manual_seed(0)
        graph, sizes, rows = network.graph, network.cells[0].sizes, len(LENGTHS)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=random) * 0.5

        self.lengths = torch.tensor(LENGTHS)
        self.live = (torch.arange(STEPS)[:, None] < self.lengths)[..., None]
        self.first = "x" if network.table is None else "tokens"
        self.x = draw(STEPS, rows, network.stack.input_size)
        if network.table is not None:
            self.x = torch.randint(len(network.table), (STEPS, rows), generator=random)
        specs = {kind: graph.inputs_of_kind(kind) for kind in ("input", "static", "memory")}
        self.inputs = {spec.name: draw(STEPS, rows, resolve(spec.size, sizes)) for spec in specs["input"][1:]}
        self.statics = {spec.name: draw(rows, resolve(spec.size, sizes)) for spec in specs["static"]}
        self.memories = {
            spec.name: draw(MEMORY_STEPS, rows, resolve(spec.size, sizes)) for spec in specs["memory"]
        }
        self.memory_lengths = dict.fromkeys(self.memories, torch.tensor(MEMORY_LENGTHS))
        steps = dict.fromkeys(self.memories, MEMORY_STEPS)
        start = network.layer.initial_state(rows, steps or None)
        every = start if isinstance(start, tuple) and len(graph.states) > 1 else (start,)
        alignments = [graph.counts_steps(state.size) for state in graph.states]
        self.hx = tuple(
            state if fixed else _moved(state, draw) for state, fixed in zip(every, alignments, strict=True)
        )
        feeds = {name: value.numpy() for name, value in (self.statics | self.memories).items()}
        feeds |= {f"{name}_lengths": value.numpy() for name, value in self.memory_lengths.items()}
        feeds |= {name: value.numpy() for name, value in _by_name(network, list(self.hx)).items()}
        self.feeds: dict[str, np.ndarray] = feeds


def _moved(state: Any, draw: Any) -> Any:
    """A start that is not the cell's own."""
    if isinstance(state, tuple):
        return tuple(_moved(each, draw) for each in state)
    return (state + draw(*state.shape)).detach()


def _by_name(network: Network, states: list[Any]) -> dict[str, Tensor]:
    """(B, size) of each layer and direction, by its name in a model."""
    stack, names = network.stack, state_names(network)
    count = len(states)
    return {
        state.name: stack.state_of(states[position % count], *stack.pairs[state.cell]).detach()
        for position, state in enumerate(names)
    }


def _run(runner: Any, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = {each.name for each in runner.get_inputs()}
    given = {name: value for name, value in feeds.items() if name in names}
    return dict(zip((each.name for each in runner.get_outputs()), runner.run(None, given), strict=True))


def _error(got: np.ndarray, wanted: Tensor, live: Tensor | None = None) -> float:
    """The largest error, beside 1 or the number itself where that is larger."""
    if got.shape != tuple(wanted.shape) or not np.isfinite(got).all():
        return float("inf")
    difference = np.abs(got - wanted.numpy()) / np.maximum(np.abs(wanted.numpy()), 1.0)
    return float(difference.max()) if difference.size else 0.0
