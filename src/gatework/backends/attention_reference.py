"""Attention as torch operations: scores over the steps of a memory, their softmax, and the context that they read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

HIDDEN_LAYER = ("additive", "location")
"""The scores that come from a hidden layer."""


def keys(
    score: str,
    label: str,
    parameters: Mapping[str, Tensor],
    memory: Tensor,
    linear: Callable[[Tensor, Tensor], Tensor] = F.linear,
) -> Tensor:
    """What a query is compared with: the memory itself, (S, B, M), or its projection, (S, B, A).

    Args:
        linear: makes the projection, from the memory and a weight.
    """
    return memory if score == "dot" else linear(memory, parameters[f"{label}_memory"])


def scores(
    score: str,
    label: str,
    parameters: Mapping[str, Tensor],
    query: Tensor,
    keys: Tensor,
    previous: Tensor | None = None,
) -> Tensor:
    """The score of every step, (B, S).

    Args:
        score: as `gatework.attend` names them.
        label: the attention's name, which its parameters begin with.
        query: (B, Q)
        keys: of `keys`.
        previous: the alignment of the step before, (B, S), for the location score.
    """
    if score not in HIDDEN_LAYER:
        return dot_score(query, keys)
    projected, energy = F.linear(query, parameters[f"{label}_query"]), parameters[f"{label}_energy"]
    if previous is not None:
        kernel = location_kernel(parameters[f"{label}_location"], parameters[f"{label}_location_filter"])
        keys = keys + location(previous, kernel)
    return additive_score(projected, keys, energy)


def location_kernel(location: Tensor, filters: Tensor) -> Tensor:
    """(K, A), the kernel of the one convolution that the filters, (F, K), and the weight behind them, (A, F), are."""
    return (location @ filters).t()


def location(previous: Tensor, kernel: Tensor) -> Tensor:
    """(S, B, A), what the alignment of the step before, (B, S), tells each step of the memory.

    Args:
        kernel: of `location_kernel`, (K, A).
    """
    count, size = kernel.shape
    told = F.conv1d(
        previous.unsqueeze(1), kernel.t().reshape(size, 1, count), padding=count // 2
    )  # (B, A, S)
    return told[..., : previous.shape[1]].permute(2, 0, 1)


def additive_score(query: Tensor, keys: Tensor, energy: Tensor) -> Tensor:
    """energy . tanh(query + key) of every step, (B, S), from a projected query, (B, A), and keys, (S, B, A)."""
    return (torch.tanh(keys + query) @ energy).t()


def dot_score(query: Tensor, keys: Tensor) -> Tensor:
    """The dot product with every step, (B, S), of a query, (B, A), with keys, (S, B, A)."""
    return torch.einsum("bm,sbm->bs", query, keys)


def alignment(scores: Tensor, mask: Tensor | None) -> Tensor:
    """The weights of the steps, (B, S): a softmax over those that exist, exactly 0 for the others.

    Args:
        mask: (B, S), true where a step exists; None where all do. A row without any has no weights at all.
    """
    if mask is None:
        return torch.softmax(scores, dim=-1)
    scores = scores.masked_fill(~mask, float("-inf"))
    nothing = ~mask.any(dim=-1, keepdim=True)
    return torch.softmax(scores.masked_fill(nothing, 0.0), dim=-1).masked_fill(~mask, 0.0)


def attention_context(alignment: Tensor, memory: Tensor) -> Tensor:
    """The context, (B, M): the memory's steps, (S, B, M), by their weights, (B, S)."""
    return torch.einsum("bs,sbm->bm", alignment, memory)


def mask_of(lengths: Tensor, steps: int) -> Tensor:
    """(B, S), true where a row of so many steps has one."""
    return torch.arange(steps, device=lengths.device).unsqueeze(0) < lengths.unsqueeze(1)
