"""What is the transcriber's own: its features' changes, what it leaves out, its words' times and its figures."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatework as gw
from gatework.data import Packed, Tokenizer
from gatework.data.recordings import read_recordings
from gatework.data.sound import write_sound
from gatework.data.sound_changes import at_speed
from gatework.errors import InputError
from gatework.seq2seq import AlignedLabel
from gatework.tasks.batches import inside_of
from gatework.tasks.example_task import Example
from gatework.tasks.transcriber import Transcriber
from gatework.tasks.transcriber.changes import FeatureChanges
from gatework.tasks.transcriber.copies import changed_copies
from gatework.tasks.transcriber.decoding import blank_share
from gatework.tasks.transcriber.flat_start import AnnealedStart, path_loss
from gatework.tasks.transcriber.network import Front, Normalization, SoundBatch
from gatework.tasks.transcriber.options import TranscriberOptions
from gatework.tasks.transcriber.rejection import Rejection, best_rejection, with_noise_alone
from gatework.tasks.transcriber.speakers import floored, speaker_statistics
from gatework.tasks.transcriber.timing import reaching
from gatework.tasks.transcriber.transcripts import (
    TimedWord,
    labels_of_text,
    prepared,
    text_of_labels,
    timed_words,
)
from tests.contracts.task_examples import EXAMPLES, RATE, SPEECH, recording
from tests.tolerances import PREDICTIONS, VALUES, Tolerance, assert_close, close_to, of_draws

NONE = {
    "speed": 0.0,
    "warp": 0.0,
    "noise": 0.0,
    "coloration": 0.0,
    "frequency_gaps": 0,
    "frequency_gap": 0,
    "time_gaps": 0,
    "time_gap": 0,
}
OPTIONS = EXAMPLES["transcriber"].options


def changes(**given: float) -> FeatureChanges:
    return FeatureChanges(low=20.0, high=4000.0, mels=40, **{**NONE, **given})  # type: ignore[arg-type]


def test_a_text_is_prepared_as_its_kind_says() -> None:
    text = "  It's  3,5 well-known Tests… (“so” they say) – O’Neil’s. "
    assert prepared(text, "words") == "it's 3,5 well-known tests so they say o'neil's"
    assert prepared(text, "lowercase") == "it's 3,5 well-known tests… (“so” they say) – o’neil’s."
    assert prepared(text, "as_written") == " ".join(text.split())


@pytest.mark.parametrize("kind", ["character", "bpe"])
def test_labels_are_the_text(kind: str) -> None:
    texts = ["one two three", "ten twenty two"] * 5
    tokenizer = Tokenizer.train(kind, texts, vocabulary_size=300 if kind == "bpe" else None)
    labels = labels_of_text("two ten", tokenizer)
    assert min(labels) >= 1
    assert text_of_labels(labels, tokenizer) == "two ten"
    aligned = [AlignedLabel(label, 3 * place, 3 * place + 2, 0.25) for place, label in enumerate(labels)]
    words = timed_words(aligned, tokenizer)
    assert [word.word for word in words] == ["two", "ten"]
    assert words[0].start == 0
    assert words[1].end == aligned[-1].end
    assert words[0].end <= words[1].start
    assert [word.confidence for word in words] == [close_to(0.25)] * 2


def test_frequencies_move_as_another_vocal_tract_moves_them() -> None:
    torch.manual_seed(0)
    low, high = (1127 * np.log1p(hertz / 700) for hertz in (20, 4000))
    centres = torch.from_numpy(low + (high - low) / 41 * np.arange(1, 41)).float()
    frames = centres.expand(5, 16, 40)  # each band holds its own place in mel
    warped, lengths = changes(warp=0.2)(frames, torch.full((16,), 5))
    factors = torch.expm1(warped / 1127) / torch.expm1(
        centres / 1127
    )  # of the frequency that a band now holds
    inner = factors[:, :, 2:30]
    assert_close(inner, inner[:1, :, :1].expand_as(inner), PREDICTIONS)
    assert lengths.tolist() == [5] * 16
    assert inner.min() > 0.8
    assert inner.max() < 1.2
    assert inner.std() > 0.05


def test_a_recording_is_said_faster_and_slower() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([40, 25, 9] * 10)
    frames = (torch.arange(40.0)[:, None] / (lengths - 1)).expand(3, 40, 30).permute(1, 2, 0)
    inside = inside_of(frames, lengths)
    changed, new = changes(speed=0.3)((frames * inside).contiguous(), lengths)
    rates = lengths / new
    assert 0.65 < rates.min() < 0.85
    assert 1.15 < rates.max() < 1.5
    expected = torch.arange(len(changed))[:, None] / (new - 1)  # from 0 to 1 in as many frames as there are
    wanted = expected[:, :, None] * inside_of(changed, new)
    assert_close(changed, wanted.expand_as(changed).contiguous(), PREDICTIONS)


def test_gaps_are_as_long_as_they_may_be_and_noise_only_adds() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([60, 20, 41])
    frames = torch.ones(60, 3, 40) * inside_of(torch.ones(60, 3, 40), lengths)
    seen = set()
    module = changes(frequency_gaps=1, frequency_gap=7, time_gaps=1, time_gap=12)
    for _ in range(100):
        kept, _ = module(frames, lengths)
        for row, length in enumerate(lengths.tolist()):
            bands = int((kept[:length, row].sum(0) == 0).sum())
            steps = int((kept[:length, row].sum(1) == 0).sum())
            assert bands <= 7
            assert steps <= min(12, length // 4)
            assert int(kept[:, row].sum()) == (length - steps) * (40 - bands)
            seen |= {("bands", bands), ("steps", steps)}
    assert {("bands", 0), ("bands", 7), ("steps", 0), ("steps", 12)} <= seen
    loud = torch.randn(60, 3, 40)
    noisy = changes(noise=1.0).noisy(loud, lengths)
    assert (noisy >= loud).all()
    assert (noisy > loud + 0.01).float().mean() > 0.1
    assert torch.equal(noisy[20:, 1], loud[20:, 1])
    colored, _ = changes(coloration=0.5)(frames, lengths)
    added = (colored - frames)[:, 0]
    assert torch.equal(colored * inside_of(colored, lengths), colored)
    assert_close(added, added[:1].expand_as(added).contiguous(), VALUES)  # the same in all frames of a row
    assert 0.1 < added[0].std() < 1.5
    module.eval()
    assert module(loud, lengths)[0] is loud
    assert module.noisy(loud, lengths) is loud


@pytest.mark.parametrize("kind", ["recording", "running", "training"])
def test_bands_have_mean_zero_and_padding_says_nothing(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    frames = 3 + 2 * torch.randn(50, 4, 6, generator=generator)
    lengths = torch.tensor([50, 20, 31, 1])
    module = Normalization(kind, 6)  # type: ignore[arg-type]
    recordings = [frames[:length, row].numpy() for row, length in enumerate(lengths.tolist())]
    module.learn(recordings)
    rows = np.concatenate(recordings)
    assert_close(module.mean, torch.from_numpy(rows.mean(0)), VALUES)
    assert_close(module.deviation, torch.full((6,), 2.0), {torch.float32: of_draws_tolerance(100)})
    found = module(frames, lengths)
    assert not (found * (1 - inside_of(found, lengths))).any()
    if kind == "recording":
        assert_close(found[:20, 1].mean(0), torch.zeros(6), VALUES)
    padded = torch.cat([frames, torch.full((7, 4, 6), 99.0)])
    assert_close(module(padded, lengths)[:50], found, VALUES)
    alone = module(frames[:20, 1:2], lengths[1:2])
    assert_close(alone[:, 0], found[:20, 1], VALUES)


def test_a_speakers_recordings_are_normalised_together() -> None:
    generator = np.random.default_rng(0)
    means = {"a": 3.0, "b": -2.0}
    speakers = ["a", "b", "a", None, "b", None]
    recordings = [
        generator.normal(means.get(str(name), 0.0), 2.0, (400, 6)).astype(np.float32) for name in speakers
    ]
    known = np.stack(speaker_statistics(recordings, speakers))
    for name in ("a", "b"):
        rows = np.concatenate([one for one, other in zip(recordings, speakers, strict=True) if other == name])
        own = known[speakers.index(name)]
        assert_close(torch.from_numpy(own[1:7]), torch.from_numpy(rows.mean(0)), PREDICTIONS)
        assert_close(torch.from_numpy(own[7:13]), torch.from_numpy(rows.var(0)), PREDICTIONS)
        assert own[0] == 800
        assert np.isneginf(own[13:]).all()
    assert (known[3] != known[5]).sum() > 1  # who is not known is nobody else
    module = Normalization("speaker", 6)
    module.learn(recordings)
    frames = torch.from_numpy(np.stack(recordings, axis=1))
    lengths = torch.full((6,), 400)
    found = module(frames, lengths, torch.from_numpy(known))
    for row in range(6):
        assert abs(found[:, row].mean().item()) < 0.3
        assert 0.8 < found[:, row].std().item() < 1.2
    (unheard,) = speaker_statistics([recordings[0][:0]], ["c"])  # of no frames: the training data's
    nobody = torch.from_numpy(unheard).expand(6, -1)
    assert_close(module(frames, lengths, nobody), module(frames, lengths), VALUES)


def test_a_floor_makes_the_pauses_of_two_rooms_alike() -> None:
    """Ann and Ben say the same; Ben's pauses are 26 decibels louder, 35 below his speech."""
    generator = np.random.default_rng(0)
    said = generator.normal(0.0, 0.5, (300, 6))
    pauses = np.where(np.arange(300)[:, None] % 3 > 0, said, generator.normal(-14.0, 0.5, (300, 6)))
    recordings = [np.maximum(pauses, quiet).astype(np.float32) for quiet in (-14.0, -8.0)]
    frames, lengths = torch.from_numpy(np.stack(recordings, axis=1)), torch.tensor([300, 300])
    apart = {}
    for dynamic_range in (None, 20.0):
        known = speaker_statistics(recordings, ["ann", "ben"], dynamic_range)
        module = Normalization("speaker", 6)
        module.learn([floored(*each) for each in zip(recordings, known, strict=True)])
        found = module(frames, lengths, torch.from_numpy(np.stack(known)))
        apart[dynamic_range] = (found[:, 0] - found[:, 1]).abs().mean().item()
    floor = np.percentile(recordings[1], 95, axis=0) - 2 * np.log(10)  # 20 decibels are 2 ln 10 nats
    assert_close(torch.from_numpy(known[1][13:]), torch.from_numpy(floor).float(), PREDICTIONS)
    assert apart[20.0] < 0.1 * apart[None]


def test_a_floor_is_of_speakers_that_are_known() -> None:
    with pytest.raises(InputError, match="dynamic_range is of normalization=speaker"):
        Transcriber(dynamic_range=25, normalization="recording")


def test_a_speaker_is_read_from_every_kind_of_input(tmp_path: Path) -> None:
    rows = [{**row, "speaker": "ab"[n % 2]} for n, row in enumerate(SPEECH)]
    options = {
        **OPTIONS,
        "normalization": "speaker",
        "dynamic_range": 25,
        "coloration": 0.3,
        "max_steps": 4,
    }
    model = Transcriber(**options).fit(rows, valid=rows[:6], out=tmp_path / "run")
    alone = model.predict(rows[0]["audio"], alternatives=1)[0]
    table = model.predict(rows[:6])
    assert [record["input"] for record in table] == [
        {"audio": row["audio"], "speaker": row["speaker"]} for row in rows[:6]
    ]
    assert alone["probability"] != table[0]["probability"]
    again = model.predict([{"audio": row["audio"], "speaker": row["speaker"]} for row in rows[:6]])
    assert again == table
    assert gw.load(tmp_path / "run").evaluate(rows[:6]) == model.metrics_
    with pytest.raises(InputError, match="reads whole recordings"):
        model.stream()


def test_words_are_labels_where_they_are_few() -> None:
    options = {**OPTIONS, "tokenizer": "word", "max_steps": 30, "select_by": "loss"}
    model = Transcriber(**options).fit(SPEECH, valid=SPEECH[:6])
    known = {"ba", "do", "fi"}
    tokens = {model.tokenizer_.token(id) for id in range(model.tokenizer_.vocabulary_size)}
    assert tokens == known | {"<unk>", "<eos>"}
    for record in model.predict([row["audio"] for row in SPEECH[:6]]):
        assert set(record["output"].split()) <= known
        assert [word["word"] for word in record["times"]] == record["output"].split()
    unheard = {**SPEECH[0], "text": "ba xyz"}
    assert np.isfinite(model.evaluate([unheard, *SPEECH[:2]])["model"]["loss"])


def test_words_reach_to_the_quiet_around_them() -> None:
    loud = np.full(200, -8.0, np.float32)
    for begin, end in ((20, 60), (70, 75), (100, 140), (140, 190)):
        loud[begin:end] = 0.0
    loud[30:35] = -8.0  # before a k: too short to end a word
    loud[139:142] = -4.0  # two words without a quiet between
    labels = [(45, 50), (110, 112), (170, 180)]
    words = [TimedWord(word, *place, 0.5) for word, place in zip(("six", "two", "one"), labels, strict=True)]
    found = [(word.start, word.end) for word in reaching(words, loud[:, None])]
    assert found[0] == (20, 75)  # around the longest quiet between the two
    assert found[1][0] == 100
    assert found[1][1] == found[2][0]
    assert 139 <= found[2][0] < 142
    assert found[2][1] == 190
    (late,) = reaching([words[0]._replace(start=62, end=66)], loud[:, None])  # its labels come after its end
    assert (late.start, late.end) == (20, 75)
    before = [words[0]._replace(start=0, end=2), *words[1:]]  # its labels come before its begin
    early = reaching(before, loud[:, None])
    assert [(word.start, word.end) for word in early] == found
    shared = [words[0]._replace(start=25, end=26), words[0]._replace(start=50, end=52), *words[1:]]
    one, other, *_ = reaching(shared, loud[:, None])  # two words in one stretch: cut where it is quietest
    assert (one.start, other.end) == (20, 75)
    assert one.end == other.start
    assert 30 <= one.end < 35
    assert reaching([], loud[:, None]) == []
    assert reaching(words[:1], np.zeros((0, 1), np.float32)) == words[:1]
    silent = reaching(words, np.full((200, 1), -9.0, np.float32))
    assert all(
        one.start <= label[0] and label[1] <= one.end for one, label in zip(silent, labels, strict=True)
    )


def test_noise_that_is_louder_for_a_moment_is_no_part_of_a_word() -> None:
    """Frames of noise between the words, of which some are nearly as loud as speech."""
    loud = np.random.default_rng(0).normal(-2.0, 0.5, 200).astype(np.float32)
    for begin, end in ((40, 80), (120, 160)):
        loud[begin:end] = 1.0
    words = [TimedWord("two", 50, 52, 0.5), TimedWord("six", 130, 132, 0.5)]
    one, other = reaching(words, loud[:, None])
    places = np.array([one.start, one.end, other.start, other.end])
    assert abs(places - [40, 80, 120, 160]).max() <= 2


def test_a_tone_that_is_softer_than_the_hiss_of_other_bands_is_heard() -> None:
    frames = np.zeros((200, 5), np.float32)
    frames[:, 0] = -8.0
    frames[40:80, 0], frames[80:100, 0], frames[130:160] = 2.0, -3.0, 2.0
    words = [TimedWord("two", 50, 52, 0.5), TimedWord("six", 140, 142, 0.5)]
    assert [(word.start, word.end) for word in reaching(words, frames)] == [(40, 100), (130, 160)]


def test_noise_alone_has_no_labels() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([50, 30, 41, 50] * 10)
    frames = torch.randn(50, 40, 20) * inside_of(torch.ones(50, 40, 1), lengths)
    batch = SoundBatch(frames, lengths, torch.ones(40, 3).long(), torch.full((40,), 3), torch.full((40,), 5))
    found = with_noise_alone(batch, 0.5)
    changed = (found.frames != frames).flatten(2).any(2).any(0)
    assert 8 < changed.sum() < 32
    for name in ("counts", "least"):
        assert torch.equal(getattr(found, name) == 0, changed)
    assert not (found.frames * (1 - inside_of(frames, lengths))).any()
    assert with_noise_alone(SoundBatch(frames, lengths), 0.0).counts is None


def test_a_threshold_tells_right_transcripts_from_noise() -> None:
    right = [0.5 + 0.005 * number for number in range(100)]
    found = best_rejection(right, [None, 0.2, 0.4, 0.49, None, 0.97])
    assert (found.kept, found.rejected) == (1.0, close_to(5 / 6))
    assert 0.49 < found.least_confidence <= 0.5
    assert best_rejection(right, [None] * 4) == Rejection(rejected=1.0)
    assert best_rejection(right, [0.9] * 4) == Rejection()  # at most 2 % of right ones are given up
    assert best_rejection([], [None, 0.3]).rejected == 1.0
    # One noise of forty that sounds like speech is not worth right transcripts of other recordings.
    odd = best_rejection([0.99] * 80, [0.2] * 39 + [0.95])
    assert 0.2 < odd.least_confidence < 0.21
    assert (odd.kept, odd.rejected) == (1.0, close_to(39 / 40))


def of_draws_tolerance(count: int) -> Tolerance:
    return Tolerance(of_draws(count), 0.0)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_step_sees_so_many_frames_and_no_padding(stride: int) -> None:
    torch.manual_seed(1)
    front = Front(12, 4, stride, 10)
    lengths = torch.tensor([40, 23])
    frames = torch.randn(40, 2, 12) * inside_of(torch.ones(40, 2, 1), lengths)
    steps, counts = front(frames, lengths)
    assert front.stride == stride
    assert counts.tolist() == [-(-40 // stride), -(-23 // stride)]
    alone, _ = front(frames[:23, 1:], lengths[1:])
    assert_close(steps[: counts[1], 1], alone[:, 0], VALUES)
    changed = frames.clone()
    changed[20, 0] += 1.0
    differ = (front(changed, lengths)[0] - steps)[:, 0].abs().sum(1).nonzero().flatten().tolist()
    near = [step for step in range(counts[0]) if abs(stride * step - 20) <= front.ahead]
    assert differ == near


def test_transcripts_longer_than_their_recordings_are_named_and_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = {**recording("ba", 50), "text": "ba do fi ba do fi"}
    rows = [*SPEECH[:6], long, *SPEECH[6:]]
    model = Transcriber(**{**OPTIONS, "max_steps": 2}).fit(rows, valid=[*SPEECH[:4], long])
    said = capsys.readouterr().err
    assert "1 recordings are shorter than their transcripts need at stride=2, and are left out" in said
    assert "row 7" in said
    assert np.isfinite(model.metrics_["model"]["loss"])
    with pytest.raises(InputError, match="training data: holds no example that can be used"):
        Transcriber(**{**OPTIONS, "max_steps": 2}).fit([long, long], valid=SPEECH[:2])


def validations(model: Transcriber) -> list[Mapping[str, Any]]:
    return [record for record in model.result_.history if record["kind"] == "validation"]


def test_a_training_tells_how_much_of_the_recordings_is_blank(
    capsys: pytest.CaptureFixture[str], listener: Transcriber
) -> None:
    table = np.eye(3)[[0, 0, 2, 0]]
    assert blank_share([table, np.eye(3)[[1, 0]]]) == close_to(4 / 6)
    assert blank_share([np.zeros((0, 3))]) == 1.0
    assert 0.2 < validations(listener)[-1]["blank_share"] < 0.98
    silent = "In no recording of the validation data is anything heard"
    assert silent not in capsys.readouterr().err
    young = Transcriber(**OPTIONS).fit(SPEECH, valid=SPEECH[:4])  # which says nothing yet
    assert [record["blank_share"] for record in validations(young)] == [1.0, 1.0]
    assert silent in capsys.readouterr().err


def test_training_reads_copies_at_other_speeds_and_with_noise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hiss = np.random.default_rng(0).normal(0, 0.1, 3 * RATE)
    write_sound(tmp_path / "hiss.wav", hiss, RATE)
    examples = [Example("", one, one.text) for one in read_recordings(SPEECH)]
    copies = changed_copies(examples, (0.8, 1.25), (str(tmp_path),))
    count = len(examples)
    assert [each.output for each in copies] == 3 * [each.output for each in examples]
    plain, slow, fast, noisy = (
        each.input for each in (examples[0], copies[0], copies[count], copies[2 * count])
    )
    samples = plain.samples(RATE)
    for copy, speed in ((slow, 0.8), (fast, 1.25)):
        assert np.array_equal(copy.samples(RATE), at_speed(samples, speed))
        assert copy.length() == close_to(plain.length() / speed)
    added = noisy.samples(RATE) - samples
    assert 5 <= 10 * np.log10(np.mean(samples**2) / np.mean(added**2)) <= 25
    assert np.array_equal(
        noisy.samples(RATE), changed_copies(examples, (), (str(tmp_path),))[0].input.samples(RATE)
    )
    spoken_by = replace(plain, speaker="ann")
    (known,) = changed_copies([Example("", spoken_by, "ba")], (0.9,), ())
    assert known.input.speaker == "ann at speed 0.9"  # a voice that is as different as another's
    options = {**OPTIONS, "max_steps": 2, "speeds": (0.9, 1.1), "noises": (str(tmp_path / "hiss.wav"),)}
    model, seen = Transcriber(**options), []

    def look(record: Mapping[str, Any]) -> bool:
        seen.append(len(model._train_rows))
        return False

    model.fit(SPEECH, valid=SPEECH[:3], callbacks=[look])
    assert seen[0] == 4 * len(SPEECH)
    write_sound(tmp_path / "hiss.wav", 0 * hiss, RATE)
    with pytest.raises(InputError, match=r"hiss\.wav.*silent"):
        Transcriber(**options).fit(SPEECH, valid=SPEECH[:3])


def test_a_path_may_be_a_sound_or_a_folder_of_sounds(listener: Transcriber, tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for number in range(2):
        shutil.copy(SPEECH[number]["audio"], folder / f"{number}.wav")

    def said(given: Any) -> list[tuple[str, str]]:
        return [(record["input"], record["output"]) for record in listener.predict(given)]

    both = said([str(folder / "0.wav"), str(folder / "1.wav")])
    assert said(folder / "0.wav") == both[:1]
    assert said(folder) == both
    other_ending = shutil.copy(folder / "0.wav", folder / "0.voice")
    assert said(Path(other_ending))[0][1] == both[0][1]
    (folder / "2.wav").write_text("no sound")
    with pytest.raises(InputError, match=r"2\.wav"):
        listener.predict(folder)


def test_a_recording_shorter_than_a_frame_says_nothing(listener: Transcriber) -> None:
    blip = {"array": [0.1, -0.1, 0.2], "sampling_rate": RATE}
    (alone,) = listener.predict([blip])
    assert (alone["output"], alone["times"], alone["seconds"]) == ("", [], 0.0)
    together = listener.predict([SPEECH[4]["audio"], blip])
    assert together[1] == alone
    row = {"audio": blip, "text": "b"}
    assert np.isfinite(listener.evaluate([row, *SPEECH[:2]])["model"]["loss"])


def test_training_frames_are_in_a_file_that_goes(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def look(record: Mapping[str, Any]) -> bool:
        seen.append(sorted(path.name for path in (tmp_path / "run/features").iterdir()))
        return False

    Transcriber(**{**OPTIONS, "max_steps": 2, "record_every": 1}).fit(
        SPEECH, valid=SPEECH[:3], out=tmp_path / "run", callbacks=[look]
    )
    assert seen[0] == ["training.bin"]
    assert not (tmp_path / "run/features").exists()


@pytest.mark.parametrize(
    ("lengths", "share", "steps"), [({"epochs": 5}, 0.5, 10), ({"epochs": 5, "max_steps": 8}, 0.25, 2)]
)
def test_a_flat_start_ends_after_its_share_of_the_steps(
    lengths: Mapping[str, int], share: float, steps: int
) -> None:
    """Of epochs of 4 batches: each has its sharpness wherever a training that goes on begins."""
    rows = Packed.from_rows([{"frames": np.zeros((5, 2), np.float32)}] * 4)

    def collate(rows: Any) -> SoundBatch:
        return SoundBatch(torch.zeros(5, 1, 2), torch.tensor([5]))

    losses: Mapping[str, Any] = {"budget": 5, "by": ("frames",), "seed": 0, "loss": path_loss}
    problem = AnnealedStart(torch.nn.Identity(), rows, rows, collate, **losses)
    problem.options = TranscriberOptions(flat_start=share, **lengths)
    found = [problem.batches(epoch, 0, 1)[index].sharpness for epoch in range(5) for index in range(4)]
    assert [float(each) for each in found[:steps]] == close_to(np.arange(steps) / steps)
    assert found[steps:] == [None] * (20 - steps)
