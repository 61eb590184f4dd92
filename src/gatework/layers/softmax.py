"""Output layers over a vocabulary: the plain softmax, and the adaptive one for large vocabularies.

Both hold one row of `weight` per token, so either can share (tie) the embedding's rows (Press & Wolf 2017,
"Using the output embedding to improve language models"), and both answer the same questions: `losses`,
`loss` and `log_prob`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatework.backends import DenseBackend, by_size, linear_choice
from gatework.layers.linear import linear

__all__ = ["AdaptiveSoftmax", "Softmax", "default_cutoffs"]

INITIAL_RANGE = 0.1


def _log_softmax(logits: Tensor) -> Tensor:
    with by_size("elementwise", logits.numel()):
        return F.log_softmax(logits, dim=-1)


class Softmax(nn.Module):
    """A softmax over the whole vocabulary.

    Args:
        input_size: width of the hidden vectors.
        vocabulary_size: number of tokens V.
        weight: a parameter (V, input_size) to share, such as the embedding's; without it, one of its own.

    Raises:
        ValueError: a shared weight is not (V, input_size).
    """

    def __init__(self, input_size: int, vocabulary_size: int, *, weight: Tensor | None = None) -> None:
        super().__init__()
        self.input_size = input_size
        self.vocabulary_size = vocabulary_size
        if weight is None:
            weight = nn.Parameter(
                torch.empty(vocabulary_size, input_size).uniform_(-INITIAL_RANGE, INITIAL_RANGE)
            )
        elif weight.shape != (vocabulary_size, input_size):
            raise ValueError(
                f"a shared weight is (vocabulary_size, input_size) = ({vocabulary_size}, {input_size}), "
                f"this one is {tuple(weight.shape)}: project the hidden vectors to the embedding's width"
            )
        self.weight = weight
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))

    def losses(self, hidden: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Negative log-likelihood in nats of each target: hidden (N, input_size), targets (N,) -> (N,).

        Args:
            smoothing: share of the targets' probability that is spread evenly over the vocabulary.
        """
        logits = linear(hidden, self.weight, self.bias)
        return F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)

    def loss(self, hidden: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """The losses' sum, a scalar in nats; on the engine without ever holding the whole table of logits."""
        native = self._native(hidden)
        if native is not None:
            return native.cross_entropy(hidden, self.weight, self.bias, targets, smoothing)
        return self.losses(hidden, targets, smoothing).sum()

    def _native(self, hidden: Tensor) -> DenseBackend | None:
        """What computes the loss and the likeliest tokens without the table of logits; None where nothing does."""
        if type(self) is not Softmax:
            return None  # a subclass has losses of its own
        return linear_choice((hidden, self.weight, self.bias)).dense

    def log_prob(self, hidden: Tensor) -> Tensor:
        """Log-probability of every token: hidden (N, input_size) -> (N, V)."""
        return _log_softmax(linear(hidden, self.weight, self.bias))

    def best(self, hidden: Tensor, count: int, forbidden: Collection[int] = ()) -> tuple[Tensor, Tensor]:
        """The log-probabilities of each row's likeliest tokens, falling, and the tokens: (N, count) each.

        Fewer where the vocabulary has fewer; where too few are allowed, the last log-probabilities are minus infinity.
        For a search: the engine keeps no gradient.

        Args:
            hidden: (N, input_size)
            forbidden: tokens that are not to be among them.
        """
        count = min(count, self.vocabulary_size)
        native = self._native(hidden)
        found = None
        if native is not None:
            found = native.likeliest(hidden, self.weight, self.bias, count, forbidden)
        if found is not None:
            return found
        log_probs = self.log_prob(hidden)
        if forbidden:
            log_probs[:, list(forbidden)] = -torch.inf
        values, tokens = log_probs.topk(count, dim=1)
        return values, tokens


class AdaptiveSoftmax(Softmax):
    """A softmax in clusters of falling frequency (Grave et al. 2017, "Efficient softmax for GPUs").

    Token ids must be in order of falling frequency. The head decides between the tokens below the first
    cutoff and one entry per tail cluster; a tail is computed only for the rows whose target lies in it:
    p(token) = p(cluster) p(token | cluster). All clusters keep the full width (the paper's division of
    tail widths is left out), so that the rows can be the embedding's.

    Args:
        cutoffs: where each tail cluster begins, rising, within 1 … V - 1.
        input_size, vocabulary_size, weight: as for `Softmax`.
    """

    def __init__(
        self,
        input_size: int,
        vocabulary_size: int,
        cutoffs: Sequence[int],
        *,
        weight: Tensor | None = None,
    ) -> None:
        super().__init__(input_size, vocabulary_size, weight=weight)
        edges = [0, *cutoffs, vocabulary_size]
        if len(cutoffs) == 0 or any(low >= high for low, high in pairwise(edges)):
            raise ValueError(
                f"cutoffs rise strictly between 0 and the vocabulary's size {vocabulary_size}, "
                f"received {list(cutoffs)}"
            )
        self.cutoffs = list(cutoffs)
        tails = len(self.cutoffs)
        self.cluster_weight = nn.Parameter(
            torch.empty(tails, input_size).uniform_(-INITIAL_RANGE, INITIAL_RANGE)
        )
        self.cluster_bias = nn.Parameter(torch.zeros(tails))

    def losses(self, hidden: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        if smoothing:
            raise ValueError(
                "label smoothing needs the plain softmax: a tail is computed for its own targets only"
            )
        head, tails = self._clusters()
        first = self.cutoffs[0]
        edges = torch.tensor(self.cutoffs, device=targets.device)
        cluster = torch.bucketize(targets, edges, right=True)  # 0 is the head's own
        slots = torch.where(cluster == 0, targets, first - 1 + cluster)
        losses = F.cross_entropy(linear(hidden, *head), slots, reduction="none")
        for number, (low, tail) in enumerate(zip(self.cutoffs, tails, strict=True), start=1):
            rows = (cluster == number).nonzero().squeeze(1)
            if len(rows) == 0:
                continue
            logits = linear(hidden[rows], *tail)
            inside = F.cross_entropy(logits, targets[rows] - low, reduction="none")
            losses = losses.index_add(0, rows, inside.to(losses.dtype))
        return losses

    def log_prob(self, hidden: Tensor) -> Tensor:
        head, tails = self._clusters()
        first = self.cutoffs[0]
        of_head = _log_softmax(linear(hidden, *head))
        parts = [of_head[:, :first]]
        for number, tail in enumerate(tails):
            inside = _log_softmax(linear(hidden, *tail))
            parts.append(of_head[:, first + number, None] + inside)
        return torch.cat(parts, dim=1)

    def _clusters(self) -> tuple[tuple[Tensor, Tensor], list[tuple[Tensor, Tensor]]]:
        """(weight, bias) of the head and of each tail.

        One `split` of the shared weight: its backward writes the (V, input_size) gradient once, where a
        slice per cluster would fill a whole zero matrix each.
        """
        edges = [0, *self.cutoffs, self.vocabulary_size]
        sizes = [high - low for low, high in pairwise(edges)]
        weights, biases = self.weight.split(sizes), self.bias.split(sizes)
        head = torch.cat([weights[0], self.cluster_weight]), torch.cat([biases[0], self.cluster_bias])
        return head, list(zip(weights[1:], biases[1:], strict=True))


def default_cutoffs(vocabulary_size: int) -> list[int]:
    """Two cutoffs, at 1/16 and 5/16 of the vocabulary: a balance of work for words of Zipf's law."""
    return [max(1, vocabulary_size // 16), max(2, vocabulary_size * 5 // 16)]
