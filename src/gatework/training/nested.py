"""Carries and batches: nested tuples, lists and dicts of tensors (or None, numbers, strings)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """`value` with `function` of each tensor in it; everything else as it is."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: map_tensors(function, item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a named tuple
        return type(value)(*(map_tensors(function, item) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(function, item) for item in value)
    return value


def detach(value: Any) -> Any:
    """`value` cut off from the graph that computed it: gradients of the next step end here."""
    return map_tensors(Tensor.detach, value)


def to_device(value: Any, device: torch.device) -> Any:
    """`value` with its tensors on `device`."""
    return map_tensors(lambda tensor: tensor.to(device, non_blocking=True), value)


def flatten(value: Any) -> tuple[Any, list[Tensor]]:
    """(structure, tensors): the structure is JSON, with the index of each tensor in its place.

    Raises:
        TypeError: for anything but tuples, lists, dicts with string keys, tensors and None.
    """
    tensors: list[Tensor] = []

    def structure(item: Any) -> Any:
        if item is None:
            return None
        if isinstance(item, Tensor):
            tensors.append(item)
            return len(tensors) - 1
        if type(item) in (tuple, list):
            return [type(item).__name__, [structure(part) for part in item]]
        if type(item) is dict and all(isinstance(key, str) for key in item):
            return ["dict", {key: structure(part) for key, part in item.items()}]
        raise TypeError(
            f"a carry holds tuples, lists, dicts by string, tensors and None, not {type(item).__name__}"
        )

    return structure(value), tensors


def unflatten(structure: Any, tensors: list[Tensor]) -> Any:
    """The inverse of `flatten`. Raises `ValueError` for a structure that `flatten` cannot have made."""
    match structure:
        case None:
            return None
        case int() if 0 <= structure < len(tensors):
            return tensors[structure]
        case ["tuple", list(parts)]:
            return tuple(unflatten(part, tensors) for part in parts)
        case ["list", list(parts)]:
            return [unflatten(part, tensors) for part in parts]
        case ["dict", dict(parts)]:
            return {key: unflatten(part, tensors) for key, part in parts.items()}
    raise ValueError(f"{structure!r} is not the structure of a carry")
