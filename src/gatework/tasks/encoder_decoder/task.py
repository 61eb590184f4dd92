"""A task that answers a text with a text: its vocabularies, its network, its outputs and their scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import nn

from gatework.data import Fields, Packed
from gatework.errors import InputError
from gatework.export.exportable import Exportable
from gatework.inspect import Subject
from gatework.metrics.figure import Figure
from gatework.metrics.text import likelihood_figures
from gatework.seq2seq import EncoderDecoder, EncoderDecoderEnsemble, Hypothesis
from gatework.tasks.artifacts import Artifacts, JsonArtifact
from gatework.tasks.encoder_decoder.batch import PairBatch, collate
from gatework.tasks.encoder_decoder.exported import exported_parts
from gatework.tasks.encoder_decoder.options import EncoderDecoderOptions, SearchSettings
from gatework.tasks.encoder_decoder.predictor import SequencePredictor
from gatework.tasks.encoder_decoder.subject import pair_subject
from gatework.tasks.encoder_decoder.vocabulary import Vocabulary
from gatework.tasks.example_task import Example, ExampleTask
from gatework.tasks.extended_vocabulary import learned_tokenizer, take_known_rows
from gatework.tasks.lifecycle import Lifecycle, TrainingData
from gatework.tasks.parameter_groups import group_of, shared_with
from gatework.tasks.tokens import unknown_share, warn_of_unknown
from gatework.tasks.word_vectors import freeze_vectors, refuse_vectors, start_from_vectors, vectors_file
from gatework.training import ParameterGroup, StepLoss
from gatework.training.nested import to_device

__all__ = ["EncoderDecoderTask"]

TOKENIZERS = ("source_tokenizer.json", "target_tokenizer.json")
SHARED_TOKENIZER = "tokenizer.json"
LENGTHS = "data.json"


class Lengths(JsonArtifact):
    """What the training data was like."""

    longest_source: int


class EncoderDecoderTask(ExampleTask):
    """A task that answers a text with a text, by an encoder-decoder with attention (Bahdanau et al. 2014).

    Attributes:
        network_: the `EncoderDecoder`, or of an ensemble several.
        vocabularies_: of the source and of the target.
    """

    cells: ClassVar[Mapping[str, str]] = {"cell": "cell.json", "decoder_cell": "decoder_cell.json"}
    headline: ClassVar[Figure] = Figure("bleu", higher=True)
    noun: ClassVar[str] = "pairs"
    fields = ("source", "target")

    options_: EncoderDecoderOptions
    network_: EncoderDecoder | EncoderDecoderEnsemble
    vocabularies_: tuple[Vocabulary, Vocabulary]

    # The lifecycle

    def _with_text(self, examples: Iterable[Example]) -> list[Example]:
        """The pairs with text on both sides; what is left out is said."""
        kept: list[Example] = []
        empty: list[Example] = []
        for example in examples:
            has_text = self._source_text(example.input).strip() and example.output.strip()
            (kept if has_text else empty).append(example)
        if empty:
            self._say(f"{len(empty):,} pairs with an empty side are left out, the first at {empty[0].where}.")
        if not kept:
            raise InputError("data", "holds no pair with text on both sides", "Give pairs of texts")
        return kept

    def _prepare(self, data: TrainingData, keep: Artifacts) -> None:
        super()._prepare(data, keep)
        longest = max((length for (length,) in self._train_rows.lengths("source")), default=1)
        self._lengths = keep.own(LENGTHS, Lengths, lambda: Lengths(longest_source=longest))
        for rows, whose in ((self._train_rows, "the training"), (self._valid_rows, "the validation")):
            warn_of_unknown(self._say, self._unknown(rows), whose)

    def _unknown(self, rows: Packed) -> dict[str, float]:
        shares = {}
        for side, vocabulary in zip(self.fields, self.vocabularies_, strict=True):
            ids = rows.arrays.get(side, np.empty(0, np.int32))
            share = unknown_share(ids[ids != vocabulary.boundary], vocabulary.unknown)
            if share is not None:
                shares[side] = share
        return shares

    def _learn(self, train: Sequence[Example], keep: Artifacts) -> None:
        options = self.options_

        def learned(file: str, texts: Callable[[], Iterable[str]]) -> Vocabulary:
            end = "" if options.tokenizer == "character" else "\n"
            return Vocabulary(
                learned_tokenizer(keep, file, options, lambda: (text + end for text in texts()), self._say)
            )

        def sources() -> Iterator[str]:
            return (self._source_text(each.input) for each in train)

        def targets() -> Iterator[str]:
            return (each.output for each in train)

        if options.shared_vocabulary:
            both = learned(
                SHARED_TOKENIZER, lambda: chain.from_iterable(zip(sources(), targets(), strict=True))
            )
            self.vocabularies_ = both, both
        else:
            self.vocabularies_ = learned(TOKENIZERS[0], sources), learned(TOKENIZERS[1], targets)
        if keep.finished:
            self._lengths = keep.read(LENGTHS, Lengths)

    def _network(self) -> EncoderDecoder:
        options = self.options_
        network = EncoderDecoder(
            self.cells_["cell"],
            self.cells_["decoder_cell"],
            source_vocabulary=self.vocabularies_[0].size,
            target_vocabulary=self.vocabularies_[1].size,
            encoder_layers=options.num_layers,
            share_embeddings=options.shared_vocabulary,
            **self._sizes(EncoderDecoder),
        )
        freeze_vectors(options, network.source_embedding, options.tie_weights and options.shared_vocabulary)
        if options.target_vectors is not None:
            freeze_vectors(options, network.target_embedding, options.tie_weights)
        return network

    def _inherited(self, parent: Lifecycle, given: Mapping[str, Any]) -> dict[str, Any]:
        refuse_vectors(given)
        return super()._inherited(parent, given)

    def _start_from(self, parent: Lifecycle) -> None:
        take_known_rows(self.network_, parent.network_.state_dict(), last=1)  # the boundary

    def _start_anew(self) -> None:
        network = cast("EncoderDecoder", self.network_)
        sides = (("word_vectors", network.source_embedding), ("target_vectors", network.target_embedding))
        for (option, embedding), vocabulary in zip(sides, self.vocabularies_, strict=True):
            if path := vectors_file(self.options_, option):
                words = [vocabulary.tokenizer.token(id) for id in range(vocabulary.tokenizer.vocabulary_size)]
                start_from_vectors(path, embedding, words, self._say)

    def _groups(self) -> Sequence[ParameterGroup]:
        """What reads the source, the decoder, the softmax with the target's embedding (shared rows belong to it)."""
        network = cast("EncoderDecoder", self.network_)
        top = group_of(network, r"(target_embedding|readout|softmax)\..*")
        encoder = group_of(network, r"(source_embedding|encoder)\..*")
        decoder = group_of(network, r"(summary|bridge|decoder|upper)\..*")
        shared = shared_with(network, encoder, network.target_embedding)
        return [ParameterGroup(tuple(n for n in encoder.names if n not in shared)), decoder, top]

    def _encode(self, input: Any, output: str | None = None) -> Fields:
        text = self._source_text(input)
        if output is None:
            return self._predictor.encode(text)
        source, target = self.vocabularies_
        return {
            "source": np.asarray(source.encode(text), np.int32),
            "target": np.asarray(target.encode(output), np.int32),
        }

    def _collate(self, rows: Sequence[Fields]) -> PairBatch:
        return collate(rows, self.vocabularies_)

    def _loss(self, network: nn.Module, batch: PairBatch) -> StepLoss:
        sampling = {"sampling": self.options_.scheduled_sampling} if network.training else {}
        return StepLoss(network(*batch, **sampling), int(batch.target_lengths.sum()))  # type: ignore[union-attr]

    def _likelihood(self, total: float, count: int) -> dict[str, float]:
        return likelihood_figures(total, count)

    # Outputs

    def _source_text(self, input: Any) -> str:
        """The text that the network reads for an input."""
        text: str = input
        return text

    def _outputs(self, batch: PairBatch, settings: SearchSettings) -> list[list[Hypothesis]]:
        return self._predictor.search(batch.source, batch.source_lengths, settings)

    def _decode(
        self, output: list[Hypothesis], row: Fields, input: Any, settings: SearchSettings
    ) -> dict[str, Any]:
        return self._predictor.record(output, row, self._source_text(input), settings)

    def _subject(self, input: Any, record: Mapping[str, Any]) -> Subject:
        batch = to_device(self._collate([self._encode(input, record["output"])]), self.device)
        joined = " " if self.options_.tokenizer == "word" else ""
        return pair_subject(cast("EncoderDecoder", self.network_), batch, self.vocabularies_, joined)

    def _search_words(self, settings: SearchSettings) -> str:
        return settings.in_words()

    def _parts(
        self, inputs: Sequence[Any], settings: SearchSettings
    ) -> Iterator[Iterator[str | dict[str, Any]]]:
        if settings.temperature == 0:
            yield from super()._parts(inputs, settings)
            return
        for item in inputs:  # draws of a batch depend on all of its rows, and so on which of them were there
            yield from super()._parts([item], settings)

    def score(self, pairs: Iterable[tuple[Any, str]]) -> list[dict[str, Any]]:
        """How likely given outputs are.

        Returns:
            For each (input, output) `{"source", "target", "log_probability", "tokens"}`: in nats, of the whole
            output with its end.
        """
        self._check_fitted()
        records = []
        for source, target in pairs:
            batch = self._collate([self._encode(self._reader().input(source), target)])
            with torch.inference_mode():
                value = -self.network_.losses(*to_device(batch, self.device)).sum()
            count = int(batch.target_lengths[0])  # type: ignore[index]
            records.append(
                {"source": source, "target": target, "log_probability": value.item(), "tokens": count}
            )
        return records

    def _exported(self) -> Exportable:
        return exported_parts(
            cast("EncoderDecoder", self.network_), self.vocabularies_, self._exported_facts()
        )

    def _exported_facts(self) -> dict[str, Any]:
        """What a program that runs an export must know of this task beside the network."""
        return {}

    def _joined(self, networks: Sequence[nn.Module]) -> EncoderDecoderEnsemble:
        return EncoderDecoderEnsemble(cast("Sequence[EncoderDecoder]", networks))

    @property
    def _predictor(self) -> SequencePredictor:
        network = self.network_
        networks = network.networks if isinstance(network, EncoderDecoderEnsemble) else (network,)
        return SequencePredictor(networks, self.vocabularies_, self._lengths.longest_source)
