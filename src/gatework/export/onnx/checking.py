"""An export run by ONNX Runtime beside the layer that it was made of, before it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gatework.errors import MissingExtraError
from gatework.export.checking import STEPS, Drawn, accepted, drawn_vectors, largest_error
from gatework.export.maps import VectorMap
from gatework.export.network import Network
from gatework.export.onnx.model import ModelWriter, attend_model

_HOW = "ONNX Runtime"


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
    drawn = Drawn(network)
    wanted = drawn.wanted(int8=int8)
    given = _feeds(drawn)
    error = 0.0
    if models.sequence is not None:
        feeds = given | {"lengths": drawn.lengths.numpy(), drawn.first: drawn.x.numpy()}
        feeds |= {name: value.numpy() for name, value in drawn.inputs.items()}
        got = _run(session(models.sequence), feeds)
        error = max(largest_error(got[name], value) for name, value in wanted.values.items())
        for name, value in wanted.states.items():
            error = max(error, largest_error(got[f"next_{name}"], value))
    if models.step is not None:
        runner, state = session(models.step), dict(given)
        if models.attend is not None:
            state |= _run(session(models.attend), given)
        for t in range(STEPS):
            feeds = {**state, drawn.first: drawn.x[t].numpy()}
            feeds |= {name: value[t].numpy() for name, value in drawn.inputs.items()}
            got = _run(runner, feeds)
            state |= {
                name.removeprefix("next_"): value for name, value in got.items() if name.startswith("next_")
            }
            rows = drawn.live[t, :, 0]
            for name, value in wanted.values.items():
                error = max(error, largest_error(got[name][rows.numpy()], value[t][rows]))
    return accepted(network.name, _HOW, error, wanted.allowed)


def check_map(part: VectorMap, model: Any, *, int8: bool) -> float:
    """The largest error of a map's model on drawn numbers.

    Raises:
        GateworkError: as for `check`.
    """
    reads, wanted = drawn_vectors(part, int8=int8)
    got = _run(session(model), {name: value.numpy() for name, value in reads.items()})
    given = {name.removesuffix("_out"): value for name, value in got.items()}
    error = max(largest_error(given[name], value) for name, value in wanted.values.items())
    return accepted(part.name, _HOW, error, wanted.allowed)


def _feeds(drawn: Drawn) -> dict[str, np.ndarray]:
    """What is the same at every step, and the states before the first."""
    given = {**drawn.statics, **drawn.memories, **drawn.states}
    given |= {f"{name}_lengths": value for name, value in drawn.memory_lengths.items()}
    return {name: value.numpy() for name, value in given.items()}


def _run(runner: Any, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = {each.name for each in runner.get_inputs()}
    given = {name: value for name, value in feeds.items() if name in names}
    return dict(zip((each.name for each in runner.get_outputs()), runner.run(None, given), strict=True))
