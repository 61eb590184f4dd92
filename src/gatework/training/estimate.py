"""How long a step of a training takes, measured before it begins and without a trace in it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from gatework.training import random_state
from gatework.training.nested import to_device
from gatework.training.problem import Problem
from gatework.training.processes import Processes

__all__ = ["seconds_a_step"]

MEASURED = 3  # steps; the first of them warms up


def seconds_a_step(
    problem: Problem, model: torch.nn.Module, batches: Sequence[Any], processes: Processes
) -> float:
    """Seconds of a loss and its gradients, the quicker of two; neither weights nor random numbers change."""
    seconds = []
    with random_state.preserved():
        carry = to_device(problem.initial_carry(processes.rank, processes.world), processes.device)
        for number in range(MEASURED):
            start = time.monotonic()
            batch = to_device(batches[number * len(batches) // MEASURED], processes.device)
            with processes.autocast():
                step = problem.loss(model, batch, carry)
            processes.backward(step.total / max(step.count, 1))
            step.total.item()  # waits for the device
            seconds.append(time.monotonic() - start)
            problem.model.zero_grad()
    return min(seconds[1:])
