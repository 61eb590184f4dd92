"""The optimisers, and the clipping that comes before them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from gatework.training.options import TrainingOptions


def build_optimiser(model: torch.nn.Module, options: TrainingOptions) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019) or SGD over the model's trainable parameters.

    Weight decay applies to matrices, not to biases, gains and other vectors. torch's fused kernels are
    used where every parameter is on one device that has them: one pass over the weights a step.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError("the model has no trainable parameters")
    decay = options.weight_decay
    groups: list[dict[str, Any]] = [{"params": parameters, "weight_decay": decay}]
    if decay > 0:  # else one group: each costs a call of the kernel a step
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=options.learning_rate, betas=options.betas, fused=fused)
    return torch.optim.SGD(groups, lr=options.learning_rate, momentum=options.momentum, fused=fused)


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the rate of every group."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate


def clip_gradients(parameters: Iterable[Tensor], clip_norm: float) -> Tensor:
    """Scale gradients down to the global norm `clip_norm` (Pascanu et al. 2013, algorithm 1); 0: do not.

    Returns:
        The norm before clipping, a scalar on the device: reading it would make the host wait.
    """
    parameters = list(parameters)
    if clip_norm > 0:
        return torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state by `parameter.name`, parameters counted as in its state dict."""
    return {
        f"{index}.{name}": value
        for index, state in optimiser.state_dict()["state"].items()
        for name, value in state.items()
        if isinstance(value, Tensor)
    }


def load_optimiser_tensors(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Take over what `optimiser_tensors` gave; rates and decay stay those of the options."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        # A copy: what was read may be mapped from a file, and the optimiser updates it in place.
        state.setdefault(int(index), {})[name] = value.clone()
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
