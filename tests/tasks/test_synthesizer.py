"""What is the synthesizer's own: durations, upsampling, sounds that are written, and saying what was never heard."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatework as gw
from gatework.baselines import MeanFrame, NearestFrames, NearestText
from gatework.baselines.speech import edit_distances
from gatework.cells import get
from gatework.data import read_sound, sound_seconds
from gatework.errors import InputError, RunError
from gatework.seq2seq import AlignedLabel
from gatework.tasks.synthesizer import Synthesizer
from gatework.tasks.synthesizer.aligning import durations_of_places, places_of_labels
from gatework.tasks.synthesizer.attending import guided_loss
from gatework.tasks.synthesizer.network import SpeechBatch, Spoken, SynthesizerNetwork, speak, timing_error
from gatework.tasks.synthesizer.recorded import AlignedSpeech, Alphabet
from gatework.tasks.synthesizer.speaking import spoken_words, with_pauses
from gatework.tasks.synthesizer.upsampling import gaussian_weights, place_in_character
from gatework.tasks.transcriber import Transcriber
from tests.contracts.task_contract import (
    Case,
    loads_to_the_bit,
    predicts_alike_alone_and_together,
    resumes_to_the_bit,
)
from tests.contracts.task_examples import EXAMPLES, RATE, TONES, VOICES, recording
from tests.tolerances import PREDICTIONS, VALUES, assert_close, close_to

OPTIONS = EXAMPLES["synthesizer"].options


def test_a_character_lasts_from_the_middle_to_the_middle() -> None:
    aligned = [AlignedLabel(1, 2, 4, 0.9), AlignedLabel(2, 7, 8, 0.9)]  # steps of 2 frames
    places = places_of_labels(aligned, [0, 3], 5, 10.0) * 2
    assert places.tolist() == [6.0, 9.0, 12.0, 15.0, 17.5]  # those without a label lie evenly between
    durations = durations_of_places(places, 20)
    assert durations.tolist() == [7.5, 3.0, 3.0, 2.75, 3.75]
    assert durations.sum() == 20


def test_the_durations_that_fit_best_are_as_long_together_as_those_of_the_recordings() -> None:
    durations = torch.tensor([1.0, 2.0, 12.0])
    mean = torch.tensor(5.0).log().requires_grad_()
    timing_error(mean.expand(3), durations).sum().backward()
    assert mean.grad is not None
    assert float(mean.grad) == close_to(0.0)
    little = timing_error(durations.double().log() + 1e-3, durations.double())
    assert (
        (little / 1e-6 > 0.99) & (little / 1e-6 < 1.01)
    ).all()  # as the squared difference of the logarithms


def test_steps_read_the_characters_near_them() -> None:
    durations = torch.tensor([[4.0, 2.0], [2.0, 6.0], [6.0, 0.0]])  # (N, B)
    ranges, counts = torch.tensor([[1.0, 0.5], [0.7, 2.0], [2.5, 9.0]]), torch.tensor([3, 2])
    times = torch.tensor([1.0, 3.0, 5.0, 11.0])
    weights = gaussian_weights(durations, ranges, counts, times)
    for row, count in enumerate(counts.tolist()):
        end = np.cumsum(durations[:count, row].numpy())
        middle = end - durations[:count, row].numpy() / 2
        own = ranges[:count, row].numpy()
        for step, time in enumerate(times.tolist()):
            density = np.exp(-0.5 * ((time - middle) / own) ** 2) / own
            assert weights[row, step, :count].tolist() == [close_to(each) for each in density / density.sum()]
            assert not weights[row, step, count:].any()


def test_a_step_knows_how_much_of_its_character_is_over() -> None:
    durations = torch.tensor([[4.0, 2.0], [2.0, 6.0], [6.0, 0.0]])
    place = place_in_character(durations, torch.tensor([3, 2]), torch.tensor([1.0, 5.0, 11.0, 30.0]))
    assert_close(place[:, 0, 0], torch.sin(torch.pi * torch.tensor([0.25, 0.5, 5 / 6, 1.0])), VALUES)
    assert_close(place[:, 1, 0], torch.sin(torch.pi * torch.tensor([0.5, 0.5, 1.0, 1.0])), VALUES)


def small(**given: Any) -> SynthesizerNetwork:
    torch.manual_seed(3)
    sizes = {"mels": 5, "embedding_size": 4, "channels": 6, "hidden_size": 7, "num_layers": 2, "reduction": 3}
    rates = {"dropout": 0.1, "prenet_dropout": 0.5}
    network = SynthesizerNetwork(get("gru"), 9, 3, **{**sizes, **given}, **rates)
    network.learn_scale(np.random.default_rng(0).normal(-4, 2, (50, 5)).astype(np.float32))
    return network.eval()


def spoken_batch() -> SpeechBatch:
    generator = torch.Generator().manual_seed(5)
    counts, lengths = torch.tensor([6, 3]), torch.tensor([20, 11])
    durations = torch.tensor([[3.0, 4.0], [2.0, 5.0], [4.5, 2.0], [1.5, 0.0], [5.0, 0.0], [4.0, 0.0]])
    frames = torch.randn(20, 2, 5, generator=generator) - 4
    frames[11:, 1] = 0.0
    ids = torch.randint(9, (6, 2), generator=generator)
    return SpeechBatch(ids, counts, torch.tensor([0, 2]), frames, lengths, durations)


@pytest.mark.parametrize(("reduction", "attention"), [(1, "durations"), (3, "durations"), (3, "location")])
def test_padding_says_nothing(reduction: int, attention: str) -> None:
    network, batch = small(reduction=reduction, attention=attention), spoken_batch()
    assert batch.frames is not None
    assert batch.durations is not None
    assert batch.lengths is not None
    both = network(batch)
    alone = network(
        SpeechBatch(
            batch.ids[:3, 1:],
            batch.counts[1:],
            batch.speakers[1:],
            batch.frames[:11, 1:],
            batch.lengths[1:],
            batch.durations[:3, 1:],
        )
    )
    pairs = [(both.before[:11, 1], alone.before[:, 0]), (both.frames[:11, 1], alone.frames[:, 0])]
    if attention == "durations":
        pairs.append((both.log_durations[:3, 1], alone.log_durations[:, 0]))
    else:
        steps = len(alone.stop)
        pairs += [
            (both.alignment[:steps, 1, :3], alone.alignment[:, 0]),
            (both.stop[:steps, 1], alone.stop[:, 0]),
        ]
        assert not both.alignment[:, 1, 3:].any()
    for found, expected in pairs:
        assert_close(found, expected, VALUES)


@pytest.mark.parametrize("reduction", [1, 3])
def test_what_is_spoken_is_what_the_network_makes_of_its_own_frames(reduction: int) -> None:
    """Step by step as in one call, when that is told the frames and the durations that were spoken."""
    network, batch = small(reduction=reduction), spoken_batch()
    with torch.inference_mode():
        spoken = speak([network], batch, 1.0)
        for row, each in enumerate(spoken):
            count = int(batch.counts[row])
            length = len(each.frames)
            assert length == round(float(each.durations.sum()))
            alone = SpeechBatch(
                batch.ids[:count, row : row + 1], batch.counts[row : row + 1], batch.speakers[row : row + 1]
            )
            durations = torch.from_numpy(each.durations)[:, None]
            frames = torch.zeros(length, 1, 5)
            for end in range(0, length, reduction):  # what is read of them at each step has been made before
                told = alone._replace(frames=frames, lengths=torch.tensor([length]), durations=durations)
                frames = (
                    network(told).before
                    if end + reduction >= length
                    else torch.cat([network(told).before[: end + reduction], frames[end + reduction :]])
                )
            refined = network.refine(frames, torch.tensor([length]))
            assert_close(torch.from_numpy(each.frames), refined[:, 0], PREDICTIONS)


def test_what_attends_speaks_until_it_says_that_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Step by step as in one call that is told the frames; a text ends by itself, or after so many steps."""
    network, batch = small(attention="location"), spoken_batch()
    monkeypatch.setattr(
        "gatework.tasks.synthesizer.network.most_steps", lambda counts, reduction: 4 + 0 * counts
    )
    with torch.inference_mode():
        network.stop.bias.fill_(-100.0)
        for each in speak([network], batch):
            assert len(each.frames) == 12
            assert float(each.durations.sum()) == close_to(12.0)
        network.stop.bias.fill_(100.0)
        assert [len(each.frames) for each in speak([network, network], batch)] == [3, 3]
        network.stop.bias.fill_(-100.0)
        (spoken, _) = speak([network], batch)
        alone = SpeechBatch(batch.ids[:, :1], batch.counts[:1], batch.speakers[:1])
        frames = torch.zeros(12, 1, 5)
        for end in range(0, 12, 3):
            told = alone._replace(frames=frames, lengths=torch.tensor([12]), durations=batch.durations[:, :1])
            frames = torch.cat([network(told).before[: end + 3], frames[end + 3 :]])
        refined = network.refine(frames, torch.tensor([12]))
        assert_close(torch.from_numpy(spoken.frames), refined[:, 0], PREDICTIONS)


def test_the_guide_is_the_papers() -> None:
    torch.manual_seed(0)
    alignment, counts, steps = torch.rand(5, 2, 4), torch.tensor([4, 2]), torch.tensor([5, 3])
    expected = sum(
        float(alignment[s, row, n]) * (1 - math.exp(-(((n + 0.5) / N - (s + 0.5) / S) ** 2) / (2 * 0.2**2)))
        for row, (N, S) in enumerate(zip(counts.tolist(), steps.tolist(), strict=True))
        for s in range(S)
        for n in range(4)
    )
    assert float(guided_loss(alignment, counts, steps)) == close_to(expected)


def test_speed_divides_every_duration() -> None:
    network, batch = small(), spoken_batch()
    with torch.inference_mode():
        one, fast = (speak([network], batch, speed) for speed in (1.0, 2.0))
    for slow, quick in zip(one, fast, strict=True):
        assert quick.durations.tolist() == [close_to(each / 2) for each in slow.durations.tolist()]
        assert len(quick.frames) == round(float(quick.durations.sum()))


def test_pauses_and_times() -> None:
    text = "so, it is..."
    durations = np.full(len(text), 10, np.float32)
    spoken = Spoken(np.arange(120.0)[:, None] * np.ones((1, 3)), durations)
    paused = with_pauses(spoken, text, 0.5)
    assert len(paused.frames) == 170
    assert (paused.frames[30:80] < -15).all()
    assert np.array_equal(paused.frames[80:], spoken.frames[30:])
    assert spoken_words(text, paused.durations) == [
        {"word": "so", "start": 0.0, "end": 0.2},
        {"word": "it", "start": 0.9, "end": 1.1},
        {"word": "is", "start": 1.2, "end": 1.4},
    ]
    assert with_pauses(spoken, text, 0.0) is spoken


def test_the_nearest_text_by_edits() -> None:
    assert edit_distances("kitten", ["sitting", "kitten", "", "kit"]).tolist() == [3 / 7, 0.0, 1.0, 0.5]
    assert edit_distances("", ["", "ab"]).tolist() == [0.0, 1.0]


def frames_of(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None] * np.ones((1, 2), np.float32)


def test_baselines_play_what_they_were_given() -> None:
    texts, frames = ["one two", {"text": "three", "speaker": "a"}], [frames_of(1.0, 2.0), frames_of(6.0)]
    recordings = [AlignedSpeech("", each, np.zeros(0), True) for each in frames]
    rival = NearestText.from_arrays(NearestText().fit(texts, recordings).to_arrays())
    assert [each.tolist() for each in rival.predict(["one too", "tree"])] == [[[1, 1], [2, 2]], [[6, 6]]]
    mean = MeanFrame.from_json(MeanFrame().fit(texts, frames).to_json())
    assert [each.tolist() for each in mean.predict(["1234", "x"])] == [[[3, 3]], [[3, 3]]]
    for broken in (
        "{}",
        '{"frame": [1.0, "x"], "pace": 1.0}',
        '{"frame": [1.0], "pace": -1}',
        '{"frame": [1e300], "pace": 1}',
        "[]",
    ):
        with pytest.raises(ValueError, match=r"holds no numbers|frames a character|energy"):
            MeanFrame.from_json(broken)


def test_frames_are_played_where_their_neighbours_are_alike() -> None:
    recordings = [
        AlignedSpeech("cab", frames_of(1, 2, 2, 3), np.array([1, 2, 1.0]), True),
        AlignedSpeech("bab", frames_of(4, 5, 5, 5, 6), np.array([1.2, 2.6, 1.2]), True),
    ]
    rival = NearestFrames().fit(["", ""], recordings)
    kept = NearestFrames.from_arrays(rival.to_arrays())
    for text, played in {
        "cab": [1, 2, 2, 3],  # whole recordings come back
        "bab": [4, 5, 5, 5, 6],
        "abc": [2, 2, 3, 1],  # the first of equals, and what goes on after it
        "xb": [3],
        "xyz": [1],
    }.items():
        (found,) = kept.predict([{"text": text}])
        assert found[:, 0].tolist() == played, text
    with pytest.raises(ValueError, match="do not end where"):
        NearestFrames.from_arrays(rival.to_arrays() | {"ends": rival.ends_ - 1})
    with pytest.raises(ValueError, match="has no array"):
        NearestFrames.from_arrays({})


def test_the_alphabet_refuses_by_name() -> None:
    alphabet = Alphabet(characters=" ,dfino", speakers=["ann", "ben"])
    assert alphabet.spelled("Do, fi!") == "do, fi"
    with pytest.raises(InputError, match=r"'x' \(LATIN SMALL LETTER X\)"):
        alphabet.spelled("do x")
    with pytest.raises(InputError, match="nothing to speak"):
        alphabet.spelled(" , ")
    with pytest.raises(InputError, match="no speaker 'bem'"):
        alphabet.speaker_id("bem", "text")
    for broken in (
        '{"characters": "ab", "speakers": []}',
        '{"characters": " aa", "speakers": []}',
        '{"characters": "", "speakers": []}',
        "{}",
    ):
        with pytest.raises(ValueError, match=r"."):
            Alphabet.from_json(broken)


@pytest.fixture(scope="module")
def model() -> Synthesizer:
    return Synthesizer(**OPTIONS).fit(VOICES, valid=VOICES[:3])


def test_sounds_are_written_one_by_one(model: Synthesizer, tmp_path: Path) -> None:
    out = tmp_path / "say.wav"
    (record,) = model.predict("do ba fi", out=str(out))
    assert record["output"] == str(out)
    assert sound_seconds(out) == close_to(record["seconds"] + 0.015)  # a frame is longer than its shift
    assert np.abs(read_sound(out, 8000)).max() > 0
    with pytest.raises(InputError, match="names one file") as caught:
        model.predict(["do", "ba"], out=str(out))
    assert "out=spoken" in caught.value.fix
    with pytest.raises(InputError, match="names one file"):
        list(model.predict_stream(iter(["do", "ba"]), out=str(out)))
    several = list(model.predict_stream(iter(["do", "ba", "fi"]), out=str(tmp_path / "some")))
    assert [Path(each["output"]).name for each in several] == ["0001.wav", "0002.wav", "0003.wav"]
    assert [each["input"] for each in several] == ["do", "ba", "fi"]
    with pytest.raises(InputError, match="LATIN SMALL LETTER Z"):
        model.predict("zoo")


def test_pictures_are_drawn(model: Synthesizer, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    model.predict(["do, fi", "ba"], picture=str(tmp_path / "some"))
    names = [f"some/{number:04}.png" for number in (1, 2)]
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in names)
    with pytest.raises(InputError, match="setting picture: names one file"):
        model.predict(["do", "ba"], picture=str(tmp_path / "one.png"))


def test_voices_and_pauses(model: Synthesizer) -> None:
    ann, ben = model.predict("do, fi", speaker="ann")[0], model.predict("do, fi", speaker="ben")[0]
    assert (ann["speaker"], ben["speaker"]) == ("ann", "ben")
    assert model.predict({"text": "do, fi", "speaker": "ben"}, speaker="ann")[0]["seconds"] == ben["seconds"]
    assert model.predict("do, fi", pause=0.5, speaker="ann")[0]["seconds"] == close_to(ann["seconds"] + 0.5)
    with pytest.raises(InputError, match="no speaker 'bem'"):
        model.predict("do", speaker="bem")


def test_a_voice_without_a_name_is_not_asked_for_another(model: Synthesizer) -> None:
    nameless = [{name: row[name] for name in ("audio", "text")} for row in VOICES]
    other = Synthesizer(**{**OPTIONS, "max_steps": 1}, aligner=str(model.run_.path / "aligner"))
    other.fit(nameless, valid=nameless[:2])
    with pytest.raises(InputError, match="'bem', and the voice of this run has no name"):
        other.predict("do", speaker="bem")


def test_one_speaker_alone_is_learned() -> None:
    options = {**OPTIONS, "max_steps": 1, "speaker": "ben"}
    model = Synthesizer(**options).fit(VOICES, valid=VOICES)
    assert model.alphabet_.speakers == ["ben"]
    assert model.metrics_["examples"] == sum(row["speaker"] == "ben" for row in VOICES)
    with pytest.raises(InputError, match="no recording is of 'bem'"):
        Synthesizer(**{**options, "speaker": "bem"}).fit(VOICES)


def test_a_transcribers_run_finds_the_characters(model: Synthesizer, tmp_path: Path) -> None:
    given = model.run_.path / "aligner"
    other = Synthesizer(**OPTIONS, aligner=str(given)).fit(VOICES, valid=VOICES[:3], out=tmp_path / "run")
    assert other.metrics_ == model.metrics_
    kept = gw.load(tmp_path / "run" / "aligner")
    assert kept.metrics_ == gw.load(given).metrics_
    with pytest.raises(InputError, match="is a synthesizer"):
        Synthesizer(**OPTIONS, aligner=str(model.run_.path)).fit(VOICES)
    config = json.loads((tmp_path / "run/aligner/config.json").read_text())
    (tmp_path / "run/aligner/config.json").write_text(json.dumps(config | {"task": "tagger"}))
    with pytest.raises(RunError, match=r"aligner"):
        gw.load(tmp_path / "run")


class Parrot:
    """A transcriber that hears what it is told, whatever is said."""

    def __init__(self, *texts: str) -> None:
        self._texts = texts
        self.options_ = gw.Transcriber(text="words").options

    def predict(self, sounds: list[Any]) -> list[dict[str, Any]]:
        seconds = [len(each["array"]) / each["sampling_rate"] for each in sounds]
        words = [[{"word": word, "start": 0.1, "end": 0.2} for word in text.split()] for text in self._texts]
        return [
            {"output": text, "times": times, "seconds": length}
            for text, times, length in zip(self._texts, words, seconds, strict=True)
        ]


def test_a_recogniser_is_asked_what_it_hears(model: Synthesizer, monkeypatch: pytest.MonkeyPatch) -> None:
    run, data = model.run_.path / "aligner", VOICES[4:6]  # "ba" and "fi ba."
    before = model.evaluate(data)
    figures = model.evaluate(data, transcriber=str(run))
    names = {"wer", "cer", "word_deletion_rate", "unaligned_duration_ratio"}
    for own in (figures["model"], *figures["baselines"].values(), figures["references"]):
        assert names <= set(own)
    assert {name: value for name, value in figures["model"].items() if name not in names} == before["model"]
    with monkeypatch.context() as patch:
        patch.setattr(Transcriber, "restore", lambda run: Parrot("ba", "fi"))
        heard = model.evaluate(data, transcriber=str(run))["references"]
    assert heard["wer"] == heard["word_deletion_rate"] == close_to(1 / 3)
    assert heard["unaligned_duration_ratio"] == 0.0
    with pytest.raises(InputError, match="is a synthesizer"):
        model.evaluate(data, transcriber=str(model.run_.path))


def test_what_was_killed_while_its_aligner_was_trained_goes_on(
    model: Synthesizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Transcriber, "_validation_figures", killed)
        patch.setattr(shutil, "rmtree", lambda *given, **how: None)  # what is killed clears nothing away
        with pytest.raises(KeyboardInterrupt):
            Synthesizer(**OPTIONS).fit(VOICES, valid=VOICES[:3], out=tmp_path / "run")
    assert (tmp_path / "run/aligner").exists()
    whole = Synthesizer(**OPTIONS).fit(VOICES, valid=VOICES[:3], out=tmp_path / "run", resume=True)
    assert whole.metrics_ == model.metrics_


@pytest.mark.parametrize(
    "check",
    [loads_to_the_bit, predicts_alike_alone_and_together, resumes_to_the_bit],
    ids=lambda check: check.__name__,
)
def test_a_run_that_attends_keeps_the_contract(
    check: Callable[[Case], None], model: Synthesizer, tmp_path: Path
) -> None:
    options = {**OPTIONS, "attention": "location", "aligner": str(model.run_.path / "aligner")}
    check(Case(Synthesizer, replace(EXAMPLES["synthesizer"], options=options, settings={}), tmp_path))


def test_attention_knows_no_speed(model: Synthesizer) -> None:
    given = {"attention": "location", "aligner": str(model.run_.path / "aligner"), "max_steps": 1}
    attending = Synthesizer(**OPTIONS | given).fit(VOICES, valid=VOICES[:3])
    with pytest.raises(InputError, match="setting speed"):
        attending.predict("do", speed=2.0)
    assert attending.network_.attention.explain().name == "llvm"


def test_recordings_that_are_too_short_for_their_texts_are_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = {**recording("ba", 50), "text": "ba do fi " * 20, "speaker": "ann"}
    model = Synthesizer(**{**OPTIONS, "max_steps": 2}).fit([*VOICES[:6], long, *VOICES[6:]], valid=[long])
    said = capsys.readouterr().err
    assert "1 recordings do not fit their texts, and are left out, the first at" in said
    assert "row 7" in said
    assert np.isfinite(list(model.metrics_["model"].values())).all()


def test_tones_are_said_in_an_order_that_was_never_heard(tmp_path: Path) -> None:
    heard = ["ba do fi", "do ba", "fi ba", "ba", "do do", "fi", "ba fi ba"]
    rows = [recording(words, number) for number, words in enumerate(heard * 4)]
    sizes = {"mels": 16, "embedding_size": 16, "channels": 16, "hidden_size": 16, "batch_tokens": 600}
    length = {"aligner_steps": 30, "max_steps": 80, "validate_every": 1000, "learning_rate": 0.01}
    model = Synthesizer(rate=RATE, device="cpu", dropout=0.0, **sizes, **length).fit(rows, valid=rows[:7])
    figures = model.metrics_
    ours, mean = figures["model"], figures["baselines"]["mean_frame"]
    assert ours["mel_cepstral_distortion"] < mean["mel_cepstral_distortion"] / 2
    assert ours["duration_error_ms"] < 10
    out = str(tmp_path / "new.wav")
    (record,) = model.predict("fi do ba do", out=out)
    sound = read_sound(out, RATE)
    pitches = np.fft.rfftfreq(8192, 1 / RATE)
    for timed, word in zip(record["times"], ("fi", "do", "ba", "do"), strict=True):
        part = sound[int(timed["start"] * RATE) : int(timed["end"] * RATE)]
        power = np.abs(np.fft.rfft(part * np.hanning(len(part)), 8192)) ** 2
        near = {name: power[abs(pitches / tone - 1) < 0.1].sum() for name, tone in TONES.items()}
        assert max(near, key=near.__getitem__) == word, near
        assert near[word] > sum(near.values()) * 0.8
