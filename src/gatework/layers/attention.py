"""Attention outside a cell: the scores of `gatework.attend` as modules, and pooling by them."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from gatework.backends import attention_reference

__all__ = ["Attention", "AttentionPooling"]


class Attention(nn.Module):
    """The context that queries read from a memory, by learned alignment weights.

    Args:
        query_size: Q, units of a query.
        memory_size: M, units of a memory's step.
        score: `additive` is v . tanh(W q + U m) (Bahdanau et al. 2014, appendix A.1.2); `dot` is q . m and `general`
            q . W m (Luong et al. 2015, equation 8).
        size: A, width of the additive score's hidden layer; by default Q.

    Raises:
        ValueError: an unknown score, or a dot product of different widths.
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        score: Literal["additive", "dot", "general"] = "additive",
        *,
        size: int | None = None,
    ) -> None:
        super().__init__()
        if score not in ("additive", "dot", "general"):
            raise ValueError(f"score={score!r}: it is additive, dot or general.")
        if score == "dot" and query_size != memory_size:
            raise ValueError(
                f"score='dot' multiplies queries of {query_size} units by a memory of {memory_size}: "
                "use 'general', which has a weight between them."
            )
        self.query_size = query_size
        self.memory_size = memory_size
        self.score = score
        self.size = query_size if size is None else size
        if score == "additive":
            self.weight_query = nn.Parameter(torch.empty(self.size, query_size))
            self.weight_memory = nn.Parameter(torch.empty(self.size, memory_size))
            self.weight_energy = nn.Parameter(torch.empty(self.size))
        elif score == "general":
            self.weight_memory = nn.Parameter(torch.empty(query_size, memory_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws every parameter uniformly from ±1/sqrt(size), as the recurrent layers do."""
        bound = 1 / math.sqrt(self.size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def extra_repr(self) -> str:
        return f"{self.query_size}, {self.memory_size}, score={self.score!r}"

    def forward(self, query: Tensor, memory: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reads a memory.

        Args:
            query: (B, Q)
            memory: (S, B, M)
            lengths: (B,) steps of each row's memory; past them weights are exactly 0, whatever stands there.

        Returns:
            The context, (B, M), and the weights, (B, S). Where a memory is empty both are 0.

        Raises:
            ValueError: shapes that do not fit.
        """
        if query.dim() != 2 or query.shape[1] != self.query_size:
            raise ValueError(
                f"The query has shape {tuple(query.shape)}; expected (rows, {self.query_size} units)."
            )
        if memory.dim() != 3 or memory.shape[1:] != (len(query), self.memory_size):
            raise ValueError(
                f"The memory has shape {tuple(memory.shape)}; expected (steps, {len(query)} rows, "
                f"{self.memory_size} units)."
            )
        mask = None
        if lengths is not None:
            if lengths.shape != query.shape[:1]:
                raise ValueError(
                    f"lengths have shape {tuple(lengths.shape)}; the memory has {len(query)} rows."
                )
            mask = attention_reference.mask_of(lengths.to(memory.device), len(memory))
            memory = memory.masked_fill(~mask.t().unsqueeze(-1), 0.0)  # NaN in the padding stays there
        parameters = {
            f"source_{name.removeprefix('weight_')}": value for name, value in self.named_parameters()
        }
        keys = attention_reference.keys(self.score, "source", parameters, memory)
        weights = attention_reference.alignment(
            attention_reference.scores(self.score, "source", parameters, query, keys), mask
        )
        return attention_reference.attention_context(weights, memory), weights


class AttentionPooling(nn.Module):
    """One vector of a sequence: its steps, weighed by a learned query (Yang et al. 2016, equations 5 to 7).

    Args:
        memory_size: M, units of a step.
        size: A, width of the score's hidden layer; by default M.
    """

    def __init__(self, memory_size: int, *, size: int | None = None) -> None:
        super().__init__()
        size = memory_size if size is None else size
        self.attention = Attention(1, memory_size, size=size)

    def forward(self, memory: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(S, B, M) to (B, M), and the weights, (B, S).

        The query is the constant 1, so that its weight is the bias of the score's hidden layer.
        """
        return self.attention(memory.new_ones(memory.shape[1], 1), memory, lengths)
