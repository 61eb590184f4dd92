"""From a source text to its outputs: batches, search, unknown words, alignments."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatework.seq2seq import Draw, EncoderDecoder, Ensemble, Hypothesis, beam_search, generate
from gatework.tasks.pair_options import SearchSettings
from gatework.tasks.pair_problem import Side, padded

__all__ = ["Answering"]

_BATCH = 64  # sources that are searched together
_LONGEST_SOURCE = 2000  # tokens that are read of a text


class _Aligned:
    """A network as a search's decoder, which keeps the alignment of every step."""

    def __init__(self, network: EncoderDecoder) -> None:
        self.network = network

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.network.step_with_alignment(tokens, state)

    def best(
        self, tokens: Tensor, state: Any, count: int, forbidden: Collection[int]
    ) -> tuple[Tensor, Tensor, Any]:
        return self.network.best(tokens, state, count, forbidden, aligned=True)

    def reorder(self, state: Any, index: Tensor) -> Any:
        return self.network.reorder(state, index)


def _alignment(states: tuple[Any, ...]) -> Tensor | None:
    """The networks' mean."""
    found = [state.alignment for state in states if state.alignment is not None]
    return torch.stack(found).mean(0) if found else None


@dataclass(frozen=True)
class _Source:
    """A text as the networks read it.

    Attributes:
        ids: of its tokens, the boundary last.
        spans: of each token, the characters of the text that it stands for.
        length: tokens of the whole text, of which `ids` may be the first ones only.
    """

    text: str
    ids: list[int]
    spans: list[tuple[int, int]]
    length: int

    @property
    def tokens(self) -> list[str]:
        """What stands in the text for each id: for the boundary nothing."""
        return [self.text[start:end] for start, end in self.spans]


@dataclass(frozen=True)
class Answering:
    """Networks of the same tokens, which answer together.

    Attributes:
        seen: tokens of the longest source in the training data.
    """

    networks: tuple[EncoderDecoder, ...]
    sides: tuple[Side, Side]
    seen: int

    def records(self, texts: Sequence[str], settings: SearchSettings) -> list[dict[str, Any]]:
        """What `predict` gives for each text."""
        sources = [self._source(text) for text in texts]
        answers = zip(sources, self._hypotheses(sources, settings), strict=True)
        return [self._record(source, hypotheses, settings) for source, hypotheses in answers]

    def texts(self, texts: Sequence[str], settings: SearchSettings) -> list[str]:
        """The best output for each text."""
        sources = [self._source(text) for text in texts]
        answers = zip(sources, self._hypotheses(sources, settings), strict=True)
        return [self._text(source, hypotheses[0], settings) for source, hypotheses in answers]

    def _source(self, text: str) -> _Source:
        """A text as the networks read it."""
        ids, spans = self.sides[0].encode_with_spans(text)
        length = len(ids)
        if length > _LONGEST_SOURCE:
            ids = [*ids[: _LONGEST_SOURCE - 1], ids[-1]]
            spans = [*spans[: _LONGEST_SOURCE - 1], spans[-1]]
        return _Source(text, ids, spans, length)

    def _hypotheses(self, sources: Sequence[_Source], settings: SearchSettings) -> list[list[Hypothesis]]:
        """The hypotheses of each source, best first; of a source without text, one without tokens."""
        blank = {index for index, source in enumerate(sources) if not source.text.strip()}
        hypotheses = {index: [Hypothesis((), 0.0, 0.0)] for index in blank}
        order = sorted({*range(len(sources))} - blank, key=lambda index: (len(sources[index].ids), index))
        for begin in range(0, len(order), _BATCH):
            some = order[begin : begin + _BATCH]
            hypotheses |= zip(
                some, self._search([sources[index].ids for index in some], settings), strict=True
            )
        return [hypotheses[index] for index in range(len(sources))]

    def _search(self, sources: list[list[int]], settings: SearchSettings) -> list[list[Hypothesis]]:
        device = self.networks[0].target_embedding.weight.device
        boundary, unknown = self.sides[1].boundary, self.sides[1].unknown
        source, lengths = padded(sources, self.sides[0].boundary)
        replaces = settings.replace_unknown and unknown is not None
        aligned = settings.alignment or settings.coverage_penalty > 0 or replaces
        aligned = aligned and all(network.attends for network in self.networks)
        with torch.inference_mode():
            state = tuple(network.start(source.to(device), lengths.to(device)) for network in self.networks)
        decoder = Ensemble([_Aligned(network) if aligned else network for network in self.networks])
        tokens = torch.full((len(sources),), boundary, device=device)
        shared: dict[str, Any] = {
            "length": settings.length or [2 * count + 20 for count in lengths.tolist()],
            "ends": {boundary},
            "banned": set() if unknown is None or (replaces and aligned) else {unknown},
            "minimum": settings.min_length,
            "no_repeat": settings.no_repeat,
            "alignment": _alignment if aligned else None,
        }
        if settings.temperature > 0:
            drawn = generate(
                decoder,
                tokens,
                state,
                temperature=settings.temperature,
                top_k=settings.top_k,
                top_p=settings.top_p,
                seed=settings.seed,
                **shared,
            )
            return _gathered(drawn, len(sources))
        return beam_search(
            decoder,
            tokens,
            state,
            beam=settings.beam,
            alternatives=settings.alternatives,
            alpha=settings.length_penalty,
            beta=settings.coverage_penalty if aligned else 0.0,
            **shared,
        )

    def _text(self, source: _Source, hypothesis: Hypothesis, settings: SearchSettings) -> str:
        side = self.sides[1]
        tokens = [token for token in hypothesis.tokens if token != side.boundary]
        if side.unknown not in tokens or hypothesis.alignment is None or not settings.replace_unknown:
            return side.tokenizer.decode(tokens)
        # Unknown target tokens become the source word with the most weight: not the boundary, nor a line end.
        words = source.tokens
        visible = torch.tensor([bool(word.strip()) for word in words], device=hypothesis.alignment.device)
        weights = hypothesis.alignment[:, : len(words)].masked_fill(~visible, -1.0)
        best = weights.argmax(dim=1).tolist()  # for each target token an index of `words`
        detokenizer = side.tokenizer.detokenizer()
        shown = side.tokenizer.decode([side.unknown])
        output = []
        for index, token in enumerate(tokens):
            piece = detokenizer.push(token)
            if token == side.unknown and visible.any():
                piece = piece.removesuffix(shown) + words[best[index]]
            output.append(piece)
        return "".join(output) + detokenizer.finish()

    def _record(
        self, source: _Source, hypotheses: list[Hypothesis], settings: SearchSettings
    ) -> dict[str, Any]:
        best = hypotheses[0]
        record: dict[str, Any] = {
            "input": source.text,
            "output": self._text(source, best, settings),
            "score": best.score,
            "log_probability": best.log_probability,
        }
        if settings.alternatives > 1:
            record["alternatives"] = [
                {
                    "output": self._text(source, h, settings),
                    "score": h.score,
                    "log_probability": h.log_probability,
                }
                for h in hypotheses
            ]
        if settings.alignment and best.alignment is not None:
            record["alignment"] = self._aligned(source, best.tokens, best.alignment)
        warnings = self._warnings(source)
        if warnings:
            record["warnings"] = warnings
        return record

    def _aligned(self, source: _Source, tokens: Sequence[int], alignment: Tensor) -> dict[str, Any]:
        """An alignment, (tokens, S), with the tokens on both of its axes."""
        side = self.sides[1]
        target = ["</s>" if id == side.boundary else side.tokenizer.token(id) for id in tokens]
        weights = alignment[:, : len(source.ids)].double().cpu().numpy()
        return {
            "source": [*source.tokens[:-1], "</s>"],
            "target": target,
            "weights": np.round(weights, 4).tolist(),
        }

    def _warnings(self, source: _Source) -> list[str]:
        found = []
        has = f"the source has {source.length:,} tokens"
        if source.length > len(source.ids):
            found.append(f"{has}; the first {_LONGEST_SOURCE - 1:,} are translated")
        elif source.length > self.seen:
            found.append(f"{has}, and the longest seen in training had {self.seen:,}")
        unknown = source.ids.count(self.sides[0].unknown) if self.sides[0].unknown is not None else 0
        if unknown:
            found.append(
                f"{unknown:,} of the source's {len(source.ids) - 1:,} tokens are not in the vocabulary"
            )
        if not source.text.strip():
            found.append("the source is empty")
        return found


def _gathered(drawn: Iterator[Draw], rows: int) -> list[list[Hypothesis]]:
    """Draws as hypotheses, one a row."""
    tokens: list[list[int]] = [[] for _ in range(rows)]
    totals = [0.0] * rows
    weights: list[list[Tensor]] = [[] for _ in range(rows)]
    for step in drawn:
        for place, row in enumerate(step.rows):
            tokens[row].append(step.tokens[place])
            totals[row] += step.log_probabilities[place]
            if step.alignment is not None:
                weights[row].append(step.alignment[place])
    found = []
    for ids, total, own in zip(tokens, totals, weights, strict=True):
        found.append([Hypothesis(tuple(ids), total, total, torch.stack(own) if own else None)])
    return found
