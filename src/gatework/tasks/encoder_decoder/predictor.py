"""From a source text to its outputs: search, unknown words, alignments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatework.data import Fields
from gatework.seq2seq import Draw, EncoderDecoder, Ensemble, Hypothesis, beam_search, generate
from gatework.seq2seq.aligned import AlignedDecoder, gathered_draws, mean_alignment
from gatework.tasks.encoder_decoder.options import SearchSettings
from gatework.tasks.encoder_decoder.vocabulary import Vocabulary

__all__ = ["SequencePredictor"]

_LONGEST_SOURCE = 2000  # tokens that are read of a text


@dataclass(frozen=True)
class SequencePredictor:
    """Networks of the same vocabularies, which answer by the mean of their probabilities.

    Attributes:
        networks: in eval mode, on one device.
        vocabularies: of the source and of the target.
        longest_seen: tokens of the longest source in the training data.
    """

    networks: tuple[EncoderDecoder, ...]
    vocabularies: tuple[Vocabulary, Vocabulary]
    longest_seen: int

    def encode(self, text: str) -> Fields:
        """A text as the networks read it.

        Returns:
            `source`, (S,): the ids of its tokens, the boundary last, of a long text the first ones only; `spans`,
            (tokens of the whole text, 2): for each token the characters of the text that it stands for.
        """
        ids, spans = self.vocabularies[0].encode_with_spans(text)
        if len(ids) > _LONGEST_SOURCE:
            ids = [*ids[: _LONGEST_SOURCE - 1], ids[-1]]
        return {"source": np.asarray(ids, np.int32), "spans": np.asarray(spans, np.int64).reshape(-1, 2)}

    def search(self, source: Tensor, lengths: Tensor, settings: SearchSettings) -> list[list[Hypothesis]]:
        """The hypotheses of each source, best first.

        Args:
            source: (S, B) ids; lengths: (B,).
        """
        if settings.temperature > 0:
            return gathered_draws(self.drawn(source, lengths, settings, settings.seed), len(lengths))
        start, shared = self._start(source, lengths, settings)
        return beam_search(
            *start,
            beam=settings.beam,
            alternatives=settings.alternatives,
            length_penalty=settings.length_penalty,
            coverage_penalty=settings.coverage_penalty if shared["alignment"] else 0.0,
            **shared,
        )

    def drawn(
        self, source: Tensor, lengths: Tensor, settings: SearchSettings, seed: int | Sequence[int]
    ) -> Iterator[Draw]:
        """The tokens of one output of each source, a step at a time, drawn or the likeliest.

        Args:
            source, lengths: as for `search`. seed: as for `generate`.
        """
        start, shared = self._start(source, lengths, settings)
        return generate(
            *start,
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
            seed=seed,
            **shared,
        )

    def _start(
        self, source: Tensor, lengths: Tensor, settings: SearchSettings
    ) -> tuple[tuple[Ensemble, Tensor, Any], dict[str, Any]]:
        """A decoder, the tokens that it reads first and its state; and what all searches are told."""
        device = source.device
        boundary, unknown = self.vocabularies[1].boundary, self.vocabularies[1].unknown
        replaces = settings.replace_unknown and unknown is not None
        aligned = settings.alignment or settings.coverage_penalty > 0 or replaces
        aligned = aligned and all(network.attends for network in self.networks)
        with torch.inference_mode():
            state = tuple(network.start(source, lengths) for network in self.networks)
        decoder = Ensemble([AlignedDecoder(network) if aligned else network for network in self.networks])
        tokens = torch.full((len(lengths),), boundary, device=device)
        return (decoder, tokens, state), {
            "length": settings.length or [2 * count + 20 for count in lengths.tolist()],
            "ends": {boundary},
            "banned": set() if unknown is None or (replaces and aligned) else {unknown},
            "minimum": settings.min_length,
            "no_repeat": settings.no_repeat,
            "alignment": mean_alignment if aligned else None,
        }

    def record(
        self, hypotheses: Sequence[Hypothesis], row: Fields, text: str, settings: SearchSettings
    ) -> dict[str, Any]:
        """What `predict` gives beside the input.

        Args:
            hypotheses: of the text, best first.
            row: `encode` of the text.
        """
        ids, spans, words = row["source"], row["spans"], _words(row, text)
        if not text.strip():  # nothing is answered with nothing
            hypotheses = [Hypothesis((), 0.0, 0.0)]
        best = hypotheses[0]
        record = self._scored(best, words, settings)
        if settings.alternatives > 1:
            record["alternatives"] = [self._scored(each, words, settings) for each in hypotheses]
        if settings.alignment and best.alignment is not None:
            record["alignment"] = self._aligned(best.tokens, best.alignment, words)
        warnings = self._warnings(ids, len(spans), text)
        if warnings:
            record["warnings"] = warnings
        return record

    def _scored(self, hypothesis: Hypothesis, words: list[str], settings: SearchSettings) -> dict[str, Any]:
        return {
            "output": self._text(hypothesis, words, settings),
            "score": hypothesis.score,
            "log_probability": hypothesis.log_probability,
        }

    def text_so_far(self, hypothesis: Hypothesis, row: Fields, text: str, settings: SearchSettings) -> str:
        """The text of an output's first tokens; arguments as for `record`."""
        return self._text(hypothesis, _words(row, text), settings)

    def _text(self, hypothesis: Hypothesis, words: list[str], settings: SearchSettings) -> str:
        vocabulary = self.vocabularies[1]
        tokenizer, unknown = vocabulary.tokenizer, vocabulary.unknown
        tokens = [token for token in hypothesis.tokens if token != vocabulary.boundary]
        if unknown not in tokens or hypothesis.alignment is None or not settings.replace_unknown:
            return tokenizer.decode(tokens)
        # Unknown target tokens become the source word with the most weight: not the boundary, nor a line end.
        visible = torch.tensor([bool(word.strip()) for word in words], device=hypothesis.alignment.device)
        weights = hypothesis.alignment[:, : len(words)].masked_fill(~visible, -1.0)
        best = weights.argmax(dim=1).tolist()  # for each target token an index of `words`
        detokenizer = tokenizer.detokenizer()
        shown = tokenizer.decode([unknown])
        output = []
        for index, token in enumerate(tokens):
            piece = detokenizer.push(token)
            if token == unknown and visible.any():
                piece = piece.removesuffix(shown) + words[best[index]]
            output.append(piece)
        return "".join(output) + detokenizer.finish()

    def _aligned(self, tokens: Sequence[int], alignment: Tensor, words: list[str]) -> dict[str, Any]:
        """An alignment, (tokens, S), with the tokens on both of its axes."""
        vocabulary = self.vocabularies[1]
        target = ["</s>" if id == vocabulary.boundary else vocabulary.tokenizer.token(id) for id in tokens]
        weights = alignment[:, : len(words)].double().cpu().numpy()
        return {
            "source": [*words[:-1], "</s>"],
            "target": target,
            "weights": np.round(weights, 4).tolist(),
        }

    def _warnings(self, ids: np.ndarray, length: int, text: str) -> list[str]:
        """What about a source is unlike the training data; `length` counts the tokens of the whole text."""
        warnings = []
        has = f"the source has {length:,} tokens"
        if length > len(ids):
            warnings.append(f"{has}; the first {_LONGEST_SOURCE - 1:,} are translated")
        elif length > self.longest_seen:
            warnings.append(f"{has}, and the longest seen in training had {self.longest_seen:,}")
        unknown = self.vocabularies[0].unknown
        count = 0 if unknown is None else int((ids == unknown).sum())
        if count:
            warnings.append(f"{count:,} of the source's {len(ids) - 1:,} tokens are not in the vocabulary")
        if not text.strip():
            warnings.append("the source is empty")
        return warnings


def _words(row: Fields, text: str) -> list[str]:
    """Of each id of an encoded text what it stands for; of the boundary nothing."""
    ids, spans = row["source"], row["spans"]
    return [text[start:end] for start, end in [*spans[: len(ids) - 1], spans[-1]]]
