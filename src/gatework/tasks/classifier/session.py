"""A text, or a sequence of numbers, that a classifier is told part by part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from gatework.errors import InputError
from gatework.layers.row_steps import RowSteps, split_rows, stacked_rows
from gatework.tasks.classifier.inputs import SequenceInputs, TextInputs
from gatework.tasks.classifier.network import ClassifierNetwork
from gatework.tasks.classifier.options import ClassificationSettings
from gatework.tasks.session import Session
from gatework.tasks.session_state import SessionState
from gatework.tasks.words import TokenEncoder, WordInputs

__all__ = ["LabelReader", "LabelSession"]

_MOST_STEPS = 100_000  # of a sequence of numbers

Records = Callable[[Tensor, Sequence[Any], Sequence[ClassificationSettings]], list[dict[str, Any]]]


class LabelReader:
    """The scores of inputs that are read part by part, for all sessions of a run.

    Args:
        network: of one direction.
        inputs: of the run. between: what stands between the parts of a text.
        records: what `predict` says of inputs with such scores, (B, K), and settings.
    """

    def __init__(
        self, network: ClassifierNetwork, inputs: TextInputs | SequenceInputs, between: str, records: Records
    ) -> None:
        self.network, self.inputs, self.between, self.records = network, inputs, between, records
        self.steps, self.device = RowSteps(network.encoder.recurrent), network.output.weight.device
        self.first = network.pooling.first().numpy()
        self._words = None
        if isinstance(inputs, TextInputs):
            encoder = cast("TokenEncoder", network.encoder)
            self._words = WordInputs(encoder, inputs.vocabulary, inputs.subword_rows)

    def read(
        self, parts: Sequence[Any], rows: Sequence[np.ndarray], kept: Sequence[np.ndarray]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """A step of each input: what each carries, and what is kept of its states.

        Args:
            parts: tokens, or steps (C,). rows, kept: as they were.
        """
        if self._words is None:
            read = torch.from_numpy(np.stack(parts)).to(self.device)
        else:
            read = torch.cat([self._words.of(token) for token in parts])
        states, new = self.steps.step(read, rows)
        return new, split_rows(self.network.pooling.read(stacked_rows(kept).to(self.device), states))

    def scores(self, inputs: Sequence[Any], kept: Sequence[np.ndarray]) -> Tensor:
        """(B, K) of inputs so far, of whose states `kept` was kept."""
        scores = self.network.output(self.network.pooling.so_far(stacked_rows(kept).to(self.device)))
        if self.network.side is not None:
            scores = scores + self.network.side(*(each.to(self.device) for each in self._side(inputs)))
        return self.network.calibrated(scores)

    def _side(self, inputs: Sequence[Any]) -> tuple[Tensor, ...]:
        if isinstance(self.inputs, TextInputs):
            return self.inputs.side([self.inputs.side_features(text) for text in inputs])
        return (torch.from_numpy(np.stack([self.inputs.statistics(values) for values in inputs])),)


class LabelSession(Session):
    """A classifier's: `feed` reads the next part of an input, and gives a `partial` event, what `predict` says of all
    parts so far; `finish` gives it as the `record`.

    A part of a text are whole words (or of a run with tokenizer=character any characters): the input is the parts with
    spaces between them. A part of a sequence is a step, a number or a row of numbers; or a list of several steps.
    """

    settings: ClassificationSettings

    def __init__(self, task: str, settings: ClassificationSettings, reader: LabelReader) -> None:
        self._reader = reader
        super().__init__(task, reader.network, settings)

    def _begin(self) -> None:
        self._row, self._kept, self._count = self._reader.steps.first, self._reader.first, 0
        self._text = ""
        self._values: list[np.ndarray] = []  # the steps of a sequence, (C,) each
        self._partial = False  # whether a partial event is to be given

    def _read(self, item: Any) -> tuple[str, Sequence[Any]]:
        """The part of the text, and the tokens, or the steps."""
        inputs, begun = self._reader.inputs, 0 if self._ended else self._count
        if isinstance(inputs, TextInputs):
            if not isinstance(item, str):
                raise InputError("text", f"is {type(item).__name__}", "Give a part of a text.")
            parts: Sequence[Any] = inputs.pieces(item)
            text, most, noun = item, inputs.most, "tokens"
        else:
            text, most, noun = "", _MOST_STEPS, "steps"
            one = np.ndim(item) == 0 or (np.ndim(item) == 1 and inputs.scales.channels > 1)
            parts = list(inputs.steps([item] if one else item))
        if begun + len(parts) > most:
            what = f"has {begun + len(parts):,} {noun}, and at most {most:,} are read one after another"
            raise InputError("input", what, "Call finish(), or give the whole input to predict.")
        return text, parts

    @classmethod
    def _absorb(cls, sessions: Sequence[LabelSession], items: Sequence[tuple[str, Sequence[Any]]]) -> None:
        reader = sessions[0]._reader
        for step in zip_longest(*(parts for _, parts in items)):
            reading = [(one, part) for one, part in zip(sessions, step, strict=True) if part is not None]
            given = [part for _, part in reading]
            if isinstance(reader.inputs, SequenceInputs):
                for session, part in reading:
                    session._values.append(part)
                given = list(reader.inputs.scaled(np.stack(given)))
            rows, kept = [one._row for one, _ in reading], [one._kept for one, _ in reading]
            for (session, _), row, own in zip(reading, *reader.read(given, rows, kept), strict=True):
                session._row, session._kept = row, own
                session._count += 1
        for session, (text, parts) in zip(sessions, items, strict=True):
            session._text += (reader.between if session._text and text else "") + text
            session._partial = bool(len(parts))

    @property
    def _unsaid(self) -> bool:
        return self._partial

    @classmethod
    def _say(cls, sessions: Sequence[LabelSession]) -> None:
        for session, record in zip(sessions, cls._records(sessions), strict=True):
            session._partial = False
            session._events.append({"kind": "partial", **record})

    @classmethod
    def _records(cls, sessions: Sequence[LabelSession]) -> list[dict[str, Any]]:
        reader, inputs = sessions[0]._reader, [one._input() for one in sessions]
        scores = reader.scores(inputs, [one._kept for one in sessions])
        return reader.records(scores, inputs, [one.settings for one in sessions])

    def _input(self) -> Any:
        return self._text if isinstance(self._reader.inputs, TextInputs) else np.stack(self._values)

    def _end(self) -> None:
        self._partial = False
        if self._count:
            with torch.inference_mode():
                (record,) = self._records([self])
            given = self._input()
            if isinstance(given, np.ndarray):
                given = (given[:, 0] if given.shape[1] == 1 else given).tolist()
            self._events.append({"kind": "record", "input": given, **record})

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {"row": self._row, "kept": self._kept}
        return arrays | ({"values": np.stack(self._values)} if self._values else {})

    def _known(self) -> dict[str, Any]:
        return {"text": self._text, "count": self._count, "partial": self._partial}

    def _restore(self, state: SessionState) -> None:
        self._row, self._kept = (
            state.array("row", self._row.shape),
            state.array("kept", self._kept.shape),
        )
        self._text, self._count = state.value("text", str), state.value("count", int)
        self._partial = state.value("partial", bool)
        inputs = self._reader.inputs
        if isinstance(inputs, SequenceInputs) and self._count:
            self._values = list(state.array("values", (self._count, inputs.scales.channels)))
