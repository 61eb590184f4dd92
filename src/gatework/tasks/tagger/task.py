"""The tagger: sentences in, a tag for every word out, with spans and a label of the sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import nn

from gatework.baselines import AveragedPerceptron, Baseline, MostFrequentTag, Rival
from gatework.data import (
    Fields,
    Packed,
    TaggedSentence,
    Tagging,
    feature_rows,
    is_well_formed,
    odd_tags,
    read_tagged,
    scheme_of,
    spans_of,
    tags_of,
    token_features,
)
from gatework.data.text_features import text_features
from gatework.data.word_spans import word_spans
from gatework.errors import InputError, RunError
from gatework.metrics.bootstrap import percentile_intervals
from gatework.metrics.calibration import least_loss_temperature
from gatework.metrics.figure import Figure
from gatework.metrics.spans import figures_by_type, figures_of_sums, sentence_counts, tagging_figures
from gatework.tasks.artifacts import Artifacts
from gatework.tasks.batches import BATCH
from gatework.tasks.example_task import Example, ExampleTask
from gatework.tasks.language_model import LanguageModel
from gatework.tasks.lifecycle import Lifecycle
from gatework.tasks.parameter_groups import group_of
from gatework.tasks.tagger.decoding import Answer, decode
from gatework.tasks.tagger.exported import exported_page, exported_parts
from gatework.tasks.tagger.inputs import SentenceReader, is_one_word, with_places
from gatework.tasks.tagger.mentions import replaced
from gatework.tasks.tagger.network import (
    Scores,
    TaggedBatch,
    TaggerEnsemble,
    TaggerNetwork,
    collate,
    losses,
)
from gatework.tasks.tagger.options import TaggedRecord, TaggerInput, TaggerOptions, TaggerSettings
from gatework.tasks.tagger.session import WordReader, WordSession
from gatework.tasks.tagger.span_lists import SpanLists
from gatework.tasks.tagger.subject import subject_of
from gatework.tasks.tagger.tag_set import Gazetteers, TagSet, Temperatures
from gatework.tasks.tokens import unknown_share
from gatework.tasks.word_vectors import freeze_vectors, refuse_vectors, start_from_vectors, vectors_file
from gatework.tasks.words import WordVocabulary
from gatework.tasks.words.from_language_model import inherited_from_language_model, take_from_language_model
from gatework.training import ParameterGroup, StepLoss
from gatework.training.nested import to_device

__all__ = ["Tagger"]

WORDS, TAGS, GAZETTEERS, MOST_FREQUENT = "words.json", "tags.json", "gazetteers.json", "most_frequent.json"
TEMPERATURES, SPAN_LISTS = "temperatures.json", "span_lists.json"
_LONGEST = 2000  # words of a sentence that are tagged
_CALIBRATED = 2000  # sentences of the validation data that the temperatures are chosen on


class Tagger(ExampleTask):
    """A tag for every word of a sentence, and a label for the whole, where the data has one.

    >>> model = Tagger(epochs=15).fit("data/snips/train", valid="data/snips/valid", out="runs/snips")
    >>> model.predict("play some jazz")[0]["spans"]

    The options are the fields of `TaggerOptions`, the settings of `predict` those of `TaggerSettings`. Data is a folder
    with seq.in and seq.out (and label), such files, files of columns (CoNLL's), a table with the columns `tokens` and
    `tags`, or one with `text` and `spans` of characters; `gatework.data.read_tagged` says more. Without validation data
    5 % of the sentences are held back, drawn by `split_seed`.
    """

    name: ClassVar[str] = "tagger"
    Options = TaggerOptions
    Settings = TaggerSettings
    Input = TaggerInput
    Output = TaggedRecord
    columns: ClassVar[tuple[str, ...]] = ("tokens", "tags", "text", "spans", "label")
    input_columns = (("tokens",), ("text",))
    headline: ClassVar[Figure] = Figure("span_f1", higher=True)
    noun: ClassVar[str] = "sentences"
    fields = ("words",)
    ensemble_options: ClassVar[tuple[str, ...]] = (
        "crf",
        "learn_label",
        "side_path",
        "side_rows",
        "span_lists",
        "subword_rows",
        "bidirectional",
    )

    starts_from = ("language-model",)
    Reader = SentenceReader

    options_: TaggerOptions
    network_: TaggerNetwork | TaggerEnsemble
    vocabulary_: WordVocabulary
    tag_set_: TagSet
    _reader_of_words: WordReader | None = None

    # The lifecycle

    def _read(self, data: Any, columns: Mapping[str, str]) -> list[Example]:
        options = self.options_
        sentences = list(
            read_tagged(data, columns, tag_column=options.tag_column, cut_spans=options.cut_spans)
        )
        self._say_of(sentences)
        seen = {tag for each in sentences for tag in each.tags}
        scheme = scheme_of(seen)
        if odd := odd_tags(seen):
            self._say_of_odd(odd, sentences)
        malformed = [each for each in sentences if not is_well_formed(each.tags, scheme)]
        if malformed:
            first, count = malformed[0], len(malformed)
            if options.malformed_tags == "error":
                fix = "Mend them, or give malformed_tags=repair"
                raise InputError(
                    first.where, f"has malformed {scheme} tags ({' '.join(first.tags):.60})", fix
                )
            self._say(
                f"{count:,} sentences with malformed {scheme} tags are repaired, the first at {first.where}."
            )
        examples = []
        for each in sentences:
            if not 0 < len(each.tokens) <= _LONGEST:
                continue
            well = is_well_formed(each.tags, scheme)
            tags = each.tags if well else tags_of(spans_of(each.tags, scheme), len(each.tags), scheme)
            examples.append(Example(each.where, list(each.tokens), Tagging(tuple(tags), each.label)))
        return examples

    def _say_of(self, sentences: Sequence[TaggedSentence]) -> None:
        empty = [each for each in sentences if not each.tokens]
        long = [each for each in sentences if len(each.tokens) > _LONGEST]
        for kind, some in (("without words", empty), (f"of more than {_LONGEST:,} words", long)):
            if some:
                self._say(f"{len(some):,} sentences {kind} are left out, the first at {some[0].where}.")
        cut = [each for each in sentences if each.cut]
        if cut:
            done = "dropped" if self.options_.cut_spans == "drop" else "widened"
            count = sum(each.cut for each in cut)
            self._say(f"{count:,} spans that do not fit the words are {done}, the first at {cut[0].where}.")

    def _say_of_odd(self, odd: Sequence[str], sentences: Sequence[TaggedSentence]) -> None:
        """Spans are no spans where one tag is neither O nor a letter and a type."""
        first = next(each for each in sentences if not {*odd}.isdisjoint(each.tags))
        what = f"has the tag {odd[0]!r}, which marks no span by B, I, E or S, as other tags do"
        if self.options_.malformed_tags == "error":
            raise InputError(
                first.where, what, "Mend it, or give malformed_tags=repair: each word is then by itself"
            )
        others = f", and {len(odd) - 1:,} more such tags" if len(odd) > 1 else ""
        self._say(
            f"warning: {first.where} {what}{others}: all tags are read as plain ones, each word by itself."
        )

    def _learn(self, train: Sequence[Example], keep: Artifacts) -> None:
        options = self.options_
        for name in ("gazetteers", "span_lists"):
            if getattr(options, name) and not options.side_path:
                what = "are features of the side path, which is switched off"
                raise InputError(f"option {name}", what, "Leave them out, or give side_path=true.")
        self.vocabulary_ = keep.get(
            WORDS,
            WordVocabulary,
            lambda: WordVocabulary.learn(
                (each.input for each in train),
                lowercase=options.lowercase,
                min_frequency=options.min_frequency,
                vocabulary_size=options.vocabulary_size,
            ),
        )
        taggings = [each.output for each in train]
        self.tag_set_ = keep.get(TAGS, TagSet, lambda: TagSet.learn(taggings, with_label=options.learn_label))
        self.gazetteers_ = keep.get(GAZETTEERS, Gazetteers, lambda: Gazetteers.read(options.gazetteers))
        inputs = [each.input for each in train]
        self._span_lists = SpanLists(counts={})
        if options.span_lists:
            lists = partial(SpanLists.learn, inputs, taggings, self.tag_set_.scheme)
            self._span_lists = keep.get(SPAN_LISTS, SpanLists, lists, lambda known: known.joined(lists()))
        self._most_frequent = keep.own(
            MOST_FREQUENT, MostFrequentTag, lambda: MostFrequentTag().fit(inputs, taggings)
        )

    def _augmented(self, train: list[Example]) -> list[Example]:
        copies = self.options_.replaced_copies
        return train + replaced(train, self.tag_set_.scheme, copies, self.options_.seed) if copies else train

    def _network(self) -> TaggerNetwork:
        options = self.options_
        network = TaggerNetwork(
            self.cells_["cell"],
            tags=len(self.tag_set_.tags),
            labels=len(self.tag_set_.labels),
            counts=self.vocabulary_.counts,
            character_count=self.vocabulary_.character_count,
            **self._sizes(TaggerNetwork) | {"side_rows": options.side_rows if options.side_path else None},
        )
        freeze_vectors(options, network.encoder.embedding)
        return network

    def _groups(self) -> Sequence[ParameterGroup]:
        """What reads the words; what makes scores of them."""
        reads = group_of(self.network_, r"encoder\..*")
        return [reads, group_of(self.network_, r"(?!encoder\.).*")]

    def _encode(self, input: Any, output: Tagging | None = None) -> Fields:
        words = self._words(input)[:_LONGEST] if output is None else input
        return self._sentence(words, output, own=None)

    def _encode_training(self, example: Example) -> Fields:
        return self._sentence(example.input, example.output, own=example.output)

    def _sentence(self, words: Sequence[str], output: Tagging | None, own: Tagging | None) -> Fields:
        """The arrays of a sentence; `own` as for `SpanLists.marks`."""
        fields = dict(self.vocabulary_.encode(words, self.options_.subword_rows))
        if self.options_.side_path:
            lists = self.gazetteers_.marks(words) | self._span_lists.marks(words, own, self.tag_set_.scheme)
            features = token_features(words, lists, ahead=self.options_.bidirectional)
            rows = feature_rows(features, self.options_.side_rows)
            fields["features"] = np.asarray([row for rows_of_word in rows for row in rows_of_word], np.int32)
            fields["feature_counts"] = np.asarray([len(rows_of_word) for rows_of_word in rows], np.int32)
            if self.tag_set_.labels:
                fields["text_features"] = text_features(words, self.options_.side_rows)
        if output is not None:
            fields["tags"] = np.asarray(self.tag_set_.tag_ids(output.tags), np.int64)
            fields["label"] = np.asarray([self.tag_set_.label_id(output.label)], np.int64)
        return fields

    def _words(self, input: Any) -> list[str]:
        if isinstance(input, str):
            return [input[start:end] for start, end in word_spans(input)]
        return list(input)

    def _collate(self, rows: Sequence[Fields]) -> TaggedBatch:
        return collate(rows)

    def _loss(self, network: nn.Module, batch: TaggedBatch) -> StepLoss:
        tags, label, known = losses(network(batch), batch)
        lengths = batch.tokens.lengths.to(known.device)
        total = tags.sum() + self.options_.label_weight * label.sum()
        count = int(lengths[known].sum())  # the tags that the loss is of
        # At least one in training, so that there is a mean where a batch has none that are known.
        return StepLoss(total, max(1, count) if network.training else count)

    def _quick_figures(self, examples: Sequence[Example]) -> dict[str, float]:
        records = self._records([each.input for each in examples], self.settings(confidence=False))
        return self._score([self._scored(record) for record in records], [each.output for each in examples])

    def _quick_search(self) -> str:
        return self._search_words(self.settings())

    def _picks_checkpoint(self) -> Figure:
        name = self.options_.select_by
        return Figure(name, higher=name != "loss")

    # What is chosen on the validation data

    def _settle(self, keep: Artifacts) -> None:
        chosen = keep.renew(TEMPERATURES, Temperatures, self._temperatures)
        cast("TaggerNetwork", self.network_).temperatures = chosen.tags, chosen.label

    def _temperatures(self) -> Temperatures:
        """Those of the least loss on the first sentences of the validation data."""
        rows = [self._valid_rows[index] for index in range(min(len(self._valid_rows), _CALIBRATED))]
        with torch.inference_mode():
            batches = [
                to_device(self._collate(rows[begin : begin + BATCH]), self.device)
                for begin in range(0, len(rows), BATCH)
            ]
            scored = [(self.network_(batch), batch) for batch in batches]

            def loss(part: int, temperature: float) -> float:
                each = (losses(scores.cooled(temperature, temperature), batch) for scores, batch in scored)
                return sum(found[part].sum().item() for found in each)

            tags = least_loss_temperature(lambda temperature: loss(0, temperature))
            label = least_loss_temperature(lambda temperature: loss(1, temperature))
        return Temperatures(tags=tags, label=label if self.tag_set_.labels else 1.0)

    # What the network starts from

    def _start_anew(self) -> None:
        if path := vectors_file(self.options_):
            embedding = cast("TaggerNetwork", self.network_).encoder.embedding
            start_from_vectors(path, embedding, self.vocabulary_.words, self._say, first=1)

    def _inherited(self, parent: Lifecycle, given: Mapping[str, Any]) -> dict[str, Any]:
        refuse_vectors(given)
        if not isinstance(parent, LanguageModel):
            return super()._inherited(parent, given)
        if parent.options_.tokenizer != "word":
            what = f"has tokens that are not words (tokenizer={parent.options_.tokenizer}), and a tagger reads words"
            raise RunError(str(parent.run_.path), what, "Start from a language model of words.")
        return inherited_from_language_model(parent, given)

    def _start_from(self, parent: Lifecycle) -> None:
        if not isinstance(parent, LanguageModel):
            super()._start_from(parent)
            return
        encoder = cast("TaggerNetwork", self.network_).encoder
        self._say(take_from_language_model(encoder, self.vocabulary_, parent).in_words())

    # Figures

    def _search_words(self, settings: TaggerSettings) -> str:
        return "the likeliest well-formed tags"

    def _scored(self, record: Mapping[str, Any]) -> Tagging:
        return Tagging(tuple(record["output"]), record.get("label"))

    def _score(self, outputs: Sequence[Tagging], references: Sequence[Tagging]) -> dict[str, float]:
        tags = [each.tags for each in outputs], [each.tags for each in references]
        figures = tagging_figures(*tags, self.tag_set_.scheme)
        if self.tag_set_.labels:
            pairs = list(zip(outputs, references, strict=True))
            right = [one.label == other.label for one, other in pairs if other.label is not None]
            whole = [one.tags == other.tags and other.label in (None, one.label) for one, other in pairs]
            if right:
                figures["label_accuracy"] = sum(right) / len(right)
            figures["tags_right"] = figures["sentence_accuracy"]
            figures["sentence_accuracy"] = sum(whole) / len(whole)
        return figures

    def _baselines(self) -> Mapping[str, Baseline]:
        return {"most_frequent_tag": self._most_frequent}

    def _rivals(self) -> Sequence[Rival]:
        return [AveragedPerceptron()] if self.options_.rivals else []

    def _remarks(self, outputs: Sequence[Tagging], references: Sequence[Tagging]) -> dict[str, Any]:
        tags = [each.tags for each in outputs], [each.tags for each in references]
        unseen = Counter(tag for own in tags[1] for tag in own if tag not in self.tag_set_.tags)
        labels = Counter(
            each.label
            for each in references
            if self.tag_set_.labels and each.label not in (None, *self.tag_set_.labels)
        )
        without = sum(each.label is None for each in references) if self.tag_set_.labels else 0
        if without:
            self._say(f"{without:,} sentences have no label: figures of labels are of the others alone.")
        for what, counts in (("tags", unseen), ("labels", labels)):
            if counts:
                names = ", ".join(sorted(map(str, counts)))
                self._say(
                    f"warning: {counts.total():,} {what} are none that training has seen: {names:.200}."
                )
        return {
            "by_type": figures_by_type(*tags, self.tag_set_.scheme),
            "unseen_tags": dict(unseen),
            "unseen_labels": {str(label): count for label, count in labels.items()},
            "intervals": self._intervals(outputs, references),
        }

    def _intervals(self, outputs: Sequence[Tagging], references: Sequence[Tagging]) -> dict[str, list[float]]:
        """Of figures that are shares of sums over sentences, 95 % of the resamples."""
        tags = [each.tags for each in outputs], [each.tags for each in references]
        sums = sentence_counts(*tags, self.tag_set_.scheme)
        found = percentile_intervals(sums, figures_of_sums)
        return {name: [interval.low, interval.high] for name, interval in found.items()}

    def _unknown(self, rows: Packed) -> dict[str, float]:
        share = unknown_share(rows.arrays.get("words", np.empty(0, np.int32)), 0)
        return {} if share is None else {"words": share}

    # Predictions

    _subject, _exported, _exported_page = subject_of, exported_parts, exported_page

    def predict(
        self, inputs: Any, *, columns: Mapping[str, Any] | None = None, **settings: Any
    ) -> list[dict[str, Any]]:
        """As `Task.predict` says. In a list of strings each string is a text of its own; a sentence that is cut into
        words already stands in a list in a list, `[["go", "to", "rome"]]`. It is said where a list looks like one.
        """
        if isinstance(inputs, list | tuple) and len(inputs) > 1 and all(map(is_one_word, inputs)):
            what = f"each of the {len(inputs):,} words is tagged as a text of its own"
            self._say(
                f"warning: {what}; for a sentence of these words give a list of lists: [[{inputs[0]!r}, …]]."
            )
        return super().predict(inputs, columns=columns, **settings)

    def _outputs(self, batch: TaggedBatch, settings: TaggerSettings) -> list[Answer]:
        scores = self.network_(batch)
        return decode(scores, batch.tokens.lengths, self.tag_set_, confidence=settings.confidence)

    def _decode(self, output: Answer, row: Fields, input: Any, settings: TaggerSettings) -> dict[str, Any]:
        words = self._words(input)
        text, places = with_places(input, words)
        count = len(output.tags)
        record: dict[str, Any] = {"output": output.tags, "tokens": words[:count]}
        record["spans"] = [
            {
                "type": span.type,
                "text": text[places[span.start][0] : places[span.end - 1][1]],
                "start": places[span.start][0],
                "end": places[span.end - 1][1],
                "first": span.start,
                "last": span.end,
            }
            for span in output.spans
        ]
        if output.label is not None:
            record["label"] = output.label
        if settings.confidence:
            self._add_probabilities(record, output)
        warnings = self._warnings(words, row)
        return record | ({"warnings": warnings} if warnings else {})

    def _add_probabilities(self, record: dict[str, Any], output: Answer) -> None:
        for span, probability in zip(record["spans"], output.span_probabilities or (), strict=True):
            span["probability"] = probability
        record["probabilities"] = output.probabilities
        record["second"] = [
            None if each is None else {"tag": self.tag_set_.tags[each.id], "probability": each.probability}
            for each in output.second or ()
        ]
        if output.label is not None:
            record["label_probability"] = output.label_probability
            if output.second_label is not None:
                id, probability = output.second_label
                record["second_label"] = {"tag": self.tag_set_.labels[id], "probability": probability}

    def _warnings(self, words: Sequence[str], row: Fields) -> list[str]:
        warnings = []
        if not words:
            warnings.append("the input has no words")
        if len(words) > _LONGEST:
            warnings.append(f"the input has {len(words):,} words; the first {_LONGEST:,} are tagged")
        if any(map(len, words)) and not np.any(row["words"]):
            warnings.append("no word of the input is in the vocabulary")
        return warnings

    def session(self, *, state: bytes | None = None, **settings: Any) -> WordSession:
        """A sentence that is tagged word by word: see `WordSession`. Arguments as for every task's `session`; the run
        has `bidirectional=false` and `learn_label=false`.
        """
        return cast("WordSession", self._session_from(state, settings))

    def word_stream(self) -> WordSession:
        """As `session`."""
        return self.session()

    def _needs_whole_inputs(self) -> tuple[str, str] | None:
        options = self.options_
        whole = (options.bidirectional, self.members_, self.tag_set_.labels)
        if not any((*whole, options.gazetteers, options.span_lists)):
            return None
        return (
            "reads whole sentences: its tags depend on words that come later",
            "Train with bidirectional=false and learn_label=false, without gazetteers and span_lists.",
        )

    def _new_session(self, settings: TaggerSettings) -> WordSession:
        network = cast("TaggerNetwork", self.network_)
        if self._reader_of_words is None or self._reader_of_words.network is not network:
            self._reader_of_words = WordReader(
                network,
                self.vocabulary_,
                self.tag_set_,
                self._record_of_words,
                subword_rows=self.options_.subword_rows,
                most=_LONGEST,
            )
        return WordSession(self.name, settings, self._reader_of_words)

    def _record_of_words(self, words: list[str], scores: Scores, settings: TaggerSettings) -> dict[str, Any]:
        """What `predict` says of a sentence's words with such scores."""
        lengths = torch.tensor([len(words)])
        (answer,) = decode(scores, lengths, self.tag_set_, confidence=settings.confidence)
        return self._decode(answer, self.vocabulary_.encode(words), words, settings)

    def _joined(self, networks: Sequence[nn.Module]) -> TaggerEnsemble:
        return TaggerEnsemble(cast("Sequence[TaggerNetwork]", networks))
