"""One search for every decoder: greedy, sampling and beam.

A decoder is anything with `step` and `reorder`. Each row of a step's batch is a hypothesis; a finished hypothesis is
taken out of the batch, so that a step costs what its unfinished rows cost.

Shapes: N rows of a step, V entries of the vocabulary, S steps of the source.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from gatework.backends import by_size
from gatework.seq2seq.drawing import draw, refuse_nan

__all__ = ["Decoder", "Draw", "Ensemble", "Hypothesis", "beam_search", "generate"]


class Decoder(Protocol):
    """What a search needs of a model."""

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Reads tokens, (N,), one a row: the next token's log-probabilities, (N, V), in nats, and the new state."""

    def reorder(self, state: Any, index: Tensor) -> Any:
        """The state whose row n is row index[n] of the given one: rows may be repeated, and left out."""


@runtime_checkable
class RankingDecoder(Decoder, Protocol):
    """A decoder that finds the likeliest tokens of a step without the table of all V probabilities."""

    def best(
        self, tokens: Tensor, state: Any, count: int, forbidden: Collection[int]
    ) -> tuple[Tensor, Tensor, Any]:
        """As `step`, for the `count` likeliest tokens of each row that are not `forbidden`: their log-probabilities by
        falling value, (N, count), their ids, (N, count), and the new state.
        """


class Ensemble:
    """Several decoders of one vocabulary as one: the mean of their probabilities.

    Its state is the tuple of the decoders' states.

    Raises:
        ValueError: no decoder.
    """

    def __init__(self, decoders: Sequence[Decoder]) -> None:
        if not decoders:
            raise ValueError("an ensemble has at least one decoder, received none")
        self.decoders = list(decoders)

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        steps = [decoder.step(tokens, one) for decoder, one in zip(self.decoders, state, strict=True)]
        every = torch.stack([each for each, _ in steps])  # (decoders, N, V)
        with by_size("elementwise", every.numel()):
            log_probs = every.logsumexp(0) - math.log(len(steps))
        return log_probs, tuple(one for _, one in steps)

    def best(
        self, tokens: Tensor, state: Any, count: int, forbidden: Collection[int]
    ) -> tuple[Tensor, Tensor, Any]:
        only = self.decoders[0]
        if len(self.decoders) == 1 and isinstance(only, RankingDecoder):
            log_probs, best, new = only.best(tokens, state[0], count, forbidden)
            return log_probs, best, (new,)
        log_probs, state = self.step(tokens, state)
        log_probs = _forbidden(log_probs, forbidden)
        return *log_probs.topk(min(count, log_probs.shape[1]), dim=1), state

    def reorder(self, state: Any, index: Tensor) -> Any:
        return tuple(d.reorder(one, index) for d, one in zip(self.decoders, state, strict=True))


class Draw(NamedTuple):
    """One step of `generate`.

    Attributes:
        rows: the unfinished rows, as indices of the first `tokens`.
        tokens: the token that was drawn for each of them.
        log_probabilities: the model's own of each of these tokens, in nats.
        alignment: (N, S) attention weights of the step, where they were asked for.
    """

    rows: list[int]
    tokens: list[int]
    log_probabilities: list[float]
    alignment: Tensor | None = None


@dataclass(frozen=True)
class Hypothesis:
    """A finished output of a beam search.

    Attributes:
        tokens: the ids, with the end token if there was one.
        log_probability: sum over the tokens, in nats.
        score: log-probability divided by the length penalty, plus the coverage penalty (at most 0). Hypotheses are
            returned by falling score.
        alignment: (tokens, S) attention weights of each step, where they were asked for.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float
    alignment: Tensor | None = None


@dataclass(frozen=True)
class _Rules:
    """Which tokens may be drawn next."""

    ends: frozenset[int]
    banned: frozenset[int]
    minimum: int
    no_repeat: int

    def apply(self, log_probs: Tensor, step: int, paths: Sequence[Sequence[int]]) -> Tensor:
        """The log-probabilities, (N, V), with minus infinity for each token that row n may not draw.

        Args:
            step: counted from 1.
            paths: the tokens of each row so far.
        """
        log_probs = _forbidden(log_probs, self.forbidden(step))
        if self.no_repeat:
            closed = [(row, token) for row, path in enumerate(paths) for token in self._closing(path)]
            if closed:
                rows, tokens = torch.tensor(closed, device=log_probs.device).T
                log_probs = log_probs.index_put((rows, tokens), log_probs.new_tensor(-torch.inf))
        return log_probs

    def forbidden(self, step: int) -> frozenset[int]:
        """The tokens that no row may draw at a step."""
        return self.banned | (self.ends if step <= self.minimum else frozenset())

    def likeliest(
        self,
        decoder: Decoder,
        tokens: Tensor,
        state: Any,
        step: int,
        paths: Sequence[Sequence[int]],
        count: int,
    ) -> tuple[Tensor, Tensor, Any]:
        """As `RankingDecoder.best`, of the tokens that each row may draw at a step."""
        if not self.no_repeat and isinstance(decoder, RankingDecoder):
            return decoder.best(tokens, state, count, self.forbidden(step))
        log_probs, state = decoder.step(tokens, state)
        count = min(count, log_probs.shape[1])
        return *self.apply(log_probs, step, paths).topk(count, dim=1), state

    def _closing(self, path: Sequence[int]) -> set[int]:
        """The tokens after which the path would hold one of its n-grams twice."""
        n = self.no_repeat
        last = tuple(path[len(path) - n + 1 :]) if n > 1 else ()
        if len(last) < n - 1:
            return set()
        starts = range(len(path) - n + 1)
        return {path[i + n - 1] for i in starts if tuple(path[i : i + n - 1]) == last} - self.ends


def _forbidden(log_probs: Tensor, tokens: Collection[int]) -> Tensor:
    """The log-probabilities, (N, V), with minus infinity in the columns of some tokens."""
    if not tokens:
        return log_probs
    index = torch.tensor(sorted(tokens), dtype=torch.long, device=log_probs.device)
    return log_probs.index_fill(1, index, -torch.inf)


def generate(
    decoder: Decoder,
    tokens: Tensor,
    state: Any,
    *,
    length: int | Sequence[int],
    ends: Collection[int] = (),
    banned: Collection[int] = (),
    minimum: int = 0,
    no_repeat: int = 0,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int | Sequence[int] = 0,
    alignment: Callable[[Any], Tensor | None] | None = None,
) -> Iterator[Draw]:
    """Draws one token a row and a step, and yields each step at once.

    Where `banned`, `minimum` and `no_repeat` together leave a row no token, it ends where it stands.

    Args:
        tokens: (N,) the token that each row reads first.
        state: the decoder's state of those N rows.
        length: most tokens of a row: one number for all rows, or one for each, 1 or more.
        ends: tokens after which a row is finished.
        banned: tokens that are never drawn.
        minimum: tokens that a row has at least before one of `ends`.
        no_repeat: n, where a row may hold no n-gram twice; 0 is off.
        temperature: 0 takes the likeliest token (greedy); 1 samples from the model's own distribution.
        top_k: sample from the k likeliest tokens only; 0 is off.
        top_p: sample from the smallest set of tokens that holds this share of the probability
            (Holtzman et al. 2020); 1 is off.
        seed: of row n's own random numbers, together with n, so that the other rows of the batch never matter; or one
            for each row.
        alignment: gives the attention weights of the last step, (N, S), of a state.

    Yields:
        Each step's unfinished rows, with the token drawn for each.

    Raises:
        ValueError: `length` is not one number for all rows or for each, or one is below 1.
        InputError: a log-probability is NaN.
    """
    rules = _Rules(frozenset(ends), frozenset(banned), minimum, no_repeat)
    limits = _limits(length, len(tokens))
    rows = list(range(len(tokens)))
    paths: list[list[int]] = [[] for _ in rows]
    seeds = [seed + 1_000_003 * row for row in rows] if isinstance(seed, int) else seed
    generators = [torch.Generator().manual_seed(own) for own in seeds]
    for step in range(1, max(limits, default=0) + 1):
        # The mode is left before each `yield`: it is the thread's, and would hold in the body of the caller's loop.
        with torch.inference_mode():
            own_paths = [paths[row] for row in rows]
            if temperature == 0:
                values, candidates, state = rules.likeliest(decoder, tokens, state, step, own_paths, 1)
                tokens, log_probs = candidates[:, 0], values[:, 0]
                drawable = log_probs > -torch.inf
            else:
                all_log_probs, state = decoder.step(tokens, state)  # (N, V)
                allowed = rules.apply(all_log_probs, step, own_paths)
                uniform = torch.stack(
                    [torch.rand((), generator=generators[row], dtype=torch.float64) for row in rows]
                )
                tokens, drawable = draw(allowed, uniform.to(allowed.device), temperature, top_k, top_p)
                log_probs = all_log_probs.gather(1, tokens[:, None]).squeeze(1)
            weights = None if alignment is None else alignment(state)
            if not drawable.all():
                refuse_nan(log_probs)
                index = drawable.nonzero().squeeze(1)
                rows = [rows[place] for place in index.tolist()]
                tokens, log_probs, state = tokens[index], log_probs[index], decoder.reorder(state, index)
                weights = None if weights is None else weights[index]
        if not rows:
            return
        drawn = tokens.tolist()
        for row, token in zip(rows, drawn, strict=True):
            paths[row].append(token)
        yield Draw(list(rows), drawn, log_probs.tolist(), weights)
        unfinished = [
            place
            for place, token in enumerate(drawn)
            if token not in rules.ends and step < limits[rows[place]]
        ]
        if not unfinished:
            return
        if len(unfinished) < len(rows):
            rows = [rows[place] for place in unfinished]
            with torch.inference_mode():
                index = torch.tensor(unfinished, device=tokens.device)
                tokens, state = tokens[index], decoder.reorder(state, index)


def _limits(length: int | Sequence[int], rows: int) -> list[int]:
    """The most tokens of each row, (N,).

    Raises:
        ValueError: not one number for all rows or for each, or one below 1.
    """
    limits = [length] * rows if isinstance(length, int) else list(length)
    if len(limits) != rows or any(limit < 1 for limit in limits):
        raise ValueError(f"length={length!r}: give one number for all {rows} rows or for each, 1 or more")
    return limits


def length_divisor(length: int, exponent: float) -> float:
    """lp of Wu et al. 2016, equation 14: ((5 + length) / 6)^exponent. At 0 hypotheses are ranked by probability; a
    larger exponent favours long ones.
    """
    return float(((5 + length) / 6) ** exponent)


def coverage_term(coverage: Tensor, weight: float) -> Tensor:
    """cp of Wu et al. 2016, equation 14: weight times the sum over the source's steps of log(min(coverage, 1)), (N,).

    Args:
        coverage: (N, S) attention weights, summed over the steps of the target. A step of the source whose sum is 0,
            such as padding, costs nothing.
    """
    covered = torch.where(coverage > 0, coverage.clamp(max=1.0), 1.0)
    return weight * covered.log().sum(-1)


@dataclass(frozen=True)
class _Path:
    """An unfinished hypothesis.

    Attributes:
        owner: row of the search's first `tokens` that the hypothesis belongs to.
        tokens: its ids.
        total: its log-probability, in nats.
        alignments: for each of its tokens the attention weights of that step's whole batch, (N, S), and its row there.
    """

    owner: int
    tokens: tuple[int, ...]
    total: float
    alignments: tuple[tuple[Tensor, int], ...]


def beam_search(
    decoder: Decoder,
    tokens: Tensor,
    state: Any,
    *,
    length: int | Sequence[int],
    beam: int,
    ends: Collection[int] = (),
    banned: Collection[int] = (),
    minimum: int = 0,
    no_repeat: int = 0,
    alternatives: int = 1,
    length_penalty: float = 0.0,
    coverage_penalty: float = 0.0,
    alignment: Callable[[Any], Tensor | None] | None = None,
) -> list[list[Hypothesis]]:
    """The likeliest outputs of each row, best first.

    A hypothesis that ends leaves the beam with its place (Graves 2012), so that the search of a row stops
    when `beam` hypotheses have ended or `length` is reached. `beam=1` is the greedy search.

    Where `banned`, `minimum` and `no_repeat` together leave a hypothesis no token, it is abandoned where it stands.
    Abandoned hypotheses are returned only for a row in which fewer than `alternatives` ended or reached `length`,
    after those. Every row has at least one hypothesis; its tokens are empty where not even a first one is allowed.

    Args:
        tokens: (N,) the token that each row reads first.
        state: the decoder's state of those N rows.
        length, ends, banned, minimum, no_repeat: as for `generate`.
        beam: hypotheses kept for each row.
        alternatives: hypotheses returned for each row, at most `beam`.
        length_penalty: exponent of the length penalty (alpha of Wu et al. 2016, equation 14).
        coverage_penalty: weight of the coverage penalty (beta there), which needs `alignment`.
        alignment: gives the attention weights of the last step, (N, S), of a state.

    Returns:
        For each row 1 to `alternatives` hypotheses, by falling score, abandoned ones last.

    Raises:
        ValueError: `alternatives` is not between 1 and `beam`, there is a coverage penalty and no `alignment`, or
            `length` is wrong.
        InputError: a log-probability is NaN.
    """
    if not 1 <= alternatives <= beam:
        raise ValueError(f"alternatives is between 1 and beam = {beam}, received {alternatives}")
    if coverage_penalty and alignment is None:
        raise ValueError(
            f"coverage_penalty={coverage_penalty} needs attention weights, and no `alignment` is given: give it, or 0."
        )
    rules = _Rules(frozenset(ends), frozenset(banned), minimum, no_repeat)
    limits = _limits(length, len(tokens))
    finished: list[list[Hypothesis]] = [[] for _ in range(len(tokens))]
    abandoned: list[list[Hypothesis]] = [[] for _ in range(len(tokens))]
    # paths[n] is the hypothesis in row n of the decoder's state; those of one owner are neighbours.
    paths = [_Path(owner, (), 0.0, ()) for owner in range(len(tokens))]

    def close(path: _Path, ended: list[list[Hypothesis]]) -> None:
        score, weights = path.total / length_divisor(len(path.tokens), length_penalty), None
        if path.alignments:
            weights = torch.stack([of_step[row] for of_step, row in path.alignments])
            if coverage_penalty:
                score += coverage_term(weights.double().sum(0), coverage_penalty).item()
        ended[path.owner].append(Hypothesis(path.tokens, path.total, score, weights))

    with torch.inference_mode():
        for step in range(1, max(limits, default=0) + 1):
            own_paths = [path.tokens for path in paths]
            values, candidates, state = rules.likeliest(decoder, tokens, state, step, own_paths, beam)
            weights = None if alignment is None else alignment(state)
            totals = torch.tensor([path.total for path in paths], dtype=torch.float64, device=tokens.device)
            for path, most in zip(paths, values[:, 0].tolist(), strict=True):
                if not most > -torch.inf:
                    refuse_nan(values)
                    close(path, abandoned)
            kept: list[tuple[int, _Path]] = []
            for row, token, total in _best(values, candidates, totals, paths, finished, beam):
                path = paths[row]
                seen = () if weights is None else (*path.alignments, (weights, row))
                longer = _Path(path.owner, (*path.tokens, token), total, seen)
                if token in rules.ends or step == limits[path.owner]:
                    close(longer, finished)
                else:
                    kept.append((row, longer))
            if not kept:
                break
            rows = [row for row, _ in kept]
            if rows != list(range(len(paths))):
                state = decoder.reorder(state, torch.tensor(rows, device=tokens.device))
            paths = [path for _, path in kept]
            tokens = torch.tensor([path.tokens[-1] for path in paths], device=tokens.device)
    return [
        [*_ranked(ended), *_ranked(stuck)][:alternatives]
        for ended, stuck in zip(finished, abandoned, strict=True)
    ]


def _ranked(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """Hypotheses by falling score."""
    return sorted(hypotheses, key=lambda hypothesis: -hypothesis.score)


def _best(
    values: Tensor,
    candidates: Tensor,
    totals: Tensor,
    paths: Sequence[_Path],
    finished: Sequence[Sequence[Hypothesis]],
    beam: int,
) -> Iterator[tuple[int, int, float]]:
    """The best continuations of each owner, as many as its beam has places left: (row, token, total), best first.

    Args:
        values: (N, C) log-probabilities of the C likeliest tokens of each row, of which C is at least the beam, so that
            no other token of a row can be among its owner's best.
        candidates: (N, C) ids of these tokens.
        totals: (N,) log-probability of each row's tokens so far.
        paths: of the N rows; those of one owner are neighbours.
        finished: the hypotheses of each owner that have ended, which have left the beam with their places.
    """
    each = values.shape[1]
    scores = totals[:, None] + values.double()
    begins = [row for row, path in enumerate(paths) if row == 0 or paths[row - 1].owner != path.owner]
    ends = [*begins[1:], len(paths)]
    widest = max(end - begin for begin, end in zip(begins, ends, strict=True))
    table = scores.new_full((len(begins), widest, each), -torch.inf)
    groups = [
        group for group, (begin, end) in enumerate(zip(begins, ends, strict=True)) for _ in range(begin, end)
    ]
    places = [row - begins[group] for row, group in enumerate(groups)]
    table[groups, places] = scores
    best = table.flatten(1).topk(min(beam, widest * each), dim=1)
    tokens = candidates.tolist()
    for begin, totals_, flat in zip(begins, best.values.tolist(), best.indices.tolist(), strict=True):
        left = beam - len(finished[paths[begin].owner])
        for total, place in list(zip(totals_, flat, strict=True))[:left]:
            if total > -torch.inf:
                row = begin + place // each
                yield row, tokens[row][place % each], total
