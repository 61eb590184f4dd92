"""The transcriber: a recording of speech in, its words out, with their times."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast, overload

import numpy as np
import torch
from torch import nn

from gatework.baselines import Baseline, Empty, MostCommon, Rival
from gatework.baselines.time_warping import TimeWarping
from gatework.data import Fields, Packed, Tokenizer
from gatework.data.feature_store import FeatureStore
from gatework.data.log_mel import FRAME_SHIFT, LogMel
from gatework.data.recordings import Recording, read_recordings
from gatework.data.sound import read_sound
from gatework.errors import InputError
from gatework.inspect import Subject
from gatework.layers.row_steps import RowSteps
from gatework.metrics.figure import Figure
from gatework.metrics.speech import count_errors, error_intervals, error_rates
from gatework.seq2seq import greedy_labels, least_frames
from gatework.tasks.artifacts import Artifacts
from gatework.tasks.batches import answer_in_batches, side_by_side
from gatework.tasks.example_task import Example, ExampleTask
from gatework.tasks.lifecycle import Lifecycle, TrainingData
from gatework.tasks.session_state import SessionState, read_saved
from gatework.tasks.stored_frames import remove_frames, stored_frames
from gatework.tasks.tokens import TokenOptions, train_tokenizer, warn_of_unknown
from gatework.tasks.transcriber.changes import FeatureChanges
from gatework.tasks.transcriber.copies import changed_copies
from gatework.tasks.transcriber.decoding import blank_share, transcribe
from gatework.tasks.transcriber.flat_start import FLAT_START, AnnealedStart, path_loss
from gatework.tasks.transcriber.network import SoundBatch, TranscriberEnsemble, TranscriberNetwork
from gatework.tasks.transcriber.options import (
    SentSound,
    TranscriberInput,
    TranscriberOptions,
    TranscriptRecord,
    TranscriptSettings,
)
from gatework.tasks.transcriber.rejection import Rejection, best_rejection, with_noise_alone
from gatework.tasks.transcriber.scorers import scorer_of
from gatework.tasks.transcriber.search import StepOutputs, TranscriptSearch
from gatework.tasks.transcriber.session import Hearing, SoundSession
from gatework.tasks.transcriber.speakers import floored, is_spoken_by, speaker_of, speaker_statistics
from gatework.tasks.transcriber.subject import sound_subject
from gatework.tasks.transcriber.templates import Templates, template_labels
from gatework.tasks.transcriber.transcripts import (
    labels_of_text,
    prepared,
    text_of_labels,
    unknown_label,
)
from gatework.training import ExampleProblem, StepLoss
from gatework.training.nested import to_device

__all__ = ["Transcriber"]

TOKENIZER, MOST_COMMON, REJECTION = "tokenizer.json", "most_common.json", "rejection.json"


class Transcriber(ExampleTask):
    """What is said in a recording: a network with CTC over characters or byte pairs (Graves et al. 2006).

    >>> model = Transcriber(epochs=60, rate=8000).fit("digits/train.tsv", valid="digits/valid.tsv", out="runs/digits")
    >>> model.predict("seven.wav")[0]["output"]

    The options are the fields of `TranscriberOptions`, the settings of `predict` those of `TranscriptSettings`. Data is
    a manifest of recordings with their texts, in any form that `gatework.data.recordings.read_recordings` knows.
    Without validation data 5 % of the recordings are held back, drawn by `split_seed`.

    Attributes:
        tokenizer_: of the transcripts; its id i is label i + 1.
        features_: how frames are made of samples.
        rejection_: which transcripts are taken for noise.
        templates_: with `templates`, the training recordings with which others are compared.
    """

    name: ClassVar[str] = "transcriber"
    Options = TranscriberOptions
    Settings = TranscriptSettings
    Input = TranscriberInput
    SentInput = SentSound
    hears = True
    Output = TranscriptRecord
    problem: ClassVar[type[ExampleProblem[Any]]] = AnnealedStart
    columns: ClassVar[tuple[str, ...]] = ("audio", "text", "speaker")
    input_columns = (("audio", "speaker"), ("audio",))
    headline: ClassVar[Figure] = Figure("wer", higher=False)
    noun: ClassVar[str] = "recordings"
    fields = ("frames", "labels")
    ensemble_options: ClassVar[tuple[str, ...]] = (
        "rate",
        "mels",
        "stride",
        "text",
        "normalization",
        "dynamic_range",
        "attention",
    )

    options_: TranscriberOptions
    network_: TranscriberNetwork | TranscriberEnsemble
    tokenizer_: Tokenizer
    features_: LogMel
    rejection_: Rejection = Rejection()
    templates_: Templates | None = None
    _hearing: Hearing | None = None

    # What is learned before there is a network

    def _prepare(self, data: TrainingData, keep: Artifacts) -> None:
        super()._prepare(data, keep)
        for rows, whose in ((self._train_rows, "the training"), (self._valid_rows, "the validation")):
            warn_of_unknown(self._say, self._unknown(rows), whose)

    def _unknown(self, rows: Packed) -> dict[str, float]:
        if self.tokenizer_.unknown_id is None:
            return {}
        lengths = np.array(rows.lengths("labels"))
        unknown = sum(int(row["unknown"][0]) for row in rows)
        return {"text": unknown / max(unknown + int(lengths.sum()), 1)}

    def _defaults(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if given.get("bidirectional") in (False, "false"):
            return {"normalization": "running", "flat_start": FLAT_START}
        return {}

    def _inherited(self, parent: Lifecycle, given: Mapping[str, Any]) -> dict[str, Any]:
        # What a run has learned that another starts from is not to be lost in a flat start.
        return {"flat_start": given.get("flat_start", 0.0)} | super()._inherited(parent, given)

    def _problem(self) -> ExampleProblem[Any]:
        problem = cast("AnnealedStart", super()._problem())
        problem.options = self.options_
        return problem

    def _read(self, data: Any, columns: Mapping[str, str]) -> list[Example]:
        kind = self.options_.text
        found = read_recordings(data, columns)
        return [Example(each.where, each, prepared(each.text or "", kind)) for each in found]

    def _learn(self, train: Sequence[Example], keep: Artifacts) -> None:
        options = self.options_
        self.features_ = LogMel(rate=options.rate, mels=options.mels)

        def tokenizer() -> Tokenizer:
            # The texts are one to the tokenizer: an end of line keeps words of two apart.
            end = "" if options.tokenizer == "character" else "\n"
            kinds = {
                name: getattr(options, name) for name in ("tokenizer", "vocabulary_size", "min_frequency")
            }
            return train_tokenizer(TokenOptions(**kinds), (each.output + end for each in train))

        self._single_words = not any(" " in each.output for each in train)
        self.tokenizer_ = keep.get(TOKENIZER, Tokenizer, tokenizer)
        if train:

            def stored() -> FeatureStore:
                recordings = [each.input for each in self._augmented(list(train))]
                return stored_frames(recordings, self.features_, self.run_, keep)

            self._store = self._once("features", stored)
        self._most_common = keep.own(
            MOST_COMMON,
            MostCommon,
            lambda: MostCommon().fit([each.input for each in train], [each.output for each in train]),
        )
        self.templates_ = self._templates(train, keep) if options.templates else None

    def _templates(self, train: Sequence[Example], keep: Artifacts) -> Templates:
        def made() -> Templates:
            labels, recordings = template_labels(train, self.tokenizer_), list(self._store)[: len(train)]
            speakers = self._speakers(recordings, [each.input for each in train])
            templates = self._once("templates", lambda: Templates.of(recordings, labels, speakers))
            templates.write(self.run_)
            return templates

        sizes = (self.tokenizer_.vocabulary_size, self.features_.mels)
        return keep.first(made, lambda: Templates.read(self.run_, *sizes))

    def _augmented(self, train: list[Example]) -> list[Example]:
        options = self.options_
        return [*train, *changed_copies(train, options.speeds, options.noises)]

    def _clear(self) -> None:
        super()._clear()
        self.__dict__.pop("_store", None)
        remove_frames(self.run_)

    def _baselines(self) -> Mapping[str, Baseline]:
        return {"empty": Empty(), "most_common": self._most_common}

    def _rivals(self) -> Sequence[Rival]:
        """Of single words the nearest recording: what was never said whole it cannot say."""
        return [TimeWarping(self.options_.rate)] if self.options_.rivals and self._single_words else []

    # The network

    def _network(self) -> TranscriberNetwork:
        high = self.features_.high or self.features_.rate / 2
        changes = FeatureChanges(low=self.features_.low, high=high, **self._sizes(FeatureChanges))
        return TranscriberNetwork(
            self.cells_["cell"],
            self.tokenizer_.vocabulary_size,
            unknown_label(self.tokenizer_),
            changes,
            template_set=self.templates_,
            **self._sizes(TranscriberNetwork),
        )

    def _start_anew(self) -> None:
        rows = (floored(row["frames"], row.get("speaker")) for row in self._train_rows)
        cast("TranscriberNetwork", self.network_).normalization.learn(rows)

    def _joined(self, networks: Sequence[nn.Module]) -> TranscriberEnsemble:
        return TranscriberEnsemble(cast("Sequence[TranscriberNetwork]", networks))

    # Batches

    def _encode(self, input: Any, output: str | None = None) -> Fields:
        rate = self.options_.rate
        if isinstance(input, Recording):
            samples = input.samples(rate)
        else:
            samples = read_sound(input["audio"] if is_spoken_by(input) else input, rate)
        fields = {"frames": self.features_.frames(samples)}
        return fields if output is None else {**fields, **self._label_fields(output)}

    def _encode_all(self, inputs: Sequence[Any]) -> list[Fields]:
        return self._with_speakers(super()._encode_all(inputs), inputs)

    def _pack(self, examples: Sequence[Example]) -> Packed:
        rows = [self._encode(each.input, each.output) for each in examples]
        return Packed.from_rows(self._with_speakers(rows, [each.input for each in examples]))

    def _with_speakers(self, rows: Sequence[Fields], inputs: Sequence[Any]) -> list[Fields]:
        """Encoded inputs with what is known of their speakers' frames, where the network reads it."""
        known = self._speakers([row["frames"] for row in rows], inputs)
        if known is None:
            return list(rows)
        return [{**row, "speaker": own} for row, own in zip(rows, known, strict=True)]

    def _speakers(self, frames: Sequence[np.ndarray], inputs: Sequence[Any]) -> list[np.ndarray] | None:
        if self.options_.normalization != "speaker":
            return None
        return speaker_statistics(frames, list(map(speaker_of, inputs)), self.options_.dynamic_range)

    def _label_fields(self, output: str) -> Fields:
        labels = labels_of_text(output, self.tokenizer_)
        unknown = len(self.tokenizer_.encode(output)) - len(labels)
        numbers = {"least": least_frames(labels), "unknown": unknown}
        fields = {name: np.array([number], np.int32) for name, number in numbers.items()}
        return {"labels": np.array(labels, np.int32), **fields}

    def _pack_training(self, examples: Sequence[Example], most: int) -> Packed:
        """As `ExampleTask` does, of frames in a file; what has more labels than steps is left out too."""
        store, stride = self._store, self.options_.stride
        texts = Packed.from_rows(self._label_fields(each.output) for each in examples)
        rows = Packed({"frames": store.frames, **texts.arrays}, {"frames": store.ends, **texts.ends})
        known = self._speakers(store, [each.input for each in examples])
        if known is not None:
            ends = np.cumsum([len(own) for own in known])
            rows = Packed(rows.arrays | {"speaker": np.concatenate(known)}, rows.ends | {"speaker": ends})
        lengths = np.array(rows.lengths("frames", "labels"))  # (N, 2)
        long = lengths.max(1) > most
        full = ~long & (rows.arrays["least"] > -(-lengths[:, 0] // stride))
        for some, what in (
            (long, f"are longer than max_length={most} frames"),
            (full, f"are shorter than their transcripts need at stride={stride}"),
        ):
            if some.any():
                named = f"the first at {examples[int(some.argmax())].where}"
                self._say(f"{some.sum():,} {self.noun} {what}, and are left out, {named}.")
        return rows.some(np.flatnonzero(~long & ~full & (lengths[:, 0] > 0)))

    def _collate(self, rows: Sequence[Fields]) -> SoundBatch:
        batch = SoundBatch(*side_by_side([row["frames"] for row in rows]))
        if "speaker" in rows[0]:
            batch = batch._replace(speakers=torch.from_numpy(np.stack([row["speaker"] for row in rows])))
        if "labels" not in rows[0]:
            return batch
        counts = [len(row["labels"]) for row in rows]
        labels = np.zeros((len(rows), max(1, *counts)), np.int64)
        for own, row, count in zip(labels, rows, counts, strict=True):
            own[:count] = row["labels"]
        least = torch.tensor([int(row["least"][0]) for row in rows])
        return batch._replace(labels=torch.from_numpy(labels), counts=torch.tensor(counts), least=least)

    def _loss(self, network: nn.Module, batch: SoundBatch) -> StepLoss:
        if network.training and self.options_.noise_alone:
            batch = with_noise_alone(batch, self.options_.noise_alone)
        scores = network(batch)
        total, count = path_loss(scores, batch)
        if scores.attention_loss is None:
            return StepLoss(total, count)
        weight, beside = self.options_.attention, scores.attention_loss
        parts = {"ctc": total.detach(), "attention": beside.detach()}
        return StepLoss((1 - weight) * total + weight * beside, count, parts=parts)

    # What is chosen on the validation data

    def _settle(self, keep: Artifacts) -> None:
        self.rejection_ = keep.renew(REJECTION, Rejection, self._reject)

    def _reject(self) -> Rejection:
        rows = self._valid_rows
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(0)
            heard, noises = (
                [self._heard(each["frames"], table) for each, table in zip(rows, tables, strict=True)]
                for tables in (self._tables(rows), self._tables(rows, noise_alone=True))
            )
        if not any(text for text, _ in heard):
            self._say(
                "In no recording of the validation data is anything heard: all steps are blanks. Train for more steps, "
                "with a higher learning_rate, or with a smaller stride for short recordings."
            )
        right = [
            sure
            for example, (text, sure) in zip(self._valid, heard, strict=True)
            if text and text == example.output
        ]
        return best_rejection(right, [sure if text else None for text, sure in noises])

    def _heard(self, frames: np.ndarray, table: np.ndarray) -> tuple[str, float]:
        """A greedy transcript, and how sure its least sure segment is."""
        found = self._search(self.settings(beam=1)).segments(frames, StepOutputs(table))
        (transcript,) = transcribe(found, self.tokenizer_)
        return transcript.text, min((each.confidence for each in found), default=1.0)

    def _settle_together(self) -> None:
        each = [cast("Transcriber", member).rejection_ for member in self.members_]
        self.rejection_ = Rejection(
            **{name: float(np.mean([getattr(own, name) for own in each])) for name in Rejection.model_fields}
        )

    # Figures

    def _tables(self, rows: Packed, *, noise_alone: bool = False) -> list[np.ndarray]:
        """Of encoded examples the log-probabilities, each (S, V); or of noises in their place."""

        def answer(some: list[int]) -> Sequence[np.ndarray]:
            batch = self._collate([rows[index] for index in some])
            batch = with_noise_alone(batch, 1.0) if noise_alone else batch
            return [each.table for each in self._outputs(to_device(batch, self.device), None)]

        with torch.inference_mode():
            return answer_in_batches([n for (n,) in rows.lengths("frames")], answer)

    def _quick_figures(self, examples: Sequence[Example]) -> dict[str, float]:
        if self.options_.select_by == "loss":
            return {}
        tables = self._tables(self._valid_rows)
        outputs = [text_of_labels(greedy_labels(table), self.tokenizer_) for table in tables]
        figures = self._score(outputs, [each.output for each in examples])
        return {**figures, "blank_share": blank_share(tables)}

    def _quick_search(self) -> str:
        return "" if self.options_.select_by == "loss" else self._search_words(self.settings(beam=1))

    def _picks_checkpoint(self) -> Figure:
        return Figure(self.options_.select_by, higher=False)

    def _search_words(self, settings: TranscriptSettings) -> str:
        told = [name for name in ("hotwords", "language_model") if getattr(settings, name)]
        if settings.beam == 1 and not told:
            return "greedy search"
        kind = "joint" if self.options_.attention else "prefix"
        beside = f", with {' and '.join(told).replace('_', ' ')}" if told else ""
        return f"{kind} search, {settings.beam} label sequences{beside}"

    def _score(self, outputs: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        counts = count_errors(outputs, references)
        rates = {name: float(rate) for name, rate in error_rates(counts.sum(0)).items()}
        right = sum(one == other for one, other in zip(outputs, references, strict=True))
        return {**rates, "transcript_accuracy": right / len(references)}

    def _remarks(self, outputs: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        intervals = error_intervals(count_errors(outputs, references))
        return {"intervals": {name: [each.low, each.high] for name, each in intervals.items()}}

    # Answers

    def _outputs(self, batch: SoundBatch, settings: Any) -> list[StepOutputs]:
        scores = self.network_(batch)
        tables = scores.log_probabilities.transpose(0, 1).cpu().numpy()  # (B, S, V)
        return [
            StepOutputs(table[:length], tuple(part[:length, row] for part in scores.memory))
            for row, (table, length) in enumerate(zip(tables, scores.lengths.tolist(), strict=True))
        ]

    def _decode(
        self, output: StepOutputs, row: Fields, input: Any, settings: TranscriptSettings
    ) -> dict[str, Any]:
        return self._search(settings).record(row["frames"], output)

    def _subject(self, input: Any, record: Mapping[str, Any]) -> Subject:
        batch = to_device(self._collate([self._encode(input)]), self.device)
        return sound_subject(
            cast("TranscriberNetwork", self.network_), batch, self.tokenizer_, record["output"]
        )

    def _search(self, settings: TranscriptSettings) -> TranscriptSearch:
        return TranscriptSearch(
            self.tokenizer_,
            settings,
            scorer_of(settings, self.tokenizer_, self.options_.text),
            self._least_confidence(settings),
            self.options_.stride,
            FRAME_SHIFT,
            self.network_.decoders,
            self.options_.attention,
        )

    def _least_confidence(self, settings: TranscriptSettings) -> float:
        return self.rejection_.least_confidence if settings.reject else 0.0

    @classmethod
    def read_sent(cls, item: Any) -> Any:
        sound = super().read_sent(item)
        if sound.get("bytes") is None:
            try:
                return {**sound, "array": np.asarray(sound["array"], np.float64)}
            except ValueError as error:
                what = "has rows of different lengths"
                raise InputError("the input's array", what, "Give each step a number a channel.") from error
        try:
            return {"bytes": base64.b64decode(sound["bytes"], validate=True)}
        except ValueError as error:
            raise InputError("the input's bytes", f"are no base64 ({error})", "Encode the file.") from error

    @overload
    def stream(
        self, *, rate: int | None = None, saved: str | os.PathLike[str] | None = None, **settings: Any
    ) -> SoundSession: ...

    @overload
    def stream(self, item: Any, **settings: Any) -> Iterator[str | dict[str, Any]]: ...

    def stream(
        self,
        item: Any = None,
        *,
        rate: int | None = None,
        saved: str | os.PathLike[str] | None = None,
        **settings: Any,
    ) -> SoundSession | Iterator[str | dict[str, Any]]:
        """What hears sound as it comes, chunk by chunk, and says what is spoken; of a run with `bidirectional=false`.

        With an input it gives that input's record, as every task's `stream` does.

        Args:
            item: one input of `predict`, or None.
            rate: of the samples that will come, in Hz; None: that of the run.
            saved: the file that a stream of this run was saved to, which is gone on with.
            settings: of `predict`.

        Raises:
            InputError: the run needs whole recordings; a rate out of range; the file is not of this run.
            RunError: the file is damaged.
        """
        if item is not None:
            return super().stream(item, **settings)
        return self.session(rate=rate, state=None if saved is None else read_saved(saved), **settings)

    def session(
        self, *, state: bytes | None = None, rate: int | None = None, **settings: Any
    ) -> SoundSession:
        """Sound that is heard as it comes: see `SoundSession`. What is not said here is as for every task; the run has
        `bidirectional=false`.

        Args:
            rate: of the samples that will come, in Hz; None: that of the state, or of the run.
        """
        if rate is None and state is not None:
            rate = SessionState.of_bytes(state).known.get("rate")
        return cast("SoundSession", self._session_from(state, settings, rate=rate))

    def _needs_whole_inputs(self) -> tuple[str, str] | None:
        options = self.options_
        causal = not options.bidirectional and options.normalization in ("running", "training")
        if causal and not options.attention and not options.templates and not self.members_:
            return None
        what = "reads whole recordings: its labels depend on sound that comes later"
        remedy = "Train with bidirectional=false, normalization=running, attention=0 and templates=0"
        return what, f"{remedy}; no ensemble streams."

    def _new_session(self, settings: TranscriptSettings, rate: int | None = None) -> SoundSession:
        network = cast("TranscriberNetwork", self.network_)
        if self._hearing is None or self._hearing.network is not network:
            self._hearing = Hearing(network, self.features_, RowSteps(network.recurrent))
        search = self._search(settings)
        return SoundSession(self.name, settings, self._hearing, search, rate or self.options_.rate)
