"""The synthesizer: a text in, a recording of it out, with the times of its words."""

from __future__ import annotations

import base64
import math
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from gatework.baselines import Baseline, MeanFrame, NearestFrames, NearestText, Rival
from gatework.data import Fields, LogMel, Packed, read_recordings
from gatework.data.log_mel import FRAME_SHIFT
from gatework.errors import InputError, RunError
from gatework.inspect import Report, Subject
from gatework.metrics.figure import Figure
from gatework.metrics.synthesis import mel_cepstral_distortion
from gatework.tasks.artifacts import Artifacts
from gatework.tasks.batches import answer_in_batches, inside_of, padded, side_by_side
from gatework.tasks.example_task import Example, ExampleTask
from gatework.tasks.inspecting import scaled
from gatework.tasks.stored_frames import remove_frames, stored_frames
from gatework.tasks.synthesizer.aligner import ALIGNER_OPTIONS, Aligner
from gatework.tasks.synthesizer.aligning import character_durations
from gatework.tasks.synthesizer.attending import guided_loss
from gatework.tasks.synthesizer.hearing import Recogniser, figures_of_heard, transcribers_run
from gatework.tasks.synthesizer.network import (
    SpeechBatch,
    SpeechGuess,
    Spoken,
    SynthesizerEnsemble,
    SynthesizerNetwork,
    speak,
    timing_error,
)
from gatework.tasks.synthesizer.options import (
    ListeningSettings,
    SpeakingSettings,
    SpeechRecord,
    SpeechSettings,
    SynthesizerInput,
    SynthesizerOptions,
)
from gatework.tasks.synthesizer.recorded import (
    AlignedSpeech,
    Alphabet,
    RecordedSpeech,
    speaker_of,
    text_of,
)
from gatework.tasks.synthesizer.speaking import check_files, spoken_words, with_pauses, write_speech
from gatework.tasks.synthesizer.subject import speech_subject
from gatework.tasks.transcriber import Transcriber
from gatework.tasks.transcriber.transcripts import prepared
from gatework.training import RunFolder, StepLoss
from gatework.training.nested import to_device
from gatework.training.progress import counted

__all__ = ["Synthesizer"]

ALIGNER, ALPHABET, MEAN_FRAME = "aligner", "alphabet.json", "mean_frame.json"
MILLISECONDS = 1000 * FRAME_SHIFT
_ALIGNED_SECONDS = 7200.0  # of recordings at most, that an aligner of its own is trained on
_ALIGNED_VALID = 20
_GUIDE = 2.0  # what a step far from the diagonal weighs beside an error of its frames
_LOST = 1.0  # nats a character: an aligner's loss above which few characters are found
_AVERAGED = 500  # recordings at most, of which the mean frame is taken
_UNEVEN = (2, 40)  # frames of a character: fewer and more are counted, and said


class Synthesizer(ExampleTask):
    """A voice: characters, how long each takes, and log-mel frames (Shen et al. 2020, "Non-Attentive Tacotron").

    >>> model = Synthesizer(epochs=200).fit("kathleen/metadata.csv", out="runs/kathleen")
    >>> model.predict("Will we ever forget it?", out="forget.wav")[0]["seconds"]

    The options are the fields of `SynthesizerOptions`, the settings of `predict` those of `SpeechSettings`. Data is
    what a transcriber takes: recordings with their texts. The sound is made of the frames by Griffin & Lim's algorithm.

    Attributes:
        alphabet_: the characters and the speakers that there are.
        aligner_: the transcriber that says how long each character of a recording is; the run keeps it.
        features_: how frames are made of samples.
    """

    name: ClassVar[str] = "synthesizer"
    Options = SynthesizerOptions
    Settings = SpeechSettings
    Input = SynthesizerInput
    Output = SpeechRecord
    columns: ClassVar[tuple[str, ...]] = ("audio", "text", "speaker")
    input_columns = (("text", "speaker"), ("text",))
    headline: ClassVar[Figure] = Figure("mel_cepstral_distortion", higher=False)
    noun: ClassVar[str] = "recordings"
    fields = ("frames", "ids")
    ensemble_options: ClassVar[tuple[str, ...]] = ("rate", "mels", "text", "trim", "reduction", "attention")

    options_: SynthesizerOptions
    network_: SynthesizerNetwork | SynthesizerEnsemble
    alphabet_: Alphabet
    aligner_: Transcriber
    features_: LogMel

    # What is learned before there is a network

    def _read(self, data: Any, columns: Mapping[str, str]) -> list[Example]:
        options, features = self.options_, self._features()
        found = read_recordings(data, columns)
        if options.speaker is not None:
            there = sorted({each.speaker for each in found if each.speaker is not None})
            found = [each for each in found if each.speaker == options.speaker]
            if not found and there:
                what = f"no recording is of {options.speaker!r}"
                raise InputError("option speaker", what, f"There are {', '.join(there[:10])}.")
        examples = []
        for each in found:
            text = prepared(each.text or "", options.text)
            if not text:
                raise InputError(each.where, "the text is empty", "Give what is spoken, or take the row out")
            input = text if each.speaker is None else {"text": text, "speaker": each.speaker}
            examples.append(Example(each.where, input, RecordedSpeech(each, text, features, options.trim)))
        return examples

    def _features(self) -> LogMel:
        return LogMel(rate=self.options_.rate, mels=self.options_.mels)

    def _learn(self, train: Sequence[Example], keep: Artifacts) -> None:
        self.features_ = self._features()
        recorded = [each.output for each in train]
        self.alphabet_ = keep.get(ALPHABET, Alphabet, lambda: Alphabet.of(recorded))
        if train:
            sounds, trim = [each.recording for each in recorded], self.options_.trim
            self._store = self._once(
                "features", lambda: stored_frames(sounds, self.features_, self.run_, keep, trim=trim)
            )
        self._mean_frame = keep.own(MEAN_FRAME, MeanFrame, lambda: self._mean_of(train))
        if not keep.finished:
            self._keep_aligner(recorded, keep)
        try:
            self.aligner_ = Transcriber.restore(RunFolder.open(self.run_.path / ALIGNER))
        except InputError as error:
            raise RunError(error.where, error.what, error.fix) from error
        if self.aligner_.options_.tokenizer != "character":
            what = f"its labels are {self.aligner_.options_.tokenizer}, not characters"
            raise InputError("option aligner", what, "Train a transcriber with tokenizer=character.")

    def _mean_of(self, train: Sequence[Example]) -> MeanFrame:
        some = range(0, len(train), max(1, math.ceil(len(train) / _AVERAGED)))
        texts = [train[index].input for index in some]
        return MeanFrame().fit(texts, [self._store[index] for index in some])

    def _fit_rivals(self, train: Sequence[Example], keep: Artifacts) -> None:
        self._aligned = self._once("alignments", lambda: self._all_aligned(train))
        known = [
            each._replace(output=own) for each, own in zip(train, self._aligned, strict=True) if own.found
        ]
        super()._fit_rivals(known, keep)

    def _all_aligned(self, train: Sequence[Example]) -> list[AlignedSpeech]:
        with counted("aligning recordings", len(train)) as tick:
            aligned = []
            for example, frames in zip(train, self._store, strict=True):
                aligned.append(self._align(example.output, frames))
                tick(len(aligned))
        return aligned

    def _align(self, recorded: RecordedSpeech, frames: np.ndarray) -> AlignedSpeech:
        """Look for the text of a recording, whose frames are (T, M), in it."""
        own, text = self.aligner_.features_, self.alphabet_.known(recorded.text)
        features = frames if own == self.features_ else own.frames(recorded.samples(own.rate))
        return AlignedSpeech(text, frames, *character_durations(self.aligner_, features, text, len(frames)))

    def _clear(self) -> None:
        super()._clear()
        for name in ("_store", "_aligned"):
            self.__dict__.pop(name, None)
        remove_frames(self.run_)

    def _keep_aligner(self, recorded: Sequence[RecordedSpeech], keep: Artifacts) -> None:
        """Have the aligner's run inside this one: the parent run's, the one that the options name, or a new one."""
        own = RunFolder(self.run_.path / ALIGNER, writes=self.run_.writes)

        def copy(source: RunFolder) -> None:
            shutil.rmtree(own.path, ignore_errors=True)
            own.path.mkdir()
            source.copy_to(own)
            own.complete()

        def copy_known() -> bool:
            if not own.is_complete and (source := self._known_aligner(keep.parent)) is not None:
                copy(source)
            own.path.mkdir(exist_ok=True)
            return own.is_complete

        if keep.first(copy_known, lambda: own.is_complete):
            return
        source = self._once("aligner", lambda: self._train_aligner(recorded, own))
        if source.path != own.path:
            keep.first(lambda: copy(source), lambda: None)

    def _known_aligner(self, parent: RunFolder | None) -> RunFolder | None:
        """The aligner of the parent run, or the one that the options name; None: there is none yet."""
        if parent is not None:
            return RunFolder.open(parent.path / ALIGNER)
        if self.options_.aligner is None:
            return None
        return transcribers_run(self.options_.aligner, "option aligner")

    def _train_aligner(self, recorded: Sequence[RecordedSpeech], own: RunFolder) -> RunFolder:
        """Train a transcriber on the same recordings, in a folder of this run; go on with what was killed there."""
        options = self.options_
        start = time.perf_counter()
        rows, seconds = [], 0.0
        for each in recorded:
            samples = each.samples(options.rate)
            seconds += len(samples) / options.rate
            rows.append({"audio": {"array": samples, "sampling_rate": options.rate}, "text": each.text})
            if seconds > _ALIGNED_SECONDS:
                break
        self._say(f"A transcriber is trained first on {len(rows):,} recordings, to find the characters:")
        aligner = Aligner(
            rate=options.rate,
            text=options.text,
            max_steps=options.aligner_steps,
            seed=options.split_seed,
            device=options.device,
            precision=options.precision,
            **ALIGNER_OPTIONS,
        ).fit(rows, valid=rows[:_ALIGNED_VALID], out=own.path, resume=True)
        if aligner.result_.stopped == "interrupted":
            raise KeyboardInterrupt
        self._say(f"The transcriber is trained ({time.perf_counter() - start:.0f} s).")
        if (loss := aligner.metrics_["model"]["loss"]) > _LOST:
            self._say(
                f"It finds the characters badly ({loss:.2f} nats a character), and the voice will be blurred: "
                "give it more aligner_steps, or name a transcriber's run, aligner=RUN."
            )
        return own

    def _baselines(self) -> Mapping[str, Baseline]:
        return {"mean_frame": self._mean_frame}

    def _rivals(self) -> Sequence[Rival]:
        return [NearestText(), NearestFrames()] if self.options_.rivals else []

    # The network

    def _network(self) -> SynthesizerNetwork:
        return SynthesizerNetwork(
            self.cells_["cell"],
            len(self.alphabet_.characters),
            len(self.alphabet_.speakers),
            **self._sizes(SynthesizerNetwork),
        )

    def _start_anew(self) -> None:
        cast("SynthesizerNetwork", self.network_).learn_scale(row["frames"] for row in self._train_rows)

    def _joined(self, networks: Sequence[nn.Module]) -> SynthesizerEnsemble:
        return SynthesizerEnsemble(cast("Sequence[SynthesizerNetwork]", networks))

    # Batches

    def _encode(self, input: Any, output: RecordedSpeech | None = None) -> Fields:
        if output is None:
            return self._encode_text(self.alphabet_.spelled(self._lowered(text_of(input))), input)
        aligned = self._align(output, output.frames())
        return {
            **self._encode_text(aligned.text, input),
            "frames": aligned.log_mel,
            "durations": aligned.durations,
        }

    def _lowered(self, text: str) -> str:
        return prepared(text, self.options_.text)

    def _encode_text(self, text: str, input: Any) -> Fields:
        speaker = self.alphabet_.speaker_id(speaker_of(input), f"text {text!r:.40}")
        return {"ids": self.alphabet_.ids(text), "speaker": np.array([speaker], np.int32)}

    def _pack_training(self, examples: Sequence[Example], most: int) -> Packed:
        """As `ExampleTask` does, of frames in a file; what is too short for its text is left out too.

        Says how even the durations of the rest are.
        """
        store, aligned = self._store, self._aligned
        texts = Packed.from_rows(
            {**self._encode_text(own.text, example.input), "durations": own.durations}
            for example, own in zip(examples, aligned, strict=True)
        )
        rows = Packed({"frames": store.frames, **texts.arrays}, {"frames": store.ends, **texts.ends})
        short = ~np.array([each.found for each in aligned])
        long = ~short & (np.array([len(each) for each in store]) > most)
        for some, what in (
            (long, f"are longer than max_length={most} frames"),
            (short, "do not fit their texts"),
        ):
            if some.any():
                first = examples[int(some.argmax())].where
                self._say(f"{some.sum():,} {self.noun} {what}, and are left out, the first at {first}.")
        kept = np.flatnonzero(~short & ~long)
        if not len(kept):
            raise InputError("data", "has no recording that is learned from", "Give longer ones.")
        self._say_how_even(np.concatenate([aligned[index].durations for index in kept]))
        return rows.some(kept)

    def _say_how_even(self, durations: np.ndarray) -> None:
        short, long = (durations < _UNEVEN[0]).mean(), (durations > _UNEVEN[1]).mean()
        limits = [f"{MILLISECONDS * each:.0f} ms" for each in _UNEVEN]
        self._say(
            f"A character takes {MILLISECONDS * np.median(durations):.0f} ms (median); {short:.1%} of them less than "
            f"{limits[0]}, {long:.1%} more than {limits[1]}."
        )

    def _collate(self, rows: Sequence[Fields]) -> SpeechBatch:
        ids, counts = padded([row["ids"] for row in rows], 0)
        speakers = torch.tensor([int(row["speaker"][0]) for row in rows])
        batch = SpeechBatch(ids, counts, speakers)
        if "frames" not in rows[0]:
            return batch
        frames, lengths = side_by_side([row["frames"] for row in rows])
        durations, _ = side_by_side([row["durations"][:, None] for row in rows])
        return batch._replace(frames=frames, lengths=lengths, durations=durations[:, :, 0])

    def _loss(self, network: nn.Module, batch: SpeechBatch) -> StepLoss:
        guess: SpeechGuess = network(batch)
        frames, lengths = cast("torch.Tensor", batch.frames), cast("torch.Tensor", batch.lengths)
        inside = inside_of(frames, lengths)

        def error(found: torch.Tensor) -> torch.Tensor:
            off = ((found - frames) / guess.deviation * inside).abs()
            return (off + off.square()).mean(-1).sum()

        parts = {"raw_frames": error(guess.before), "refined_frames": error(guess.frames)}
        if guess.log_durations is not None:
            told = cast("torch.Tensor", batch.durations)
            off = timing_error(guess.log_durations, told) * inside_of(told, batch.counts)[..., 0]
            parts["timing"] = off.sum()
        if guess.alignment is not None and guess.stop is not None:
            reduction = self.options_.reduction
            steps = -(-lengths // reduction)
            number = torch.arange(len(guess.stop), device=steps.device)[:, None]
            last = (number == steps - 1).to(guess.stop)
            ends = F.binary_cross_entropy_with_logits(guess.stop, last, reduction="none") * (number < steps)
            parts["guide"] = _GUIDE * reduction * guided_loss(guess.alignment.float(), batch.counts, steps)
            parts["end"] = reduction * ends.sum()
        return StepLoss(sum(parts.values(), torch.zeros(())), int(lengths.sum()), parts=parts)

    # Figures

    @classmethod
    def evaluation_settings(cls) -> type[ListeningSettings]:
        return ListeningSettings

    def _validation_figures(self) -> dict[str, Any]:
        return self._figures(self._valid, self.evaluation_settings().model_validate({}))

    def _figures(
        self, examples: Sequence[Example], settings: ListeningSettings, whose: str | None = None
    ) -> dict[str, Any]:
        """As `ExampleTask` does; where a recogniser is named, with what it hears in each one's sounds, and in the
        recordings.
        """
        figures = super()._figures(examples, settings, whose)
        if settings.transcriber is None:
            return figures
        recogniser = Recogniser(settings.transcriber, "setting transcriber")
        inputs, texts = [each.input for each in examples], [each.output.text for each in examples]

        def heard(frames: Sequence[np.ndarray]) -> dict[str, float]:
            return figures_of_heard(recogniser.hear_frames(frames, self.features_, texts))

        with torch.inference_mode():
            spoken = self._spoken([self._encode(each) for each in inputs], settings)
        figures["model"].update(heard([each.frames for each in spoken]))
        for name, baseline in {**self._baselines(), **self.rivals_}.items():
            figures["baselines"][name].update(heard(baseline.predict(inputs)))
        rate = self.features_.rate
        sounds = [{"array": each.output.samples(rate), "sampling_rate": rate} for each in examples]
        return {**figures, "references": figures_of_heard(recogniser.hear(sounds, texts))}

    def _references(self, examples: Sequence[Example], rows: Packed) -> list[np.ndarray]:
        """The frames of the recordings, which the encoded examples hold."""
        return [row["frames"] for row in rows]

    def _score(self, outputs: Sequence[np.ndarray], references: Sequence[np.ndarray]) -> dict[str, float]:
        off = [abs(len(mine) - len(theirs)) for mine, theirs in zip(outputs, references, strict=True)]
        return {
            self.headline.name: float(mel_cepstral_distortion(outputs, references).mean()),
            "length_error_ms": MILLISECONDS * float(np.mean(off)),
        }

    def _answers_to_score(
        self, examples: Sequence[Example], rows: Packed, settings: SpeakingSettings
    ) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
        texts = [{"ids": row["ids"], "speaker": row["speaker"]} for row in rows]
        with torch.inference_mode():
            spoken = self._spoken(texts, settings)
        off = [each.durations - row["durations"] for each, row in zip(spoken, rows, strict=True)]
        return [{"off": np.abs(own)} for own in off], [each.frames for each in spoken]

    def _own_figures(
        self, records: Sequence[Mapping[str, Any]], references: Sequence[np.ndarray]
    ) -> dict[str, float]:
        off = np.concatenate([record["off"] for record in records])
        return {"duration_error_ms": MILLISECONDS * float(off.mean())}

    # Answers

    def _outputs(self, batch: SpeechBatch, settings: SpeakingSettings) -> list[Spoken]:
        joint = self.network_
        networks = list(joint.networks) if isinstance(joint, SynthesizerEnsemble) else [joint]
        return speak(cast("Sequence[SynthesizerNetwork]", networks), batch, settings.speed)

    def _spoken(self, rows: Sequence[Fields], settings: SpeakingSettings) -> list[Spoken]:
        if self.options_.attention == "location" and settings.speed != 1:
            what = f"is {settings.speed}, and a run that attends by location has no durations to divide"
            raise InputError("setting speed", what, "Leave it out, or train with attention=durations.")

        def answer(some: list[int]) -> Sequence[Spoken]:
            return self._outputs(
                to_device(self._collate([rows[each] for each in some]), self.device), settings
            )

        return answer_in_batches([len(row["ids"]) for row in rows], answer)

    def _answer(self, inputs: Sequence[Any], settings: SpeechSettings) -> list[dict[str, Any]]:
        check_files(settings, len(inputs))
        if settings.speaker is not None and not self.alphabet_.speakers:
            what = f"is {settings.speaker!r}, and the voice of this run has no name"
            raise InputError("setting speaker", what, "Leave it out, or train with a column speaker.")
        chosen = [{"text": text_of(each), "speaker": speaker_of(each) or settings.speaker} for each in inputs]
        rows = [self._encode(each) for each in chosen]
        records = []
        for spoken, row, input in zip(self._spoken(rows, settings), rows, inputs, strict=True):
            text = self._text(row)
            paused = with_pauses(spoken, text, settings.pause)
            path = write_speech(paused, text, self.features_, settings, settings.next_number())
            records.append({**self._decode(paused, row, input, settings), "output": path})
        return records

    def predict_sent(self, inputs: Sequence[Any], **settings: Any) -> list[dict[str, Any]]:
        """As every task's. A record's `output` is the sound itself, a WAV file in base64."""
        self.check_sent(settings)
        with tempfile.TemporaryDirectory(prefix="gatework-speech-") as folder:
            records = self.predict(list(inputs), **settings, out=folder)
            sounds = [base64.b64encode(Path(record["output"]).read_bytes()) for record in records]
        return [{**record, "output": sound.decode()} for record, sound in zip(records, sounds, strict=True)]

    def inspect_sent(self, item: Any, *, scale: Any = None, reasons: bool = True, **settings: Any) -> Report:
        """As every task's. The record's `output` is the sound itself, a WAV file in base64."""
        self.check_sent(settings)
        input = self._reader().input(item)
        with tempfile.TemporaryDirectory(prefix="gatework-speech-") as folder:
            with scaled(self.network_, scale):
                found = self._inspect(input, None, self.settings(**settings, out=folder), reasons)
            record = dict(found.record or {})
            sound = base64.b64encode(Path(record["output"]).read_bytes()).decode()
        return replace(found, record={**record, "output": sound})

    def _subject(self, input: Any, record: Mapping[str, Any]) -> Subject:
        row = self._encode({"text": record["text"], "speaker": record["speaker"]})
        batch = to_device(self._collate([row]), self.device)
        with torch.no_grad():
            (spoken,) = self._outputs(batch, self.settings())
        return speech_subject(cast("SynthesizerNetwork", self.network_), batch, spoken, record["text"])

    def _text(self, row: Fields) -> str:
        return "".join(self.alphabet_.characters[id] for id in row["ids"])

    def _decode(self, output: Spoken, row: Fields, input: Any, settings: SpeechSettings) -> dict[str, Any]:
        text, speakers = self._text(row), self.alphabet_.speakers
        return {
            "output": None,
            "text": text,
            "speaker": speakers[int(row["speaker"][0])] if speakers else None,
            "seconds": round(len(output.frames) * FRAME_SHIFT, 3),
            "times": spoken_words(text, output.durations),
        }
