"""From a source text to its outputs: batches, search, unknown words, alignments."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatework.seq2seq import Choice, EncoderDecoder, Ensemble, Hypothesis, beam_search, generate
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
        return [
            self._record(text, found, settings)
            for text, found in zip(texts, self.hypotheses(texts, settings), strict=True)
        ]

    def texts(self, texts: Sequence[str], settings: SearchSettings) -> list[str]:
        """The best output for each text."""
        found = self.hypotheses(texts, settings)
        return [self._text(text, h[0], settings) for text, h in zip(texts, found, strict=True)]

    def hypotheses(self, texts: Sequence[str], settings: SearchSettings) -> list[list[Hypothesis]]:
        """The hypotheses of each text, best first."""
        encoded = [self._encode(text) for text in texts]
        order = sorted(range(len(texts)), key=lambda index: len(encoded[index]))
        found: dict[int, list[Hypothesis]] = {}
        for begin in range(0, len(order), _BATCH):
            some = order[begin : begin + _BATCH]
            found |= zip(some, self._search([encoded[index] for index in some], settings), strict=True)
        return [found[index] for index in range(len(texts))]

    def _encode(self, text: str) -> list[int]:
        ids = self.sides[0].encode(text)
        return ids if len(ids) <= _LONGEST_SOURCE else [*ids[: _LONGEST_SOURCE - 1], self.sides[0].boundary]

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

    def _text(self, source: str, hypothesis: Hypothesis, settings: SearchSettings) -> str:
        side = self.sides[1]
        tokens = [token for token in hypothesis.tokens if token != side.boundary]
        if side.unknown not in tokens or hypothesis.alignment is None or not settings.replace_unknown:
            return side.tokenizer.decode(tokens)
        pieces = self.sides[0].pieces(source)
        looked_at = hypothesis.alignment.argmax(dim=1).tolist()
        words = [
            pieces[min(place, len(pieces) - 1)] if token == side.unknown else side.tokenizer.token(token)
            for token, place in zip(tokens, looked_at, strict=False)
        ]
        return (" " if side.tokenizer.kind == "word" else "").join(words)

    def _record(self, text: str, found: list[Hypothesis], settings: SearchSettings) -> dict[str, Any]:
        best = found[0]
        record: dict[str, Any] = {
            "input": text,
            "output": self._text(text, best, settings),
            "score": best.score,
            "log_probability": best.log_probability,
        }
        if settings.alternatives > 1:
            record["alternatives"] = [
                {
                    "output": self._text(text, h, settings),
                    "score": h.score,
                    "log_probability": h.log_probability,
                }
                for h in found
            ]
        if settings.alignment and best.alignment is not None:
            record["alignment"] = self._shown(text, best)
        warnings = self._warnings(text)
        if warnings:
            record["warnings"] = warnings
        return record

    def _shown(self, text: str, hypothesis: Hypothesis) -> dict[str, Any]:
        assert hypothesis.alignment is not None
        source = [*self.sides[0].pieces(text)[:-1], "</s>"][: hypothesis.alignment.shape[1]]
        side = self.sides[1]
        target = ["</s>" if id == side.boundary else side.tokenizer.token(id) for id in hypothesis.tokens]
        weights = hypothesis.alignment[:, : len(source)].double().cpu().numpy()
        return {"source": source, "target": target, "weights": np.round(weights, 4).tolist()}

    def _warnings(self, text: str) -> list[str]:
        ids = self.sides[0].encode(text)
        found = []
        if len(ids) > _LONGEST_SOURCE:
            found.append(
                f"the source has {len(ids):,} tokens; the first {_LONGEST_SOURCE - 1:,} are translated"
            )
        elif len(ids) > self.seen:
            found.append(
                f"the source has {len(ids):,} tokens, and the longest seen in training had {self.seen:,}"
            )
        unknown = ids.count(self.sides[0].unknown) if self.sides[0].unknown is not None else 0
        if unknown:
            found.append(f"{unknown:,} of the source's {len(ids) - 1:,} tokens are not in the vocabulary")
        if not text.strip():
            found.append("the source is empty")
        return found


def _gathered(drawn: Iterator[Choice], rows: int) -> list[list[Hypothesis]]:
    """Draws as hypotheses, one a row."""
    tokens: list[list[int]] = [[] for _ in range(rows)]
    totals = [0.0] * rows
    weights: list[list[Tensor]] = [[] for _ in range(rows)]
    for choice in drawn:
        for place, row in enumerate(choice.rows):
            tokens[row].append(choice.tokens[place])
            totals[row] += choice.log_probabilities[place]
            if choice.alignment is not None:
                weights[row].append(choice.alignment[place])
    found = []
    for ids, total, own in zip(tokens, totals, weights, strict=True):
        found.append([Hypothesis(tuple(ids), total, total, torch.stack(own) if own else None)])
    return found
