"""Tasks that read one long stream of tokens: trained along it with carried state, and scored on it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, cast

from pydantic import Field
from torch import Tensor, nn

from gatework.data import Tokenizer, TokenStream, read_texts, text_sha256
from gatework.metrics.figure import Figure
from gatework.metrics.text import bits_per_character, likelihood_figures
from gatework.tasks.artifacts import Artifacts
from gatework.tasks.base import Task
from gatework.tasks.extended_vocabulary import ExtensionOptions, learned_tokenizer, take_known_rows
from gatework.tasks.lifecycle import Lifecycle, TrainingData
from gatework.tasks.stream_loss import stream_loss
from gatework.tasks.stream_network import StreamEnsemble, StreamNetwork
from gatework.tasks.tokens import unknown_share, warn_of_unknown
from gatework.training import ParameterGroup, StepLoss, StreamProblem
from gatework.training.options import FollowsData, OptionRules

__all__ = ["StreamOptions", "StreamTask"]

HELD_BACK = 0.05
TOKENIZER = "tokenizer.json"
UNKNOWN_TOKENS = 10_000_000  # of a text that are looked at for unknown ones
TOKENS = "tokens"  # the folder of the run with the streams; gone once the run is complete
PARTS = {"training": "train", "validation": "valid"}  # their files there


class StreamOptions(ExtensionOptions):
    """How a stream is read in training."""

    batch_size: FollowsData[int] = Field(
        32,
        ge=1,
        description="places at which the text is read side by side (auto: 32, fewer for small data)",
    )
    bptt: Annotated[int, OptionRules(old_names=("steps",))] = Field(
        128, ge=1, description="tokens that the gradient goes back through"
    )

    @property
    def step_tokens(self) -> int:
        return self.batch_size * self.bptt

    def batch_for(self, tokens: float) -> dict[str, int]:
        return {"batch_size": max(round(tokens / self.bptt), 1)}


class StreamTask(Task):
    """A task whose data is one long text, read with stateful truncated backpropagation (Williams & Peng 1990).

    Its network is a `StreamNetwork`, which gives in training the summed loss of targets (T, B) after inputs (T, B) and
    a state, and the new state. Without validation data the last 5 % of the tokens are held back.

    Attributes:
        tokenizer_: the tokenizer, made from the training data.
    """

    columns: ClassVar[tuple[str, ...]] = ("text",)
    input_columns = (("text",),)
    headline: ClassVar[Figure] = Figure("loss", higher=False)
    noun: ClassVar[str] = "tokens"

    options_: StreamOptions
    tokenizer_: Tokenizer

    # What a task writes

    @abstractmethod
    def _learn_baselines(self, train: TokenStream) -> None:
        """Fit the baselines on the training tokens, and keep them in the run."""

    @abstractmethod
    def _baseline_losses(self, stream: TokenStream) -> Mapping[str, float]:
        """Of each baseline the loss in nats, summed over the tokens of a stream; none of a run that was stopped."""

    def _groups(self) -> Sequence[ParameterGroup]:
        """Groups of the network's parameters from the input to the output, for rates and gradual unfreezing."""
        return ()

    # The lifecycle

    def _prepare(self, data: TrainingData, keep: Artifacts) -> None:
        self._learn(read_texts(data.train, column=data.columns.get("text")), keep)
        self._train = self._stream(data, keep, "training", data.train)
        if data.valid is None:
            self._train, self._valid = self._train.split(HELD_BACK)
            held = f"{HELD_BACK:.0%} are held back ({len(self._valid):,} tokens)"
            self._say(f"No validation data: the last {held}.")
        else:
            self._valid = self._stream(data, keep, "validation", data.valid)
        for stream, whose in ((self._train, "the training"), (self._valid, "the validation")):
            warn_of_unknown(self._say, self._unknown(stream), whose)

    def _training_tokens(self) -> int:
        return len(self._train)

    def _learn(self, train: Iterable[str], keep: Artifacts) -> None:
        self.tokenizer_ = learned_tokenizer(keep, TOKENIZER, self.options_, lambda: train, self._say)

    def _start_from(self, parent: Lifecycle) -> None:
        take_known_rows(self.network_, parent.network_.state_dict())

    def _stream(self, data: TrainingData, keep: Artifacts, part: str, source: Any) -> TokenStream:
        """The tokens of a part of the data: those that the run holds already, if they are of this very text."""
        path = self.run_.path / TOKENS / PARTS[part]
        column = data.columns.get("text")

        def build() -> TokenStream:
            given = None
            # The run has begun: other data is refused before it is tokenized.
            if part in data.sources.recorded:
                given = data.sources.unchanged(part) or text_sha256(read_texts(source, column=column))
                note(given)
            if path.exists():
                stream = TokenStream.open(path)
                if stream.sha256 in (None, given):  # None: an earlier version wrote it
                    return stream
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = TokenStream.build(read_texts(source, column=column), self.tokenizer_, path)
            if stream.sha256 is not None:
                note(stream.sha256)
            return stream

        def note(sha256: str) -> None:
            data.sources.note(part, sha256)
            if part == "training" and data.valid is None:
                held_back = f"the last {HELD_BACK} of the tokens of {sha256}"
                data.sources.note("validation", hashlib.sha256(held_back.encode()).hexdigest())

        return keep.first(build, lambda: TokenStream.open(path))

    def _problem(self) -> StreamProblem:
        valid = self._valid

        def loss(model: nn.Module, batch: tuple[Tensor, Tensor], carry: Any) -> StepLoss:
            inputs, targets = batch  # (T, B) each
            total, state = model(inputs, targets, carry)
            return StepLoss(total, targets.numel(), state)

        return StreamProblem(
            self.network_,
            self._train,
            streams=self.options_.batch_size,
            steps=self.options_.bptt,
            loss=loss,
            validation=lambda: {"loss": self._loss_of(valid) / len(valid)},
            groups=self._groups(),
        )

    def _clear(self) -> None:
        for name in ("_train", "_valid"):
            self.__dict__.pop(name, None)
        if self.run_.writes:
            shutil.rmtree(self.run_.path / TOKENS, ignore_errors=True)

    def _joined(self, networks: Sequence[nn.Module]) -> StreamEnsemble:
        return StreamEnsemble(networks)

    # Figures

    def _validation_figures(self) -> dict[str, Any]:
        self._learn_baselines(self._train)
        return self._figures(self._valid)

    def _evaluate(self, data: Any, columns: Mapping[str, str], settings: Any) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="gatework-") as folder:
            texts = read_texts(data, column=columns.get("text"))
            stream = TokenStream.build(texts, self.tokenizer_, Path(folder) / "tokens")
            warn_of_unknown(self._say, self._unknown(stream), "the given")
            return self._figures(stream)

    def _figures(self, stream: TokenStream) -> dict[str, Any]:
        count = len(stream)

        def figures(total: float) -> dict[str, float]:
            bits = bits_per_character(total, stream.characters)
            return {**likelihood_figures(total, count), "bits_per_character": bits}

        baselines = {name: figures(total) for name, total in self._baseline_losses(stream).items()}
        return {
            **self._compared(figures(self._loss_of(stream)), baselines),
            "examples": count,
            "unit": self.noun,
            "unknown": self._unknown(stream),
        }

    def _loss_of(self, stream: TokenStream) -> float:
        return stream_loss(cast("StreamNetwork", self.network_), stream, start=self.start_token)

    def _unknown(self, stream: TokenStream) -> dict[str, float]:
        """The share of unknown tokens, of a long text among its first ones; empty where nothing can be unknown."""
        share = unknown_share(stream[:UNKNOWN_TOKENS], self.tokenizer_.unknown_id)
        return {} if share is None else {"text": share}

    @property
    def start_token(self) -> int:
        """The token before a text: a line end, or else the most frequent token."""
        ids = self.tokenizer_.encode("\n")
        return ids[0] if len(ids) == 1 and ids[0] != self.tokenizer_.unknown_id else 0
