"""The optimizers, the groups of parameters that they train apart, and the clipping before them."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from gatework.errors import InputError
from gatework.training.options import TrainingOptions
from gatework.training.problem import ParameterGroup


def build_optimizer(
    model: torch.nn.Module, options: TrainingOptions, groups: Sequence[ParameterGroup] = ()
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019) or SGD over the model's trainable parameters.

    Weight decay applies to matrices, not to biases, gains and other vectors. torch's fused kernels are
    used where every parameter is on one device that has them: one pass over the weights a step.

    Args:
        groups: from the input to the output; `options.layer_rate_decay` and `options.unfreeze_every` add to
            what they say (`scheduled`).

    Raises:
        InputError: an option is about groups, and there are none.
        ValueError: nothing is trainable, or a group names no parameter of the model.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError("the model has no trainable parameters")
    rules = _rules(model, scheduled(groups, options))
    # Parameters of the same rules share a group of torch's, since each costs a call of the kernel a step.
    decay = options.weight_decay
    torch_groups: list[dict[str, Any]] = []
    for factor, frozen_until in dict.fromkeys(rules[parameter] for parameter in parameters):
        alike = [p for p in parameters if rules[p] == (factor, frozen_until)]
        by_decay = [(alike, decay)]
        if decay > 0:
            by_decay = [([p for p in alike if p.ndim >= 2], decay), ([p for p in alike if p.ndim < 2], 0.0)]
        torch_groups += [
            {"params": some, "weight_decay": share, "factor": factor, "frozen_until": frozen_until}
            for some, share in by_decay
            if some
        ]
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    if options.optimizer == "adamw":
        return torch.optim.AdamW(torch_groups, lr=options.learning_rate, betas=options.betas, fused=fused)
    return torch.optim.SGD(torch_groups, lr=options.learning_rate, momentum=options.momentum, fused=fused)


def scheduled(groups: Sequence[ParameterGroup], options: TrainingOptions) -> list[ParameterGroup]:
    """The groups with the options' discriminative rates and gradual unfreezing (Howard & Ruder 2018, 3.2, 3.3).

    The last group learns at the full rate from the start; each one before it at 1 / `layer_rate_decay` of the
    rate of the one after, and from `unfreeze_every` epochs later on.
    """
    if not groups and (options.unfreeze_every or options.layer_rate_decay != 1):
        name = "unfreeze_every" if options.unfreeze_every else "layer_rate_decay"
        what = "cannot be followed: this model's parameters are in no groups"
        raise InputError(f"option {name}", what, "Leave it out.")
    return [
        group._replace(
            factor=group.factor / options.layer_rate_decay**depth,
            frozen_until=max(group.frozen_until, options.unfreeze_every * depth),
        )
        for depth, group in zip(reversed(range(len(groups))), groups, strict=True)
    ]


def _rules(model: torch.nn.Module, groups: Sequence[ParameterGroup]) -> dict[Tensor, tuple[float, float]]:
    """Of each parameter, by what its learning rate is multiplied and the epochs for which it is frozen."""
    named = dict(model.named_parameters(remove_duplicate=False))
    rules: dict[Tensor, tuple[float, float]] = {}
    for group in groups:
        for pattern in group.names:
            matches = fnmatch.filter(named, pattern)
            if not matches:
                raise ValueError(f"no parameter of the model is called {pattern!r}; it has {sorted(named)}")
            for name in matches:
                rules.setdefault(named[name], (group.factor, group.frozen_until))
    return {parameter: rules.get(parameter, (1.0, 0.0)) for parameter in named.values()}


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the rate of every group: `learning_rate` times the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["factor"]


def drop_frozen_gradients(optimizer: torch.optim.Optimizer, epochs: float) -> None:
    """Take the gradients of the groups that are frozen after so many epochs away.

    The optimizer and the clipping then pass over these parameters. They are not taken out of the graph of the
    loss, since several processes wait for the gradient of every parameter.
    """
    for group in optimizer.param_groups:
        if group["frozen_until"] > epochs:
            for parameter in group["params"]:
                parameter.grad = None


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


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by `parameter.name`, parameters counted as in its state dict."""
    return {
        f"{index}.{name}": value
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
        if isinstance(value, Tensor)
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Take over what `optimizer_tensors` gave; rates and decay stay those of the options.

    Raises:
        ValueError: a tensor is of no parameter, or of another shape or type than the parameter's.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        index = int(number)
        if not 0 <= index < len(parameters):
            raise ValueError(f"{key} is of parameter {index}, and there are {len(parameters)}")
        # Torch's fused kernels do not look: what is shorter than its parameter would be read past its end.
        like = torch.empty((), dtype=torch.float32) if name == "step" else parameters[index]
        if (value.shape, value.dtype) != (like.shape, like.dtype):
            raise ValueError(
                f"{key} is {value.dtype} {tuple(value.shape)}, and should be {like.dtype} {tuple(like.shape)}"
            )
        # A copy: what was read may be mapped from a file, and the optimizer updates it in place.
        state.setdefault(index, {})[name] = value.clone()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
