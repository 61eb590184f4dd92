"""Outputs that are found token by token, those of one batch side by side, each asked for by itself."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from gatework.data import Fields
from gatework.seq2seq import Draw, Hypothesis, length_divisor
from gatework.tasks.encoder_decoder.options import SearchSettings
from gatework.tasks.encoder_decoder.predictor import SequencePredictor

__all__ = ["Replies"]


class Replies:
    """The outputs of B texts; safe in several threads.

    Args:
        predictor: of the run. draws: `SequencePredictor.drawn` of the texts.
        rows, texts: the texts, encoded and as they are.
        settings: of all of them, but for their seeds.
    """

    def __init__(
        self,
        predictor: SequencePredictor,
        draws: Iterator[Draw],
        rows: Sequence[Fields],
        texts: Sequence[str],
        settings: SearchSettings,
    ) -> None:
        self._predictor, self._draws, self._settings = predictor, draws, settings
        self._rows, self._texts = rows, texts
        self._lock = threading.Lock()
        self._drawn = [deque[tuple[int, float, Any]]() for _ in rows]  # tokens that were not asked for yet
        self._ended = [not text.strip() for text in texts]  # nothing is answered with nothing
        self._outputs = [Hypothesis((), 0.0, 0.0) for _ in rows]  # what was asked for
        self._said = [""] * len(rows)

    def next(self, row: int) -> dict[str, Any] | None:
        """The next piece of an output: its text, its token and that one's probability; None at its end."""
        with self._lock:
            while not self._drawn[row] and not self._ended[row]:
                self._draw(row)
            if not self._drawn[row]:
                return None
            token, log_probability, weights = self._drawn[row].popleft()
            before, boundary = self._outputs[row], self._predictor.vocabularies[1].boundary
            alignment = None
            if weights is not None:
                alignment = torch.cat(
                    [*([] if before.alignment is None else [before.alignment]), weights[None]]
                )
            total = before.log_probability + log_probability
            score = total
            if self._settings.temperature == 0:
                score /= length_divisor(len(before.tokens) + 1, self._settings.length_penalty)
            self._outputs[row] = Hypothesis((*before.tokens, token), total, score, alignment)
            name = "</s>" if token == boundary else self._predictor.vocabularies[1].tokenizer.token(token)
            piece = {"output": self._piece(row), "token": name, "probability": math.exp(log_probability)}
            return piece

    def record(self, row: int) -> dict[str, Any]:
        """What `predict` says of an output that has ended, without the input."""
        given = self._rows[row], self._texts[row]
        return self._predictor.record([self._outputs[row]], *given, self._settings)

    def _draw(self, row: int) -> None:
        """The next token of every output; one of which there is none has ended."""
        drawn = next(self._draws, None)
        if drawn is None:
            self._ended = [True] * len(self._ended)
            return
        for place, number in enumerate(drawn.rows):
            weights = None if drawn.alignment is None else drawn.alignment[place]
            self._drawn[number].append((drawn.tokens[place], drawn.log_probabilities[place], weights))
        if row not in drawn.rows:
            self._ended[row] = True

    def _piece(self, row: int) -> str:
        """What an output's last token adds to its text: nothing while a character is unfinished."""
        output, said = self._outputs[row], self._said[row]
        text = self._predictor.text_so_far(output, self._rows[row], self._texts[row], self._settings)
        if not text.startswith(said) or text.endswith("\ufffd"):
            return ""
        self._said[row] = text
        return text[len(said) :]
