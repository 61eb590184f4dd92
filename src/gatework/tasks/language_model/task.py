"""The language model as a task: its tokens, its network, its training, its figures and its completions."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from gatework.baselines.ngram import NGramModel
from gatework.data import Tokenizer, TokenStream, read_texts, text_sha256
from gatework.errors import InputError, RunError
from gatework.metrics.text import bits_per_character, likelihood_figures
from gatework.tasks.artifacts import Artifacts
from gatework.tasks.base import Figure, Task
from gatework.tasks.language_model.evaluation import stream_loss
from gatework.tasks.language_model.generator import Generator
from gatework.tasks.language_model.network import LanguageEnsemble, LanguageNetwork
from gatework.tasks.language_model.options import (
    KIND_DEFAULTS,
    Completion,
    CompletionSettings,
    LanguageModelOptions,
    Prompt,
)
from gatework.tasks.lifecycle import TrainingData
from gatework.tasks.parameter_groups import group_of, shared_with
from gatework.tasks.tokens import train_tokenizer, unknown_share, warn_of_unknown
from gatework.training import ParameterGroup, StepLoss, StreamProblem

__all__ = ["LanguageModel", "language_groups"]

HELD_BACK = 0.05
TOKENIZER = "tokenizer.json"
BASELINE = "baseline.safetensors"
BASELINE_TOKENS = 5_000_000  # some gigabytes of memory while it is fitted
UNKNOWN_TOKENS = 10_000_000  # of a text that are looked at for unknown ones
TOKENS = "tokens"  # the folder of the run with the streams; gone once the run is complete
PARTS = {"training": "train", "validation": "valid"}  # their files there


class LanguageModel(Task):
    """A deep recurrent language model, trained with stateful truncated backpropagation.

    >>> model = LanguageModel(tokenizer="character", epochs=5).fit("corpus.txt", out="runs/corpus")
    >>> model.predict("Once upon a time", temperature=0.7)[0]["output"]

    The options are the fields of `LanguageModelOptions`, the settings of `predict` and `stream` those of
    `CompletionSettings`. Without validation data the last 5 % of the tokens are held back.

    Attributes:
        network_: the `LanguageNetwork`.
        tokenizer_: the tokenizer, made from the training data.
    """

    name: ClassVar[str] = "language-model"
    Options = LanguageModelOptions
    Settings = CompletionSettings
    Input = Prompt
    Output = Completion
    columns: ClassVar[tuple[str, ...]] = ("text",)
    input_columns = (("text",),)
    headline: ClassVar[Figure] = Figure("loss", higher=False)

    options_: LanguageModelOptions
    network_: LanguageNetwork
    tokenizer_: Tokenizer

    # The lifecycle

    def _defaults(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return KIND_DEFAULTS[given.get("tokenizer", "character")]

    def _prepare(self, data: TrainingData, keep: Artifacts) -> None:
        column = data.columns.get("text")
        self._learn(read_texts(data.train, column=column), keep)
        self._train = self._stream(data, keep, "training", data.train)
        if data.valid is None:
            self._train, self._valid = self._train.split(HELD_BACK)
            held = f"{HELD_BACK:.0%} are held back ({len(self._valid):,} tokens)"
            self._say(f"No validation data: the last {held}.")
        else:
            self._valid = self._stream(data, keep, "validation", data.valid)
        for stream, whose in ((self._train, "the training"), (self._valid, "the validation")):
            warn_of_unknown(self._say, self._unknown(stream), whose)

    def _learn(self, train: Iterable[str], keep: Artifacts) -> None:
        self.tokenizer_ = keep.get(TOKENIZER, Tokenizer, lambda: train_tokenizer(self.options_, train))

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

    def _network(self) -> LanguageNetwork:
        size = self.tokenizer_.vocabulary_size
        sizes = {**self._sizes(LanguageNetwork), "vocabulary_size": size}
        return LanguageNetwork(
            self.cells_["cell"], **sizes | {"cutoffs": self.options_.softmax_cutoffs(size)}
        )

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
            groups=language_groups(self.network_),
        )

    def _clear(self) -> None:
        for name in ("_train", "_valid"):
            self.__dict__.pop(name, None)
        if self.run_.writes:
            shutil.rmtree(self.run_.path / TOKENS, ignore_errors=True)

    # Figures

    @property
    def baseline_(self) -> NGramModel:
        """The n-gram model of the training tokens; read from the run when it is first asked for."""
        if "_ngram" not in self.__dict__:
            arrays = {name: tensor.numpy() for name, tensor in self.run_.read_tensors(BASELINE).items()}
            try:
                self._ngram = NGramModel.from_arrays(arrays, str(self.run_.path / BASELINE))
            except InputError as error:
                raise RunError(error.where, error.what, error.fix) from error
        return self._ngram

    def _validation_figures(self) -> dict[str, Any]:
        tokens = self._train[max(len(self._train) - BASELINE_TOKENS, 0) :]
        if len(tokens) < len(self._train):
            self._say(f"The n-gram baseline is made from the last {len(tokens):,} tokens.")
        ngram = NGramModel(self.options_.ngram_order).fit(tokens, self.tokenizer_.vocabulary_size)
        arrays = ngram.to_arrays()
        self._ngram = NGramModel.from_arrays(arrays)  # rounded, as a loaded run has it
        self.run_.write_tensors(BASELINE, {name: torch.from_numpy(array) for name, array in arrays.items()})
        return self._figures(self._valid)

    def _evaluate(self, data: Any, columns: Mapping[str, str]) -> dict[str, Any]:
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

        # It is made when the training ends: a run that was stopped has none.
        has_baseline = "_ngram" in self.__dict__ or (self.run_.path / BASELINE).exists()
        baselines = {"ngram": figures(self.baseline_.nll(stream) * count)} if has_baseline else {}
        return {
            "model": figures(self._loss_of(stream)),
            "baseline": self.headline.strongest(baselines),
            "baselines": baselines,
            "examples": count,
            "unknown": self._unknown(stream),
        }

    def _loss_of(self, stream: TokenStream) -> float:
        return stream_loss(self.network_, stream, start=self._start)

    def _unknown(self, stream: TokenStream) -> dict[str, float]:
        """The share of unknown tokens, of a long text among its first ones; empty where nothing can be unknown."""
        share = unknown_share(stream[:UNKNOWN_TOKENS], self.tokenizer_.unknown_id)
        return {} if share is None else {"text": share}

    # Completions

    def score(self, texts: Iterable[str]) -> list[dict[str, Any]]:
        """How likely each text is, read from the start of a line.

        Returns:
            For each text `{"input", "tokens", "log_probabilities", "log_probability"}`, in nats: of each
            token given those before it, and of the whole text.
        """
        self._check_fitted()
        return [self._generator.score(text) for text in ([texts] if isinstance(texts, str) else texts)]

    def _answer(self, inputs: Sequence[str], settings: CompletionSettings) -> list[dict[str, Any]]:
        answers = []
        for text in inputs:
            *_, record = self._pieces(text, settings)
            answers.append(cast("dict[str, Any]", record))
        return answers

    def _parts(
        self, inputs: Sequence[str], settings: CompletionSettings
    ) -> Iterator[Iterator[str | dict[str, Any]]]:
        for text in inputs:
            yield self._pieces(text, settings)

    def _pieces(self, text: str, settings: CompletionSettings) -> Iterator[str | dict[str, Any]]:
        """A beam search knows its text only at the end: then the record comes alone."""
        if settings.beam > 1:
            return iter((self._generator.search(text, settings),))
        return self._generator.sample(text, settings)

    def _joined(self, networks: Sequence[nn.Module]) -> LanguageEnsemble:
        return LanguageEnsemble(cast("Sequence[LanguageNetwork]", networks))

    @property
    def _generator(self) -> Generator:
        return Generator(self.network_, self.tokenizer_, self._start)

    @property
    def _start(self) -> int:
        """The token before a text: a line end, or else the most frequent token."""
        ids = self.tokenizer_.encode("\n")
        return ids[0] if len(ids) == 1 and ids[0] != self.tokenizer_.unknown_id else 0


def language_groups(network: LanguageNetwork) -> list[ParameterGroup]:
    """Embedding, each recurrent layer, softmax. An embedding that is the softmax's too belongs to the softmax."""
    embedding, top = group_of(network, r"embedding\..*"), group_of(network, r"(projection|softmax)\..*")
    layers = [
        group_of(network, rf"recurrent\..*_l{layer}(_reverse)?(\..*)?")
        for layer in range(network.recurrent.num_layers)
    ]
    tied = shared_with(network, embedding, network.softmax)
    return [*layers, top] if tied else [embedding, *layers, top]
