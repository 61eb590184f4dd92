"""A sentence that a tagger hears word by word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from gatework.errors import InputError
from gatework.layers.linear_chain import Chain
from gatework.layers.row_steps import RowSteps
from gatework.tasks.session import Session
from gatework.tasks.session_state import SessionState, damaged
from gatework.tasks.tagger.last_words import LOOKED_BACK, LastWords
from gatework.tasks.tagger.network import Scores, TaggerNetwork
from gatework.tasks.tagger.options import TaggerSettings
from gatework.tasks.tagger.tag_set import TagSet
from gatework.tasks.words import WordInputs, WordVocabulary

__all__ = ["WordReader", "WordSession"]

Record = Callable[[list[str], Scores, TaggerSettings], dict[str, Any]]


class WordReader:
    """The scores of words that are read one after another, for all sessions of a run.

    Args:
        network: of one direction, without labels.
        vocabulary, tag_set, subword_rows: of the run.
        record: what `predict` says of words with such scores.
        most: words of a sentence.
    """

    def __init__(
        self,
        network: TaggerNetwork,
        vocabulary: WordVocabulary,
        tag_set: TagSet,
        record: Record,
        *,
        subword_rows: int,
        most: int,
    ) -> None:
        self.network, self.tags, self.record, self.most = network, tag_set.tags, record, most
        self.steps = RowSteps(network.encoder.recurrent)
        self._inputs = WordInputs(network.encoder, vocabulary, subword_rows)
        # Of a single word NumPy's operations cost less than torch's.
        self._weight, self._bias = (part.numpy(force=True) for part in network.emission.parameters())
        self._side = None if network.side is None else LastWords(network.side.weight.numpy(force=True))
        # What may follow each tag; the last row: what may come first.
        self.moves = np.vstack([tag_set.moves.after, tag_set.moves.first])
        self.ways, self.ends, self.chain = self.moves.astype(np.float64), None, None
        if network.crf is not None:
            cooled = [part.detach() / network.temperatures[0] for part in network.crf.chain]
            self.chain = Chain(*cooled)
            after, first, self.ends = (
                np.exp((part - part.max()).double().numpy(force=True)) for part in cooled
            )
            self.ways *= np.vstack([after, first])

    def scores(
        self, words: Sequence[Sequence[str]], rows: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """The scores of the last word of each sentence, (B, K), and what each sentence carries now.

        Args:
            words: the last ones of each sentence. rows: what each carries.
        """
        inputs = [self._inputs.of(own[-1]) for own in words]
        output, rows = self.steps.step(inputs[0] if len(inputs) == 1 else torch.cat(inputs), rows)
        if len(inputs) == 1 and output.device.type == "cpu":
            scores = (self._weight @ output.numpy()[0] + self._bias)[None]
        else:
            scores = self.network.emission(output).numpy(force=True)
        if self._side is not None:
            scores = scores + self._side.scores(words)
        return scores / self.network.temperatures[0], rows


class WordSession(Session):
    """A tagger's: `feed` reads a sentence's next word, and gives a `partial` event: the `word`, its tag (`output`), and
    its `probability`, which is that of this tag at the last word of what was fed so far, as `predict` has it.

    A tag is the likeliest one that may follow the tag before: with BIO tags every sentence so far is well-formed, with
    BIOES tags the last span may still be open. With a CRF it is the likeliest given all words so far, by the forward
    algorithm, a step a word. `finish` gives the `record` of the whole sentence, whose tags are the
    likeliest ones together.
    """

    settings: TaggerSettings

    def __init__(self, task: str, settings: TaggerSettings, reader: WordReader) -> None:
        self._reader = reader
        super().__init__(task, reader.network, settings)

    def step(self, word: str) -> tuple[str, float]:
        """Feed a word: its tag, and the tag's probability."""
        with self._lock:  # without an iterator of events, which takes longer than the layers
            type(self)._feed([self], [self._checked(word)])
            (event,), self._events = self._events, []
        return event["output"], event["probability"]

    def _begin(self) -> None:
        self._row, self._words = self._reader.steps.first, list[str]()
        self._tag = len(self._reader.tags)  # the tag before
        self._emissions: list[np.ndarray] = []
        # (K + 1,) the share of each tag at the last word; before a first word all of it is that of what stands before.
        self._paths = np.eye(1, len(self._reader.moves), self._tag)[0]

    def _read(self, item: Any) -> str:
        if not isinstance(item, str) or not item.strip():
            raise InputError("word", f"is {item!r:.40}", "Give a word, as a text.")
        if len(self._words) >= self._reader.most and not self._ended:
            what = f"has had {self._reader.most:,} words, and no more of a sentence are tagged"
            raise InputError("sentence", what, "Call finish() where a sentence ends.")
        return item

    @classmethod
    def _absorb(cls, sessions: Sequence[WordSession], items: Sequence[str]) -> None:
        reader = sessions[0]._reader
        words = [[*one._words[1 - LOOKED_BACK :], word] for one, word in zip(sessions, items, strict=True)]
        scores, rows = reader.scores(words, [one._row for one in sessions])
        moves = reader.moves[[one._tag for one in sessions]]  # (B, K)
        shares = ended = cls._shares(sessions, scores.astype(np.float64))
        if reader.ends is not None:  # as if the sentence ended here
            ended = shares[:, :-1] * reader.ends
            ended /= ended.sum(1, keepdims=True)
            tags = np.where(moves, ended, -1.0).argmax(1)
        else:
            tags = np.where(moves, scores, -np.inf).argmax(1)
        chosen = ended[np.arange(len(tags)), tags].tolist()
        # No sentence holds on to the others' rows.
        own = [[row.copy() for row in table] if len(table) > 1 else table for table in (scores, shares)]
        parts = zip(sessions, items, rows, tags.tolist(), *own, chosen, strict=True)
        for session, word, row, tag, emissions, paths, probability in parts:
            session._words.append(word)
            session._row, session._tag, session._paths = row, tag, paths
            session._emissions.append(emissions)
            event = {"kind": "partial", "word": word, "output": reader.tags[tag], "probability": probability}
            session._events.append(event)

    @staticmethod
    def _shares(sessions: Sequence[WordSession], scores: np.ndarray) -> np.ndarray:
        """(B, K + 1) `_paths` at the last word: what each tag's probability is there given the words up to it, and that
        all tags so far are well-formed."""
        before = np.array([one._paths for one in sessions]) @ sessions[0]._reader.ways  # (B, K)
        found = np.zeros((len(scores), scores.shape[1] + 1))
        np.multiply(np.exp(scores - scores.max(1, keepdims=True)), before, out=found[:, :-1])
        found /= found.sum(1, keepdims=True)
        return found

    def _end(self) -> None:
        if self._words:
            emissions = torch.from_numpy(np.stack(self._emissions))[:, None]
            with torch.inference_mode():
                scores = Scores(emissions, emissions.new_zeros(1, 0), self._reader.chain)
                record = self._reader.record(self._words, scores, self.settings)
            self._events.append({"kind": "record", "input": list(self._words), **record})

    def _arrays(self) -> dict[str, np.ndarray]:
        own = (
            np.stack(self._emissions)
            if self._emissions
            else np.zeros((0, len(self._reader.tags)), np.float32)
        )
        paths = self._paths[:-1] if self._words else np.zeros(0)
        return {"row": self._row, "paths": paths, "emissions": own}

    def _known(self) -> dict[str, Any]:
        return {"words": self._words, "tag": self._tag}

    def _restore(self, state: SessionState) -> None:
        count = len(self._reader.tags)
        self._words, self._tag = state.value("words", list), state.value("tag", int)
        if not all(isinstance(word, str) for word in self._words) or not 0 <= self._tag <= count:
            raise damaged()
        self._row = state.array("row", self._row.shape)
        paths = state.array("paths", (count if self._words else 0,))
        self._paths = np.append(paths, 0.0) if self._words else self._paths
        self._emissions = list(state.array("emissions", (len(self._words), count)))
