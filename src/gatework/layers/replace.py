"""Swapping recurrent layers inside a user's model, weights kept: torch.nn's for ours, and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
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

    Buffers and attributes that somebody has added to a layer are carried along. A subclass of a layer and a scripted
    layer are left as they are, with a warning that names them: what their code does with its weights is their own.

    Returns:
        The model; another object only where the model itself is such a layer.

    Raises:
        ValueError: a layer has what the other side lacks (hooks, parametrizations, a weight that is no parameter, as
            weight dropout leaves it, or, on the way back, recurrent dropout, zoneout, residual connections).

    Warns:
        ReplaceWarning: recurrent layers are left as they are.
    """
    if to not in ("gatework", "torch"):
        raise ValueError(f"to={to!r}: it must be 'gatework' or 'torch'.")
    pairs = dict(_PAIRS) if to == "gatework" else {ours: theirs for theirs, ours in _PAIRS}
    swapped: dict[int, nn.Module] = {}
    left: list[str] = []
    for name, module in list(model.named_modules()):
        reason = _reason_to_leave(module, pairs)
        if reason is not None:
            left.append(f"{name or 'itself'!r} ({reason})")
            continue
        if parametrize.is_parametrized(module) and isinstance(module, tuple(pairs)):
            raise ValueError(
                f"The layer {name or 'itself'!r} has parametrizations, which belong to its class: replace first, then "
                "parametrize."
            )
        other = pairs.get(type(module))
        if other is not None:
            swapped[id(module)] = _swap(name, module, other)
    if left:
        warnings.warn(
            f"These recurrent layers are left as they are: {', '.join(left)}. To replace one, build the other layer by "
            "hand and load its state dict.",
            ReplaceWarning,
            stacklevel=2,
        )
    if not swapped:
        return model
    if id(model) in swapped:
        return swapped[id(model)]
    for parent in list(model.modules()):
        for name, child in parent._modules.items():  # named_children would list a shared child once
            if child is not None and id(child) in swapped:
                parent._modules[name] = swapped[id(child)]
    return model


class ReplaceWarning(UserWarning):
    """`gatework.replace` has left recurrent layers as they are."""


def _reason_to_leave(module: nn.Module, pairs: Mapping[type[nn.Module], type[nn.Module]]) -> str | None:
    """Why a recurrent layer cannot be exchanged for another class; None where it can, or is no recurrent layer."""
    if isinstance(module, torch.jit.ScriptModule):
        names = {theirs.__name__ for theirs, _ in _PAIRS}
        return "scripted" if getattr(module, "original_name", "") in names else None
    if parametrize.is_parametrized(module) or type(module) in pairs:
        return None
    for known in pairs:
        if isinstance(module, known):
            return f"{type(module).__name__}, a subclass of {known.__name__}"
    return None


def _check_parameters(where: str, module: nn.Module, new: nn.Module) -> None:
    """Refuses a layer some weights of which are no parameters: the new layer would have none of its own there."""
    own = dict(module.named_parameters(recurse=False, remove_duplicate=False))
    for key, expected in new.named_parameters(recurse=False, remove_duplicate=False):
        if key not in own:
            how = "a plain attribute" if hasattr(module, key) else "missing"
            raise ValueError(
                f"The weight {key!r} of the layer {where!r} is {how}, no parameter, as weight dropout (AWD-LSTM) "
                "leaves it: replace the layer before its weights are dropped, or use recurrent_dropout."
            )
        if own[key].shape != expected.shape:
            raise ValueError(
                f"The weight {key!r} of the layer {where!r} has shape {tuple(own[key].shape)}; a layer of its sizes "
                f"has {tuple(expected.shape)}."
            )


def _carry(module: nn.Module, new: nn.Module, where: str) -> None:
    """Gives a new layer the buffers, further parameters, modules and attributes that somebody has added to the old."""
    for key, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
        setattr(new, key, parameter)
    for key, buffer in module.named_buffers(recurse=False, remove_duplicate=False):
        new.register_buffer(key, buffer, persistent=key not in module._non_persistent_buffers_set)
    for key, child in module.named_children():
        new.add_module(key, child)
    plain = type(module)(module.input_size, module.hidden_size, device="meta")
    for key in vars(module).keys() - vars(plain).keys() - vars(new).keys():
        if isinstance(getattr(type(new), key, None), property):
            raise ValueError(
                f"The attribute {key!r} of the layer {where!r} is a property's name: rename it first."
            )
        setattr(new, key, getattr(module, key))


def _swap(name: str, module: nn.Module, other: type[nn.Module]) -> nn.Module:
    where = name or "itself"
    if (
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or module._state_dict_hooks
        or module._state_dict_pre_hooks
        or module._load_state_dict_pre_hooks
        or module._load_state_dict_post_hooks
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
        if module.stack.by_layer:
            raise ValueError(
                f"The layer {where!r} has layers of sizes of their own, hidden_size={list(module.hidden_size)}, which "
                "torch.nn lacks: build a module for each layer."
            )
        for option in ("recurrent_dropout", "zoneout", "residual"):
            if getattr(module, option):
                raise ValueError(
                    f"The layer {where!r} has {option}={getattr(module, option)!r}, which torch.nn lacks: set it to 0 "
                    "by building the layer without it."
                )
    build: Callable[..., nn.Module] = other
    new = build(**options, device="meta")
    _check_parameters(where, module, new)
    _carry(module, new, where)
    new.train(module.training)
    if isinstance(new, nn.RNNBase):
        # torch keeps a list of its weights: let it see the parameters that it has now.
        new._flat_weights = [getattr(new, key) for key in new._flat_weights_names]
    elif not isinstance(new, Recurrent | RecurrentCell | nn.RNNCellBase):
        raise TypeError(f"{other.__name__} is no recurrent layer.")
    return new
