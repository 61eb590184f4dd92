"""The classifier: a text or a numeric sequence in, a label or several out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatework.baselines import Baseline, MostCommon, MostCommonSet, Rival
from gatework.baselines.linear import check_scikit_learn
from gatework.baselines.linear_series import LinearSeries
from gatework.baselines.linear_text import LinearText
from gatework.data import Fields, Packed, Tokenizer
from gatework.data.labelled import check_labels, label_counts, read_labelled
from gatework.errors import InputError, RunError
from gatework.metrics.calibration import Calibration, best_share, best_thresholds, fit_temperature
from gatework.metrics.classification import label_figures
from gatework.metrics.figure import Figure
from gatework.tasks.artifacts import Artifacts
from gatework.tasks.batches import answer_in_batches
from gatework.tasks.classifier.answers import Scored, label_probabilities, label_record
from gatework.tasks.classifier.decisions import Decisions, Labels, mixed, rival_probabilities
from gatework.tasks.classifier.explanation import weigh_tokens
from gatework.tasks.classifier.exported import exported_page, exported_parts
from gatework.tasks.classifier.figures import label_remarks, label_scores, probability_figures
from gatework.tasks.classifier.inputs import (
    ClassifierInputs,
    ClassifierReader,
    Scales,
    SequenceInputs,
    TextInputs,
    looks_numeric,
    splitter,
)
from gatework.tasks.classifier.network import (
    ClassifierBatch,
    ClassifierEnsemble,
    ClassifierNetwork,
    SequenceEncoder,
    StatisticsSide,
    TextSide,
)
from gatework.tasks.classifier.options import (
    ClassificationRecord,
    ClassificationSettings,
    ClassifierInput,
    ClassifierOptions,
)
from gatework.tasks.classifier.session import LabelReader, LabelSession
from gatework.tasks.classifier.subject import subject_of
from gatework.tasks.example_task import Example, ExampleTask
from gatework.tasks.language_model import LanguageModel
from gatework.tasks.lifecycle import Lifecycle, TrainingData
from gatework.tasks.options import shared_options
from gatework.tasks.parameter_groups import group_of
from gatework.tasks.tokens import train_tokenizer, unknown_share, warn_of_unknown
from gatework.tasks.word_vectors import freeze_vectors, refuse_vectors, start_from_vectors, vectors_file
from gatework.tasks.words import TokenEncoder, WordVocabulary
from gatework.tasks.words.from_language_model import inherited_from_language_model, take_from_language_model
from gatework.tasks.words.vocabulary import UNKNOWN
from gatework.training import ParameterGroup, StepLoss
from gatework.training.nested import to_device

__all__ = ["Classifier"]

TOKENIZER, VOCABULARY, SCALES, LABELS = "tokenizer.json", "vocabulary.json", "scales.json", "labels.json"
DECISIONS, MOST_COMMON = "decisions.json", "most_common.json"
UNKNOWN_LABEL = -1
SHOWN_LABELS = 5


class Classifier(ExampleTask):
    """Labels for texts or numeric sequences: recurrent layers, pooled, and a linear model beside them.

    >>> model = Classifier(epochs=5).fit("reviews.csv", columns={"text": "review", "label": "stars"}, out="runs/stars")
    >>> model.predict("What a lovely day!")[0]["output"]

    The options are the fields of `ClassifierOptions`, the settings of `predict` those of `ClassificationSettings`.
    Data is a table with the columns `text` (or `sequence`) and `label`, or what else `read_labelled` reads. The linear
    model of a text's words, pairs and pieces of words is a part of the network (Cheng et al. 2016, "Wide & deep
    learning"): the network begins as this model, and the recurrent layers add what it cannot see. Temperature and
    thresholds are chosen on the validation data (Guo et al. 2017).

    Attributes:
        labels_: the names of the labels.
        decisions_: how labels are made of scores.
    """

    name: ClassVar[str] = "classifier"
    Options = ClassifierOptions
    Settings = ClassificationSettings
    Input = ClassifierInput
    Output = ClassificationRecord
    columns: ClassVar[tuple[str, ...]] = ("text", "sequence", "label")
    input_columns = (("text",), ("sequence",))
    headline: ClassVar[Figure] = Figure("macro_f1", higher=True)
    ensemble_options = (
        "input",
        "several",
        "mix_rival",
        "tokenizer",
        "max_length",
        "side_path",
        "side_rows",
        "subword_rows",
    )
    starts_from = ("language-model",)
    Reader = ClassifierReader

    options_: ClassifierOptions
    network_: ClassifierNetwork | ClassifierEnsemble
    decisions_: Decisions = Decisions()
    _reader_of_parts: LabelReader | None = None

    # What is learned before there is a network

    def _prepare(self, data: TrainingData, keep: Artifacts) -> None:
        if self.options_.input == "auto":
            kind = "sequence" if looks_numeric(data.train, data.columns) else "text"
            self.options_ = self.options_.model_copy(update={"input": kind})
        super()._prepare(data, keep)
        for rows, whose in ((self._train_rows, "the training"), (self._valid_rows, "the validation")):
            warn_of_unknown(self._say, self._unknown(rows), whose)

    def _unknown(self, rows: Packed) -> dict[str, float]:
        share = unknown_share(rows.arrays.get("words", np.empty(0, np.int32)), UNKNOWN)
        return {} if share is None else {"text": share}

    def _read(self, data: Any, columns: Mapping[str, str]) -> list[Example]:
        options = self.options_
        found = read_labelled(data, columns, several=options.several, numeric=options.input == "sequence")
        return [Example(*each) for each in found]

    def _learn(self, train: Sequence[Example], keep: Artifacts) -> None:
        options = self.options_

        def labels() -> Labels:
            counts = label_counts(each.output for each in train)
            check_labels(counts, options.several)
            if once := [name for name, count in counts.items() if count == 1]:
                what = "labels have a single example in the training data"
                self._say(f"warning: {len(once):,} {what}: {', '.join(once[:SHOWN_LABELS])}.")
            return Labels(names=tuple(counts), counts=tuple(counts.values()), examples=len(train))

        def vocabulary() -> WordVocabulary:
            split = splitter(options.tokenizer, self._tokenizer)
            texts = ([token.text for token in split(each.input)] for each in train)
            pairs = options.tokenizer == "bpe"  # whose tokenizer has followed these options
            return WordVocabulary.learn(
                texts,
                lowercase=options.lowercase,
                min_frequency=1 if pairs else options.min_frequency,
                vocabulary_size=None if pairs else options.vocabulary_size,
            )

        self._labels = keep.get(LABELS, Labels, labels)
        self.labels_ = list(self._labels.names)
        kind = MostCommonSet if options.several else MostCommon
        self._most_common = keep.own(MOST_COMMON, kind, lambda: _most_common(train, kind))
        if options.input == "sequence":
            scales = keep.get(SCALES, Scales, lambda: Scales.learn(each.input for each in train))
            self._inputs: ClassifierInputs = SequenceInputs(scales, side=options.side_path)
        else:
            self._tokenizer = None
            if options.tokenizer == "bpe":
                texts = (each.input + "\n" for each in train)
                self._tokenizer = keep.get(TOKENIZER, Tokenizer, lambda: train_tokenizer(options, texts))
            self._inputs = TextInputs(
                keep.get(VOCABULARY, WordVocabulary, vocabulary),
                splitter(options.tokenizer, self._tokenizer),
                side_rows=options.side_rows if options.side_path else 0,
                subword_rows=options.subword_rows if options.tokenizer == "word" else 0,
                most=options.max_length,
            )
        self.fields = (self._inputs.field,)

    def _rivals(self) -> Sequence[Rival]:
        options = self.options_
        if not options.rivals:
            return ()
        return [(LinearSeries if options.input == "sequence" else LinearText)(several=options.several)]

    def _check_packages(self) -> None:
        super()._check_packages()
        if self.options_.mix_rival and not self.options_.rivals:
            what = "mixes in the probabilities of the rival, which rivals=false leaves out"
            raise InputError("option mix_rival", what, "Give rivals=true.")
        if self.options_.rivals:
            check_scikit_learn()

    def _baselines(self) -> Mapping[str, Baseline]:
        return {"most_common": self._most_common}

    # The network

    def _network(self) -> ClassifierNetwork:
        options, labels, inputs = self.options_, len(self.labels_), self._inputs
        side: nn.Module | None = None
        if isinstance(inputs, SequenceInputs):
            encoder: SequenceEncoder | TokenEncoder = SequenceEncoder(
                self.cells_["cell"], channels=inputs.scales.channels, **self._sizes(SequenceEncoder)
            )
            if options.side_path:
                side = StatisticsSide(inputs.scales.statistics, labels, options.side_dropout)
        else:
            vocabulary = cast("TextInputs", inputs).vocabulary
            sizes = self._sizes(TokenEncoder)
            if options.tokenizer != "word":
                sizes |= {"character_size": 0, "subword_rows": 0}
            encoder = TokenEncoder(
                self.cells_["cell"],
                counts=vocabulary.counts,
                character_count=vocabulary.character_count,
                **sizes,
            )
            freeze_vectors(options, encoder.embedding)
            if options.side_path:
                side = TextSide(options.side_rows, labels, options.side_dropout)
        return ClassifierNetwork(encoder, labels, side=side, **self._sizes(ClassifierNetwork))

    def _joined(self, networks: Sequence[nn.Module]) -> ClassifierEnsemble:
        return ClassifierEnsemble(cast("Sequence[ClassifierNetwork]", networks))

    def _groups(self) -> Sequence[ParameterGroup]:
        network = cast("ClassifierNetwork", self.network_)
        names = (
            r"encoder\.(embedding|subwords|characters)\..*",
            r"encoder\.recurrent\..*",
            r"(pooling|output|side)\..*",
        )
        return [group for name in names if (group := group_of(network, name)).names]

    def _start_anew(self) -> None:
        if path := vectors_file(self.options_):
            encoder = cast("ClassifierNetwork", self.network_).encoder
            if not isinstance(encoder, TokenEncoder):
                what = "is given, and the sequences of numbers have no words"
                raise InputError("option word_vectors", what, "Leave it out.")
            words = cast("TextInputs", self._inputs).vocabulary.words
            start_from_vectors(path, encoder.embedding, words, self._say, first=1)

    # From a language model

    def _inherited(self, parent: Lifecycle, given: Mapping[str, Any]) -> dict[str, Any]:
        refuse_vectors(given)
        if not isinstance(parent, LanguageModel):
            return super()._inherited(parent, given)
        tokens = shared_options({"tokenizer": parent.options_.tokenizer}, given)
        return {"input": "text"} | tokens | inherited_from_language_model(parent, given)

    def _start_from(self, parent: Lifecycle) -> None:
        if not isinstance(parent, LanguageModel):
            super()._start_from(parent)
            return
        encoder = cast("TokenEncoder", cast("ClassifierNetwork", self.network_).encoder)
        vocabulary = cast("TextInputs", self._inputs).vocabulary
        self._say(take_from_language_model(encoder, vocabulary, parent).in_words())

    # Batches

    def _encode_all(self, inputs: Sequence[Any]) -> list[Fields]:
        rows = super()._encode_all(inputs)
        if self.decisions_.rival_share:
            beside = self._beside(inputs).astype(np.float32)
            rows = [{**row, "rival": own} for row, own in zip(rows, beside, strict=True)]
        return rows

    def _beside(self, inputs: Sequence[Any]) -> np.ndarray:
        return rival_probabilities(self.rivals_, inputs, self.labels_, str(self.run_.path))

    def _encode(self, input: Any, output: Any = None) -> Fields:
        fields = self._inputs.encode(input)
        if output is None:
            return fields
        places = {name: index for index, name in enumerate(self.labels_)}
        if self.options_.several:
            targets = np.zeros(len(places), np.int32)
            targets[[places[name] for name in output if name in places]] = 1
        else:
            targets = np.array([places.get(output, UNKNOWN_LABEL)], np.int32)
        return {**fields, "targets": targets}

    def _collate(self, rows: Sequence[Fields]) -> ClassifierBatch:
        source, side = self._inputs.collate(rows)
        targets = None
        if "targets" in rows[0]:
            stacked = torch.from_numpy(np.stack([row["targets"] for row in rows]))
            targets = stacked.float() if self.options_.several else stacked[:, 0].long()
        rival = torch.from_numpy(np.stack([row["rival"] for row in rows])) if "rival" in rows[0] else None
        return ClassifierBatch(source, side, targets, rival)

    def _loss(self, network: nn.Module, batch: ClassifierBatch) -> StepLoss:
        scores, targets = network(batch), cast("Tensor", batch.targets)
        balanced = network.training and self.options_.weights == "balanced"
        weights = self._weights.to(scores) if balanced else None
        if self.options_.several:
            own = F.binary_cross_entropy_with_logits(scores, targets, pos_weight=weights, reduction="sum")
            return StepLoss(own, len(targets))
        total = F.cross_entropy(scores, targets, weight=weights, ignore_index=UNKNOWN_LABEL, reduction="sum")
        count = int((targets != UNKNOWN_LABEL).sum())
        # At least one in training, so that there is a mean where a batch has none of the labels.
        return StepLoss(total, max(1, count) if network.training else count)

    @property
    def _weights(self) -> Tensor:
        """(K,) of each label, so that all weigh alike; with several, of the examples that have it beside the others."""
        counts = torch.tensor(self._labels.counts, dtype=torch.float64)
        if self.options_.several:
            return (self._labels.examples - counts).clamp(min=1) / counts
        return counts.sum() / (len(counts) * counts)

    # What is chosen on the validation data

    def _settle(self, keep: Artifacts) -> None:
        self.decisions_ = keep.renew(DECISIONS, Decisions, self._decide)
        sizes = {len(self.decisions_.bias), len(self.decisions_.thresholds)} - {0, len(self.labels_)}
        if sizes:
            what = f"decides on {sizes.pop()} labels, and there are {len(self.labels_)}"
            raise RunError(f"{keep.where}/{DECISIONS}", what, "Restore the file from a copy.")
        network = cast("ClassifierNetwork", self.network_)
        network.calibration = Calibration(self.decisions_.temperature, self.decisions_.bias)

    def _decide(self) -> Decisions:
        scores, targets = self._valid_scores()
        balanced = self.options_.weights == "balanced"
        calibration = fit_temperature(scores, targets, bias=balanced)
        probabilities = label_probabilities(calibration.scaled(scores), several=self.options_.several)
        share = 0.0
        if self.options_.mix_rival and self.rivals_:  # too much data has none
            beside = self._beside([each.input for each in self._valid])[self._known()]
            share = best_share(probabilities, beside, targets)
            probabilities = mixed(probabilities, beside, share)
        thresholds: tuple[float, ...] = ()
        if self.options_.several:
            thresholds = tuple(best_thresholds(probabilities, targets).tolist())
        return Decisions(
            temperature=calibration.temperature,
            bias=calibration.bias,
            rival_share=share,
            thresholds=thresholds,
        )

    def _settle_together(self) -> None:
        each = [cast("Classifier", member).decisions_ for member in self.members_]
        thresholds = np.mean([own.thresholds for own in each], axis=0).tolist()
        self.decisions_ = Decisions(
            rival_share=float(np.mean([own.rival_share for own in each])),
            thresholds=tuple(thresholds) if self.options_.several else (),
        )

    def _known(self) -> np.ndarray:
        """(N,) which examples of the validation data have a label that the training data has; of several labels all."""
        targets = self._valid_rows.arrays["targets"].reshape(len(self._valid_rows), -1)
        return np.full(len(targets), True) if self.options_.several else targets[:, 0] != UNKNOWN_LABEL

    def _valid_scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the validation data the scores (N, K), and the labels as the loss takes them; no label that is unknown."""
        rows = self._valid_rows

        def scores(some: list[int]) -> Sequence[np.ndarray]:
            batch = to_device(self._collate([rows[index] for index in some]), self.device)
            return list(self.network_(batch).double().cpu().numpy())

        with torch.inference_mode():
            found = np.stack(answer_in_batches([n for (n,) in rows.lengths(*self.fields)], scores))
        targets, known = rows.arrays["targets"].reshape(len(rows), -1), self._known()
        return found[known], targets[known] if self.options_.several else targets[known, 0]

    # Figures

    def _quick_figures(self, examples: Sequence[Example]) -> dict[str, float]:
        if self.options_.select_by == "loss":
            return {}
        scores, targets = self._valid_scores()
        probabilities = label_probabilities(scores, several=self.options_.several)
        if self.options_.several:
            given = probabilities >= best_thresholds(probabilities, targets)
        else:
            given = probabilities.argmax(1)
        figures = label_figures(given, targets, len(self.labels_)).figures()
        return {name: float(figures[name]) for name in ("accuracy", "macro_f1")}

    def _picks_checkpoint(self) -> Figure:
        name = self.options_.select_by
        return Figure(name, higher=name != "loss")

    def _score(self, outputs: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        return label_scores(outputs, references, self.labels_)

    def _own_figures(
        self, records: Sequence[Mapping[str, Any]], references: Sequence[Any]
    ) -> dict[str, float]:
        probabilities = np.array([list(record["probabilities"].values()) for record in records])
        return probability_figures(probabilities, references, self.labels_)

    def _remarks(self, outputs: Sequence[Any], references: Sequence[Any]) -> dict[str, Any]:
        remarks = label_remarks(outputs, references, self.labels_)
        if unseen := remarks.get("unseen_labels"):
            named = ", ".join(f"{label} ({count:,})" for label, count in list(unseen.items())[:SHOWN_LABELS])
            self._say(f"warning: {len(unseen):,} labels are not in the training data: {named}.")
        return remarks

    # Answers

    _subject, _exported, _exported_page = subject_of, exported_parts, exported_page

    def session(self, *, state: bytes | None = None, **settings: Any) -> LabelSession:
        """An input that is told part by part: see `LabelSession`. Arguments as for every task's `session`; the run has
        `bidirectional=false`.
        """
        return cast("LabelSession", self._session_from(state, settings))

    def _needs_whole_inputs(self) -> tuple[str, str] | None:
        options = self.options_
        pairs = options.input != "sequence" and options.tokenizer == "bpe"
        if not (options.bidirectional or pairs or self.members_):
            return None
        what = "reads whole inputs: what it reads of their first part depends on the rest"
        return what, "Train with bidirectional=false and tokenizer=word or character; no ensemble streams."

    def _new_session(self, settings: ClassificationSettings) -> LabelSession:
        if settings.explain:
            what = "is true, and what weighed is known of whole inputs alone"
            raise InputError("option explain", what, "Leave it out, or use predict.")
        network = cast("ClassifierNetwork", self.network_)
        if self._reader_of_parts is None or self._reader_of_parts.network is not network:
            inputs = cast("TextInputs | SequenceInputs", self._inputs)
            between = " " if self.options_.tokenizer == "word" else ""
            self._reader_of_parts = LabelReader(network, inputs, between, self._records_of_scores)
        return LabelSession(self.name, settings, self._reader_of_parts)

    def _records_of_scores(
        self, scores: Tensor, inputs: Sequence[Any], settings: Sequence[ClassificationSettings]
    ) -> list[dict[str, Any]]:
        """What `predict` says of inputs with such scores, (B, K), and settings each."""
        rival = self._beside(inputs).astype(np.float32) if self.decisions_.rival_share else None
        scored = [Scored(row, None, None) for row in self._probabilities(scores, rival)]
        return [self._decode(one, {}, *own) for one, *own in zip(scored, inputs, settings, strict=True)]

    def _probabilities(self, scores: Tensor, rival: np.ndarray | None) -> np.ndarray:
        """(B, K) of scores, mixed with the rival's probabilities where there are any."""
        probabilities = label_probabilities(scores.double().cpu().numpy(), several=self.options_.several)
        return probabilities if rival is None else mixed(probabilities, rival, self.decisions_.rival_share)

    def _outputs(self, batch: ClassifierBatch, settings: ClassificationSettings) -> list[Scored]:
        scores = self.network_(batch)
        rival = None if batch.rival is None else batch.rival.cpu().numpy()
        probabilities = self._probabilities(scores, rival)
        if not settings.explain:
            return [Scored(row, None, None) for row in probabilities]
        weights = weigh_tokens(self.network_, batch, scores.argmax(1))
        attention = weights.attention
        return [
            Scored(
                row,
                None if attention is None else attention[:, index].tolist(),
                weights.gradient[:, index].tolist(),
            )
            for index, row in enumerate(probabilities)
        ]

    def _decode(
        self, output: Scored, row: Fields, input: Any, settings: ClassificationSettings
    ) -> dict[str, Any]:
        record = label_record(
            output.probabilities, self.labels_, self.decisions_, settings, several=self.options_.several
        )
        if output.gradient is not None:
            record["tokens"] = [
                {
                    "token": token.text,
                    "span": token.span,
                    "attention": None if output.attention is None else output.attention[index],
                    "gradient": output.gradient[index],
                }
                for index, token in enumerate(self._inputs.tokens(input))
            ]
        return record


def _most_common(train: Sequence[Example], kind: type[MostCommon]) -> MostCommon:
    return kind().fit([each.input for each in train], [each.output for each in train])
