"""CTC as a decoder: the same probabilities of label sequences, label by label, for the one search and beside other
decoders.

The probability that a sequence goes on with a label is that of all sequences that begin so, over that of all that begin
as the sequence does (Watanabe et al. 2017, "Hybrid CTC/attention architecture for end-to-end speech recognition",
algorithm 2). Label 0, the blank, stands for the end.

Shapes: T frames, N hypotheses, V labels with the blank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gatework.seq2seq.ctc import BLANK
from gatework.seq2seq.search import Decoder

__all__ = ["CtcDecoder", "PrefixState", "WeightedDecoders"]

_LEAST = torch.finfo(torch.float64).min  # in the place of minus infinity, where no path is


@dataclass(frozen=True)
class PrefixState:
    """The paths of each hypothesis's labels over the first t frames, t from 0 to T.

    Attributes:
        in_label, blank: (N, T + 1) log-probability of those that end in the last label, and in a blank.
        last: (N,) the last label; 0 where there is none.
        begun: (N,) log-probability of all sequences that begin so.
    """

    in_label: Tensor
    blank: Tensor
    last: Tensor
    begun: Tensor


class CtcDecoder:
    """Reads labels, and says how likely each further one is, after the sounds of one recording.

    Args:
        log_probabilities: (T, V) in nats, all of them finite.
    """

    def __init__(self, log_probabilities: Tensor) -> None:
        self._table = log_probabilities.double()
        self._probabilities = self._table.exp()
        self._so_far = self._table.cumsum(0)  # of staying at a label

    def start(self) -> PrefixState:
        """The state of one hypothesis without labels; the token that it reads first is 0."""
        table = self._table
        blank = torch.cat([table.new_zeros(1), self._so_far[:, BLANK]])[None]
        nothing = torch.full_like(blank, -torch.inf)
        label = torch.tensor([BLANK], device=table.device)
        return PrefixState(nothing, blank, label, table.new_zeros(1))

    def step(self, tokens: Tensor, state: PrefixState) -> tuple[Tensor, PrefixState]:
        """See `Decoder`: tokens (N,), of which 0 are none, to (N, V), whose column 0 is the end's."""
        if bool((tokens != BLANK).any()):  # all hypotheses of a search have as many labels
            state = self._longer(tokens, state)
        joined = torch.logaddexp(state.in_label, state.blank)
        # Of each label the sum over its first frame: of the paths up to the frame before, times its probability there.
        before = joined[:, :-1]
        most = before.amax(1, keepdim=True).clamp(min=_LEAST)
        found = ((before - most).exp() @ self._probabilities).log() + most
        again = (state.last != BLANK).nonzero().flatten()  # a label that follows itself needs a blank between
        labels = state.last[again]
        found[again, labels] = (state.blank[again, :-1] + self._table[:, labels].T).logsumexp(1)
        found[:, BLANK] = joined[:, -1]
        return found - state.begun[:, None], state

    def _longer(self, tokens: Tensor, state: PrefixState) -> PrefixState:
        """The state once each hypothesis has one more label."""
        before = torch.logaddexp(state.in_label, state.blank)[:, :-1]
        same = (tokens == state.last)[:, None]
        before = torch.where(same, state.blank[:, :-1], before)
        enters = before + self._table[:, tokens].T  # (N, T)
        nothing = enters.new_full((len(tokens), 1), -torch.inf)
        in_label = torch.cat([nothing, self._stay(enters, self._so_far[:, tokens].T)], 1)
        leaves = in_label[:, :-1] + self._table[:, BLANK]
        staying = self._so_far[:, BLANK].expand(len(tokens), -1)
        blank = torch.cat([nothing, self._stay(leaves, staying)], 1)
        return PrefixState(in_label, blank, tokens, enters.logsumexp(1))

    @staticmethod
    def _stay(enters: Tensor, so_far: Tensor) -> Tensor:
        """(N, T) paths that entered a state in any frame up to each, and stayed there."""
        return so_far + torch.logcumsumexp(enters - so_far, 1)

    def reorder(self, state: PrefixState, index: Tensor) -> PrefixState:
        """See `Decoder`."""
        return replace(
            state,
            in_label=state.in_label[index],
            blank=state.blank[index],
            last=state.last[index],
            begun=state.begun[index],
        )


class WeightedDecoders:
    """Several decoders of one vocabulary as one: the weighted sum of their log-probabilities (a log-linear mixture that
    is no distribution itself). Its state is the tuple of the decoders' states.

    Args:
        decoders, weights: as many of each.
    """

    def __init__(self, decoders: Sequence[Decoder], weights: Sequence[float]) -> None:
        if not decoders or len(decoders) != len(weights):
            raise ValueError(
                f"{len(decoders)} decoders have {len(weights)} weights: give one for each, 1 or more"
            )
        self.decoders, self.weights = list(decoders), list(weights)

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """See `Decoder`."""
        steps = [decoder.step(tokens, one) for decoder, one in zip(self.decoders, state, strict=True)]
        total = sum(
            weight * found.double() for (found, _), weight in zip(steps, self.weights, strict=True) if weight
        )
        return total, tuple(one for _, one in steps)  # type: ignore[return-value]  # one weight at least is not 0

    def reorder(self, state: Any, index: Tensor) -> Any:
        """See `Decoder`."""
        return tuple(decoder.reorder(one, index) for decoder, one in zip(self.decoders, state, strict=True))
