"""What a report of a series and its forecast looks at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatework.data import one_series
from gatework.inspect import Outcome, Steps, Subject
from gatework.tasks.forecaster.channels import Channels
from gatework.tasks.forecaster.network import ForecastNetwork

__all__ = ["subject_of"]

_READS = "recurrent"
_EXPLAINED = 4  # of the horizon's steps


def subject_of(task: Any, input: Any, record: Mapping[str, Any]) -> Subject:
    """Of a forecaster, an input and its answer."""
    return _series_subject(task.network_, task._channels([one_series(input, task.encoding_.names)]))


def _series_subject(network: ForecastNetwork, channels: Channels) -> Subject:
    """The network reads the first target of one series, segment by segment, and forecasts from its last step."""
    which, size = np.arange(1), channels.layout.segment
    steps, places = channels.steps[which], channels.ends[which] - 1
    count = int((steps[0] - 1) // size + 1)
    begins = channels.begins[which] + (steps - 1) % size - size + 1
    like = next(network.parameters())

    def on_device(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(like.device)

    read = on_device(channels.segments(which, begins, count, 1))
    known = [
        on_device(each)
        for each in (
            channels.windows(places),
            channels.groups(which, places),
            channels.ahead(which, places),
            channels.units(places),
        )
    ]
    value, scale = float(channels.last_values(places)[0]), float(channels.scale[places][0])

    def call() -> Any:
        states, _ = network.encode(read)
        return network.decode(states[-1], *known).mean[0].double() * scale + value

    def of(step: int) -> Outcome:
        return Outcome(f"the mean forecast, {step + 1} ahead", _READS, lambda means: means[step])

    horizon = channels.layout.horizon
    chosen = dict.fromkeys([0, *np.linspace(0, horizon - 1, _EXPLAINED).round().astype(int).tolist()])
    ends = begins[0] + size * (1 + np.arange(count))
    means = [
        float(np.mean(channels.last_values(np.arange(max(end - size, 0), end)))) for end in ends.tolist()
    ]
    labels = [f"{mean:.4g}" for mean in means]
    return Subject(
        network, call, {_READS: Steps(labels, {"the mean of its segment": means})}, [*map(of, chosen)]
    )
