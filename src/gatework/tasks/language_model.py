"""The language model: reads text, says how likely it is, and goes on with it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch

from gatework.baselines.ngram import NGramModel
from gatework.data import Tokenizer, TokenStream, read_texts, text_sha256
from gatework.errors import InputError
from gatework.graph import Cell
from gatework.metrics.text import bits_per_character, likelihood_figures
from gatework.tasks.base import Task
from gatework.tasks.completion import Completer
from gatework.tasks.kept_cell import choose_cell, read_cell
from gatework.tasks.language_network import LanguageNetwork
from gatework.tasks.language_options import (
    KIND_DEFAULTS,
    STRUCTURE,
    Completion,
    CompletionSettings,
    LanguageModelOptions,
    Prompt,
)
from gatework.tasks.language_problem import language_problem, stream_loss
from gatework.tasks.options import inherited_options
from gatework.training import RunFolder, StreamProblem

__all__ = ["LanguageModel"]

NETWORK_OPTIONS = (
    "embedding_size",
    "hidden_size",
    "num_layers",
    "proj_size",
    "residual",
    "tie_weights",
    "embedding_dropout",
    "dropout",
    "output_dropout",
    "recurrent_dropout",
    "zoneout",
)

HELD_BACK = 0.05
CELL = "cell.json"
BASELINE = "baseline.safetensors"
BASELINE_TOKENS = 5_000_000  # some gigabytes of memory while it is fitted
PARTS = {"training": "train", "validation": "valid"}
TOKENS = "tokens"  # the folder of the run with the streams; gone once the run is complete


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

    options_: LanguageModelOptions
    network_: LanguageNetwork
    tokenizer_: Tokenizer
    _ngram: NGramModel | None

    # The lifecycle's parts

    def _defaults(self, given: Mapping[str, Any], parent: Self | None) -> dict[str, Any]:
        if parent is None:
            return KIND_DEFAULTS[given.get("tokenizer", "character")]
        kind = KIND_DEFAULTS[parent.options_.tokenizer]
        return {**kind, **inherited_options(parent.options_, STRUCTURE, given)}

    def _prepare(
        self, run: RunFolder, data: Any, valid: Any, columns: Mapping[str, str], parent: Self | None
    ) -> StreamProblem:
        options = self.options_
        column = columns.get("text")
        self._ngram = None
        named = "cell" in self.options.model_fields_set
        parent_cell = None if parent is None else parent.network_.recurrent.cell

        def make() -> tuple[Cell, TokenStream, TokenStream | None]:
            chosen = cast("LanguageModelOptions", self.options).cell if named else options.cell
            cell = choose_cell(run, CELL, chosen, named=named, parent=parent_cell)
            run.write_text(CELL, cell.to_json())
            if (run.path / "tokenizer.json").exists():
                self.tokenizer_ = self._read_tokenizer(run)
            elif parent is not None:
                self.tokenizer_ = parent.tokenizer_
            else:
                self.tokenizer_ = Tokenizer.train(
                    options.tokenizer,
                    read_texts(data, column=column),
                    vocabulary_size=options.vocabulary_size,
                    min_frequency=options.min_frequency,
                    lowercase=options.lowercase,
                )
            run.write_text("tokenizer.json", self.tokenizer_.to_json())
            train = self._stream(run, "training", data, column)
            return cell, train, None if valid is None else self._stream(run, "validation", valid, column)

        def read() -> tuple[Cell, TokenStream, TokenStream | None]:
            self.tokenizer_ = self._read_tokenizer(run)
            train = TokenStream.open(run.path / TOKENS / PARTS["training"])
            held = run.path / TOKENS / PARTS["validation"]
            return read_cell(run, CELL), train, None if valid is None else TokenStream.open(held)

        cell, train, held = self._processes.first(make, read)
        if held is None:
            train, held = train.split(HELD_BACK)
            self._say(f"No validation data: the last {HELD_BACK:.0%} are held back ({len(held):,} tokens).")
        self._train, self._valid = train, held

        torch.manual_seed(options.seed)
        self.network_ = self._build_network(cell)
        if parent is not None:
            self.network_.load_state_dict(parent.network_.state_dict())
        return language_problem(
            self.network_,
            train,
            held,
            batch_size=options.batch_size,
            steps=options.steps,
            start=self._start,
        )

    def _stream(self, run: RunFolder, part: str, data: Any, column: str | None) -> TokenStream:
        """The tokens of a part of the data: those that the run holds already, if they are of this very text."""
        path = run.path / TOKENS / PARTS[part]
        given = None
        if part in self._sources.recorded:  # the run has begun: other data is refused before it is tokenized
            given = self._sources.unchanged(part) or text_sha256(read_texts(data, column=column))
            self._sources.note(part, given)
        if path.exists():
            stream = TokenStream.open(path)
            if stream.sha256 in (None, given):  # None: an earlier version wrote it
                return stream
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = TokenStream.build(read_texts(data, column=column), self.tokenizer_, path)
        if stream.sha256 is not None:
            self._sources.note(part, stream.sha256)
        return stream

    @staticmethod
    def _read_tokenizer(run: RunFolder) -> Tokenizer:
        return Tokenizer.from_json(run.read_text("tokenizer.json"), str(run.path / "tokenizer.json"))

    def _build_network(self, cell: Cell) -> LanguageNetwork:
        size = self.tokenizer_.vocabulary_size
        sizes = {name: getattr(self.options_, name) for name in NETWORK_OPTIONS}
        cutoffs = self.options_.softmax_cutoffs(size)
        try:
            return LanguageNetwork(cell, vocabulary_size=size, cutoffs=cutoffs, **sizes)
        except ValueError as error:
            raise InputError(
                f"cell {cell.name}", str(error).rstrip("."), "Change the options or the cell."
            ) from error

    def _restore(self, run: RunFolder) -> None:
        cell = read_cell(run, CELL)
        # From now on the cell is its graph: training again must not run the file that the run names.
        self.options = self.options_ = self.options_.model_copy(update={"cell": cell})
        self.tokenizer_ = self._read_tokenizer(run)
        self.network_ = self._build_network(cell)
        run.read_model(self.network_)
        self.network_.eval()
        self._ngram = None

    @property
    def baseline_(self) -> NGramModel:
        """The n-gram model of the training tokens; read from the run when it is first asked for."""
        if self._ngram is None:
            arrays = {name: tensor.numpy() for name, tensor in self.run_.read_tensors(BASELINE).items()}
            self._ngram = NGramModel.from_arrays(arrays, str(self.run_.path / BASELINE))
        return self._ngram

    def _clear(self, run: RunFolder) -> None:
        del self._train, self._valid
        if run.writes:
            shutil.rmtree(run.path / TOKENS, ignore_errors=True)

    # Figures

    def _validation_figures(self) -> dict[str, Any]:
        self.network_.eval()
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
            return self._figures(TokenStream.build(texts, self.tokenizer_, Path(folder) / "tokens"))

    def _figures(self, stream: TokenStream) -> dict[str, Any]:
        count, characters = len(stream), stream.characters
        model = _figures(stream_loss(self.network_, stream, start=self._start), count, characters)
        baselines = {"ngram": _figures(self.baseline_.nll(stream) * count, count, characters)}
        return {"model": model, "baseline": baselines["ngram"], "baselines": baselines, "examples": count}

    # Completions

    def score(self, texts: Iterable[str]) -> list[dict[str, Any]]:
        """How likely each text is, read from the start of a line.

        Returns:
            For each text `{"input", "tokens", "log_probabilities", "log_probability"}`, in nats: of each
            token given those before it, and of the whole text.
        """
        completer = self._completer()
        return [completer.score(text) for text in ([texts] if isinstance(texts, str) else texts)]

    def stream(self, item: str, **settings: Any) -> Iterator[str | dict[str, Any]]:
        """Pieces of the completion's text as they are drawn, and last the whole record.

        A beam search knows its text only at the end: then the record comes alone.
        """
        chosen = self._read_settings(settings)
        self._check_input(item)
        if chosen.beam > 1:
            yield self._completer().search(item, chosen)
        else:
            yield from self._completer().draw(item, chosen)

    def _predict(self, item: str, settings: CompletionSettings) -> dict[str, Any]:
        if settings.beam > 1:
            return self._completer().search(item, settings)
        *_, record = self._completer().draw(item, settings)
        return cast("dict[str, Any]", record)

    def _completer(self) -> Completer:
        self._check_fitted()
        return Completer(self.network_, self.tokenizer_, self._start)

    @property
    def _start(self) -> int:
        """The token before a text: a line end, or else the most frequent token."""
        ids = self.tokenizer_.encode("\n")
        return ids[0] if len(ids) == 1 and ids[0] != self.tokenizer_.unknown_id else 0


def _figures(total: float, count: int, characters: int) -> dict[str, float]:
    """Of a loss in nats, summed over `count` tokens."""
    return {
        **likelihood_figures(total, count),
        "bits_per_character": bits_per_character(total, characters),
    }
