"""Attention as torch operations: scores over the steps of a memory, their softmax, and the context that they read."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

HIDDEN_LAYER = ("additive", "location")
"""The scores that come from a hidden layer, for which the memory is projected once."""


def keys(score: str, label: str, parameters: Mapping[str, Tensor], memory: Tensor) -> Tensor:
    """What a query is compared with: the memory itself, (S, B, M), or its projection, (S, B, A)."""
    return F.linear(memory, parameters[f"{label}_memory"]) if score in HIDDEN_LAYER else memory


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
    if score in HIDDEN_LAYER:
        hidden = keys + F.linear(query, parameters[f"{label}_query"])  # (S, B, A)
        if previous is not None:
            filters = parameters[f"{label}_location_filter"]  # (F, K)
            padding = filters.shape[1] // 2
            features = F.conv1d(previous.unsqueeze(1), filters.unsqueeze(1), padding=padding)  # (B, F, S)
            features = features[..., : previous.shape[1]].permute(2, 0, 1)  # (S, B, F)
            hidden = hidden + F.linear(features, parameters[f"{label}_location"])
        return (torch.tanh(hidden) @ parameters[f"{label}_energy"]).t()
    if score == "general":
        query = query @ parameters[f"{label}_memory"]  # (B, M)
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


def read(alignment: Tensor, memory: Tensor) -> Tensor:
    """The context, (B, M): the memory's steps, (S, B, M), by their weights, (B, S)."""
    return torch.einsum("bs,sbm->bm", alignment, memory)


def mask_of(lengths: Tensor, steps: int) -> Tensor:
    """(B, S), true where a row of so many steps has one."""
    return torch.arange(steps, device=lengths.device).unsqueeze(0) < lengths.unsqueeze(1)
