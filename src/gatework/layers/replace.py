"""Swapping recurrent layers inside a user's model, weights kept: torch.nn's for ours, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import nn
from torch.nn.utils import parametrize

from gatework.layers.recurrent import Recurrent
from gatework.layers.single_step import GRUCell, LSTMCell, RecurrentCell, RNNCell
from gatework.layers.torch_like import GRU, LSTM, RNN

_PAIRS: tuple[tuple[type[nn.Module], type[nn.Module]], ...] = (
    (nn.LSTM, LSTM),
    (nn.GRU, GRU),
    (nn.RNN, RNN),
    (nn.LSTMCell, LSTMCell),
    (nn.GRUCell, GRUCell),
    (nn.RNNCell, RNNCell),
)


def replace(model: nn.Module, to: Literal["gatework", "torch"] = "gatework") -> nn.Module:
    """Swaps every recurrent layer inside a model, in place, keeping its parameters themselves.

    Optimisers and tied weights go on working, since the parameters are the same objects; a layer used in
    several places is swapped once.

    Args:
        to: `gatework` swaps torch.nn's layers for Gatework's, `torch` goes back.

    Returns:
        The model; another object only where the model itself is such a layer.

    Raises:
        ValueError: a layer has what the other side lacks (hooks, parametrizations, or, on the way back, recurrent
            dropout, zoneout, residual connections).
    """
    if to not in ("gatework", "torch"):
        raise ValueError(f"to={to!r}: it must be 'gatework' or 'torch'.")
    pairs = dict(_PAIRS) if to == "gatework" else {ours: theirs for theirs, ours in _PAIRS}
    swapped: dict[int, nn.Module] = {}
    for name, module in list(model.named_modules()):
        if parametrize.is_parametrized(module) and isinstance(module, tuple(pairs)):
            raise ValueError(
                f"The layer {name or 'itself'!r} has parametrizations, which belong to its class: replace first, then "
                "parametrize."
            )
        other = pairs.get(type(module))
        if other is not None:
            swapped[id(module)] = _swap(name, module, other)
    if not swapped:
        return model
    if id(model) in swapped:
        return swapped[id(model)]
    for parent in list(model.modules()):
        for name, child in parent._modules.items():  # named_children would list a shared child once
            if child is not None and id(child) in swapped:
                parent._modules[name] = swapped[id(child)]
    return model


def _swap(name: str, module: nn.Module, other: type[nn.Module]) -> nn.Module:
    where = name or "itself"
    if (
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    ):
        raise ValueError(
            f"The layer {where!r} has hooks, which would be lost: remove them and register them again."
        )
    options: dict[str, Any] = {"input_size": module.input_size, "hidden_size": module.hidden_size}
    if isinstance(module, nn.RNNBase | Recurrent):
        for option in ("num_layers", "bias", "batch_first", "dropout", "bidirectional"):
            options[option] = getattr(module, option)
        if getattr(module, "proj_size", 0):
            options["proj_size"] = module.proj_size
    else:
        options["bias"] = module.bias
    if hasattr(module, "nonlinearity"):
        options["nonlinearity"] = module.nonlinearity
    if isinstance(module, Recurrent):
        for option in ("recurrent_dropout", "zoneout", "residual"):
            if getattr(module, option):
                raise ValueError(
                    f"The layer {where!r} has {option}={getattr(module, option)!r}, which torch.nn lacks: set it to 0 "
                    "by building the layer without it."
                )
    build: Callable[..., nn.Module] = other
    new = build(**options, device="meta")
    for key, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
        setattr(new, key, parameter)
    new.train(module.training)
    if isinstance(new, nn.RNNBase):
        # torch keeps a list of its weights: let it see the parameters that it has now.
        new._flat_weights = [getattr(new, key) for key in new._flat_weights_names]
    elif not isinstance(new, Recurrent | RecurrentCell | nn.RNNCellBase):
        raise TypeError(f"{other.__name__} is no recurrent layer.")
    return new
