"""The language model as a task: its tokens, its network, its training, its figures and its completions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, cast

import torch

from gatework.baselines.ngram import NGramModel
from gatework.data import TokenStream
from gatework.errors import InputError, RunError
from gatework.export.exportable import Exportable
from gatework.export.page import Page, drawn_values
from gatework.inspect import Subject
from gatework.tasks.language_model.exported import exported_error, exported_network
from gatework.tasks.language_model.generator import Generator
from gatework.tasks.language_model.network import LanguageNetwork
from gatework.tasks.language_model.options import (
    KIND_DEFAULTS,
    Completion,
    CompletionSettings,
    LanguageModelOptions,
    Prompt,
)
from gatework.tasks.language_model.session import TextSession
from gatework.tasks.language_model.subject import text_subject
from gatework.tasks.lifecycle import Lifecycle
from gatework.tasks.parameter_groups import group_of, shared_with
from gatework.tasks.session import last_records, record_of
from gatework.tasks.stream_network import StreamNetwork
from gatework.tasks.stream_task import StreamTask
from gatework.tasks.word_vectors import freeze_vectors, refuse_vectors, start_from_vectors, vectors_file
from gatework.training import ParameterGroup

__all__ = ["LanguageModel", "language_groups"]

BASELINE = "baseline.safetensors"
_TOGETHER = 256  # texts that are completed side by side
BASELINE_TOKENS = 5_000_000  # some gigabytes of memory while it is fitted


class LanguageModel(StreamTask):
    """A deep recurrent language model, trained with stateful truncated backpropagation.

    >>> model = LanguageModel(tokenizer="character", epochs=5).fit("corpus.txt", out="runs/corpus")
    >>> model.predict("Once upon a time", temperature=0.7)[0]["output"]

    The options are the fields of `LanguageModelOptions`, the settings of `predict` and `stream` those of
    `CompletionSettings`.

    Attributes:
        network_: the `LanguageNetwork`, or of an ensemble several.
    """

    name: ClassVar[str] = "language-model"
    Options = LanguageModelOptions
    Settings = CompletionSettings
    Input = Prompt
    Output = Completion

    options_: LanguageModelOptions

    # The lifecycle

    def _defaults(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return KIND_DEFAULTS[given.get("tokenizer", "character")]

    def _network(self) -> LanguageNetwork:
        size = self.tokenizer_.vocabulary_size
        sizes = {**self._sizes(LanguageNetwork), "vocabulary_size": size}
        network = LanguageNetwork(
            self.cells_["cell"], **sizes | {"cutoffs": self.options_.softmax_cutoffs(size)}
        )
        freeze_vectors(self.options_, network.embedding, self.options_.tie_weights)
        return network

    def _start_anew(self) -> None:
        if path := vectors_file(self.options_):
            words = [self.tokenizer_.token(id) for id in range(self.tokenizer_.vocabulary_size)]
            start_from_vectors(path, cast("LanguageNetwork", self.network_).embedding, words, self._say)

    def _inherited(self, parent: Lifecycle, given: Mapping[str, Any]) -> dict[str, Any]:
        refuse_vectors(given)
        inherited = super()._inherited(parent, given)
        if given.get("extend_vocabulary"):  # the clusters stay; new tokens join the last one
            known = cast("LanguageModel", parent)
            cutoffs = known.options_.softmax_cutoffs(known.tokenizer_.vocabulary_size)
            inherited |= {"adaptive_softmax": "on" if cutoffs else "off", "cutoffs": cutoffs or None}
        return inherited

    def _groups(self) -> list[ParameterGroup]:
        return language_groups(cast("LanguageNetwork", self.network_))

    # The baseline

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

    def _learn_baselines(self, train: TokenStream) -> None:
        tokens = train[max(len(train) - BASELINE_TOKENS, 0) :]
        if len(tokens) < len(train):
            self._say(f"The n-gram baseline is made from the last {len(tokens):,} tokens.")
        ngram = NGramModel(self.options_.ngram_order).fit(tokens, self.tokenizer_.vocabulary_size)
        arrays = ngram.to_arrays()
        self._ngram = NGramModel.from_arrays(arrays)  # rounded, as a loaded run has it
        self.run_.write_tensors(BASELINE, {name: torch.from_numpy(array) for name, array in arrays.items()})

    def _baseline_losses(self, stream: TokenStream) -> Mapping[str, float]:
        made = "_ngram" in self.__dict__ or (self.run_.path / BASELINE).exists()
        return {"ngram": self.baseline_.nll(stream) * len(stream)} if made else {}

    # The export

    def _exported(self) -> Exportable:
        network = cast("LanguageNetwork", self.network_)
        return Exportable(
            [exported_network(network)],
            {"tokenizer.json": self.tokenizer_.to_json().encode()},
            error=partial(exported_error, network),
        )

    def _exported_page(self) -> Page:
        network, tokenizer = cast("LanguageNetwork", self.network_), self.tokenizer_
        drawn = drawn_values(network.recurrent)
        package = "gatework.export.page"
        facts = {
            "kind": tokenizer.kind,
            "lowercase": tokenizer.lowercase,
            "start": self.start_token,
            "unknown": tokenizer.unknown_id,
            "gates": list(drawn),
        }
        return Page(
            [exported_network(network, drawn)],
            (package, "page.html"),
            [(package, "tokenizer.mjs"), (package, "page.mjs")],
            facts,
            {"tokenizer": json.dumps(json.loads(tokenizer.to_json()))},
            f"{self.name} {self.run_.path.name}",
            "What you type is read token by token; each column is the gate at one of them.",
        )

    # Completions

    def score(self, texts: Iterable[str]) -> list[dict[str, Any]]:
        """How likely each text is, read from the start of a line.

        Returns:
            For each text `{"input", "tokens", "log_probabilities", "log_probability"}`, in nats: of each
            token given those before it, and of the whole text.
        """
        self._check_fitted()
        return [self._generator.score(text) for text in ([texts] if isinstance(texts, str) else texts)]

    def session(self, *, state: bytes | None = None, **settings: Any) -> TextSession:
        """A text that is read, completed and read on; see `TextSession`. Arguments as for every task's `session`."""
        return cast("TextSession", self._session_from(state, settings))

    def _needs_whole_inputs(self) -> None:
        return None

    def _new_session(self, settings: CompletionSettings) -> TextSession:
        return TextSession(self.name, self.network_, settings, self._generator)

    def _answer(self, inputs: Sequence[str], settings: CompletionSettings) -> list[dict[str, Any]]:
        records = []
        for begin in range(0, len(inputs), _TOGETHER):
            some = inputs[begin : begin + _TOGETHER]
            records += last_records([self._new_session(settings) for _ in some], some)
        return records

    def _parts(
        self, inputs: Sequence[str], settings: CompletionSettings
    ) -> Iterator[Iterator[str | dict[str, Any]]]:
        for text in inputs:
            yield self._pieces(text, settings)

    def _pieces(self, text: str, settings: CompletionSettings) -> Iterator[str | dict[str, Any]]:
        """A beam search knows its text only at the end: then the record comes alone."""
        for event in self._new_session(settings).feed(text):
            if event["kind"] == "record":
                yield record_of(event)
            elif event["output"] and settings.beam == 1:
                yield event["output"]

    def _subject(self, input: str, record: Mapping[str, Any]) -> Subject:
        ids = [self.start_token, *self.tokenizer_.encode(input + record["output"])]
        joined = " " if self.options_.tokenizer == "word" else ""
        return text_subject(cast("LanguageNetwork", self.network_), self.tokenizer_, ids, joined)

    @property
    def _generator(self) -> Generator:
        return Generator(cast("StreamNetwork", self.network_), self.tokenizer_, self.start_token)


def language_groups(network: LanguageNetwork) -> list[ParameterGroup]:
    """Embedding, each recurrent layer, softmax. An embedding that is the softmax's too belongs to the softmax."""
    embedding, top = group_of(network, r"embedding\..*"), group_of(network, r"(projection|softmax)\..*")
    layers = [
        group_of(network, rf"recurrent\..*_l{layer}(_reverse)?(\..*)?")
        for layer in range(network.recurrent.num_layers)
    ]
    tied = shared_with(network, embedding, network.softmax)
    return [*layers, top] if tied else [embedding, *layers, top]
