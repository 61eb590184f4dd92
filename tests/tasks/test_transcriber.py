"""What is the transcriber's own: its features' changes, what it leaves out, its words' times and its figures."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatework as gw
from gatework.data import Tokenizer
from gatework.errors import InputError
from gatework.seq2seq import AlignedLabel
from gatework.tasks.batches import inside_of
from gatework.tasks.transcriber import Transcriber
from gatework.tasks.transcriber.attention_decoder import AttentionDecoder
from gatework.tasks.transcriber.changes import FeatureChanges
from gatework.tasks.transcriber.decoding import PauseFinder, label_log_probabilities
from gatework.tasks.transcriber.joint_search import joint_labels
from gatework.tasks.transcriber.network import Front, Normalization, SoundBatch
from gatework.tasks.transcriber.rejection import Rejection, best_rejection, with_noise_alone
from gatework.tasks.transcriber.scorers import HotwordScorer, LanguageScorer, label_pieces
from gatework.tasks.transcriber.sound_stream import SoundStream
from gatework.tasks.transcriber.speakers import speaker_statistics
from gatework.tasks.transcriber.timing import reaching
from gatework.tasks.transcriber.transcripts import (
    TimedWord,
    labels_of_text,
    prepared,
    text_of_labels,
    timed_words,
)
from gatework.training import files
from tests.contracts.task_examples import EXAMPLES, RATE, SPEECH, recording, spoken
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
        assert_close(torch.from_numpy(own[7:]), torch.from_numpy(rows.var(0)), PREDICTIONS)
        assert own[0] == 800
    assert (known[3] != known[5]).sum() > 1  # who is not known is nobody else
    module = Normalization("speaker", 6)
    module.learn(recordings)
    frames = torch.from_numpy(np.stack(recordings, axis=1))
    lengths = torch.full((6,), 400)
    found = module(frames, lengths, torch.from_numpy(known))
    for row in range(6):
        assert abs(found[:, row].mean().item()) < 0.3
        assert 0.8 < found[:, row].std().item() < 1.2
    nobody = torch.zeros(6, 13)  # of no frames: the training data's
    assert_close(module(frames, lengths, nobody), module(frames, lengths), VALUES)


def test_a_speaker_is_read_from_every_kind_of_input(tmp_path: Path) -> None:
    rows = [{**row, "speaker": "ab"[n % 2]} for n, row in enumerate(SPEECH)]
    options = {**OPTIONS, "normalization": "speaker", "coloration": 0.3, "max_steps": 4}
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
    found = [(word.start, word.end) for word in reaching(words, loud)]
    assert found[0] == (20, 75)  # around the longest quiet between the two
    assert found[1][0] == 100
    assert found[1][1] == found[2][0]
    assert 139 <= found[2][0] < 142
    assert found[2][1] == 190
    (late,) = reaching([words[0]._replace(start=62, end=66)], loud)  # its labels come after its end
    assert (late.start, late.end) == (20, 60)
    assert reaching([], loud) == []
    assert reaching(words[:1], np.zeros(0, np.float32)) == words[:1]
    silent = reaching(words, np.full(200, -9.0, np.float32))
    assert all(
        one.start <= label[0] and label[1] <= one.end for one, label in zip(silent, labels, strict=True)
    )


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


def test_what_is_taken_for_noise_is_not_said(listener: Transcriber) -> None:
    sounds = [row["audio"] for row in SPEECH[:6]]
    plain = listener.predict(sounds, reject=False)
    assert all(record["output"] and "rejected" not in record for record in plain)
    assert listener.rejection_.rejected > 0.8  # hissing and humming are no words
    strict = gw.load(listener.run_.path)
    strict.rejection_ = Rejection(least_confidence=1.0)
    for record in strict.predict(sounds):
        assert (record["output"], record["times"], record["rejected"]) == ("", [], True)
    stream = strict.stream()
    assert finals(heard(stream, sentence(), [50_000])) == []


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


# Streams


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Transcriber:
    """A run that hears as one speaks: trained until it says something. It writes a letter for each word."""
    rows = [{**row, "text": " ".join(word[0] for word in row["text"].split())} for row in SPEECH]
    options = {**OPTIONS, "bidirectional": False, "hidden_size": 24, "num_layers": 1, "channels": 8}
    options |= dict.fromkeys(("dropout", "noise", "frequency_gaps", "time_gaps"), 0)
    options |= {"max_steps": None, "epochs": 60, "validate_every": 180, "learning_rate": 0.01}
    out = tmp_path_factory.mktemp("listener") / "run"
    return Transcriber(**options).fit(rows, valid=rows[:6], out=out)


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
    (folder / "2.wav").write_text("no sound")
    with pytest.raises(InputError, match=r"2\.wav"):
        listener.predict(folder)


def sentence(rate: int = RATE) -> np.ndarray:
    """Words with pauses between, of which some are longer than half a second."""
    parts = [
        spoken("ba do", 1),
        [0.0] * 6000,
        spoken("fi", 2),
        spoken("do", 3),
        [0.0] * 8000,
        spoken("ba", 4),
    ]
    samples = np.concatenate([np.asarray(part, np.float32) for part in parts])
    samples += np.random.default_rng(0).normal(0, 0.005, len(samples)).astype(np.float32)
    return samples


def heard(stream: SoundStream, samples: np.ndarray, sizes: Iterable[int]) -> list[dict[str, Any]]:
    records, begin = [], 0
    for size in sizes:
        records += stream.accept(samples[begin : begin + size])
        begin += size
    assert begin >= len(samples)
    return records + stream.finish()


def finals(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [record for record in records if record["kind"] == "final"]


@pytest.mark.parametrize("beam", [1, 4])
def test_a_stream_says_what_predict_says_however_the_sound_is_cut(listener: Transcriber, beam: int) -> None:
    samples = sentence()
    whole = listener.predict({"array": samples.tolist(), "sampling_rate": RATE}, beam=beam)[0]
    assert len(whole["output"].split()) > 2
    stream = listener.stream(beam=beam)
    generator = np.random.default_rng(1)
    cuts = [[len(samples)], [80] * (len(samples) // 80 + 1), generator.integers(0, 3000, 40).tolist()]
    for sizes in cuts:
        records = finals(heard(stream, samples, sizes))
        assert len(records) > 1  # the pauses are found
        assert " ".join(record["output"] for record in records) == whole["output"]
        words = [word for record in records for word in record["times"]]
        assert_same_numbers(words, whole["times"])
        # Where nothing is said there is no record; that it is nothing is uncertain too.
        assert 1.01 * np.prod([record["probability"] for record in records]) > whole["probability"]


def assert_same_numbers(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> None:
    assert [word["word"] for word in one] == [word["word"] for word in other]
    for name in ("start", "end", "confidence"):
        for mine, theirs in zip(one, other, strict=True):
            assert mine[name] == close_to(theirs[name], table=PREDICTIONS)


def test_words_come_before_their_sentence_ends_and_pauses_make_them_final(listener: Transcriber) -> None:
    samples, stream = sentence(), listener.stream()
    records = heard(stream, samples, [160] * (len(samples) // 160 + 1))
    assert {record["kind"] for record in records} == {"partial", "final"}
    for before, record in itertools.pairwise(records):
        assert before["seconds"] <= record["seconds"]
        if record["kind"] == "final" and before["kind"] == "partial":
            assert before["output"] == record["output"]  # nothing is changed at the last moment
    first = finals(records)[0]
    pause = first["times"][-1]["end"] + 0.5
    assert abs(first["seconds"] - pause) < 0.15
    assert stream.look_ahead == close_to(0.0425)


def test_a_stream_is_saved_and_gone_on_with(listener: Transcriber, tmp_path: Path) -> None:
    samples = sentence()
    expected = heard(listener.stream(), samples, [len(samples)])
    for cut in (0, 1, 777, 5001, 14_000):
        stream = listener.stream()
        records = stream.accept(samples[:cut])
        stream.save(tmp_path / "stream.safetensors")
        again = gw.load(listener.run_.path).stream(saved=tmp_path / "stream.safetensors")
        records += again.accept(samples[cut:]) + again.finish()
        got, wanted = finals(records), finals(expected)
        assert [one["output"] for one in got] == [one["output"] for one in wanted]
        for one, other in zip(got, wanted, strict=True):
            assert_same_numbers(one["times"], other["times"])


def test_a_stream_of_another_rate_hears_the_same(listener: Transcriber) -> None:
    import soxr

    samples = sentence()
    doubled = soxr.resample(samples, RATE, 2 * RATE)
    stereo = np.stack([doubled, doubled], axis=1)
    texts = [
        " ".join(record["output"] for record in finals(heard(stream, given, [1000] * 100)))
        for stream, given in ((listener.stream(), samples), (listener.stream(rate=2 * RATE), stereo))
    ]
    assert texts[0] == texts[1]


def test_what_is_no_stream_of_the_run_is_refused(listener: Transcriber, tmp_path: Path) -> None:
    stream = listener.stream()
    stream.save(tmp_path / "stream.safetensors")
    state = stream.state
    with pytest.raises(InputError, match="another run"):
        stream.state = state._replace(weights="0")
    with pytest.raises(InputError, match="another rate"):
        listener.stream(rate=16_000, saved=tmp_path / "stream.safetensors")
    with pytest.raises(InputError, match="is damaged"):
        stream.state = state._replace(arrays={**state.arrays, "segment": np.zeros((3, 2), np.float32)})
    listener.network_.state_dict()
    files.write_tensors(tmp_path / "other.safetensors", {"x": torch.zeros(1)})
    with pytest.raises(InputError, match="is no state of a stream"):
        listener.stream(saved=tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="sample 1 is nan"):
        stream.accept([0.0, float("nan")])
    whole = Transcriber(**{**OPTIONS, "max_steps": 1}).fit(SPEECH, valid=SPEECH[:3])
    with pytest.raises(InputError, match="reads whole recordings") as caught:
        whole.stream()
    assert "bidirectional=false" in str(caught.value)
    item = SPEECH[0]["audio"]
    assert list(whole.stream(item)) == whole.predict(item)  # every task's own stream


def test_pauses_end_segments_at_the_same_steps_however_they_come() -> None:
    labels = np.array([0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 1])
    assert PauseFinder(3).accept(labels) == [10, 19]
    finder, ends = PauseFinder(3), []
    for place in range(len(labels)):
        ends += [place + end for end in finder.accept(labels[place : place + 1])]
    assert ends == [10, 19]
    assert PauseFinder(3).accept(np.zeros(50, int)) == []


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


# What a search is told beside the sound


@pytest.mark.parametrize("kind", ["character", "word", "bpe"])
def test_hotwords_add_by_the_character_and_take_back_what_does_not_go_on(kind: str) -> None:
    texts = ["anna can call new york", "ann and yorkshire are new here"] * 3
    tokenizer = Tokenizer.train(
        kind, [f"{text}\n" for text in texts], vocabulary_size=270 if kind == "bpe" else None
    )  # type: ignore[arg-type]
    scorer = HotwordScorer(["anna", "new york", ""], label_pieces(tokenizer), 2.0)
    for text, characters in (
        ("anna", 4),
        ("ann", 0),
        ("call anna", 4),
        ("anna can call new york", 4 + 8),
        ("new here", 0),
        ("yorkshire new york", 8),
        ("ann anna", 4),
        ("", 0),
    ):
        total, state = 0.0, scorer.start()
        for label in labels_of_text(text, tokenizer):
            added, state = scorer.extend(state, label)
            total += added
        assert total + scorer.finish(state) == close_to(2.0 * characters)


@pytest.fixture(scope="module")
def language_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, gw.LanguageModel]:
    folder = tmp_path_factory.mktemp("language")
    lines = [{"text": line} for line in ("ba do fi", "do fi", "fi ba", "ba do") * 8]
    options = {
        "hidden_size": 8,
        "num_layers": 1,
        "batch_size": 2,
        "steps": 8,
        "ngram_order": 2,
        "max_steps": 30,
    }
    sizes = {"character": None, "word": None, "bpe": 260}
    return {
        kind: gw.LanguageModel(**options, tokenizer=kind, vocabulary_size=size).fit(lines, out=folder / kind)
        for kind, size in sizes.items()
    }


@pytest.mark.parametrize("theirs", ["character", "word", "bpe"])
@pytest.mark.parametrize("ours", ["character", "word"])
def test_a_language_model_adds_what_it_says_of_the_text(
    ours: str, theirs: str, language_models: dict[str, gw.LanguageModel]
) -> None:
    model = language_models[theirs]
    tokenizer = Tokenizer.train(ours, ["ba\n", "do\n", "fi ba\n"])  # type: ignore[arg-type]
    scorer = LanguageScorer(
        model.network_,
        model.tokenizer_,
        model.start_token,
        label_pieces(tokenizer),
        weight=0.5,
        word_bonus=0.25,
    )
    for text in ("ba do fi", "fi", "ba ba"):
        total, state = 0.0, scorer.start()
        for label in labels_of_text(text, tokenizer):
            added, state = scorer.extend(state, label)
            total += added
        total += scorer.finish(state)
        whole = model.score(f"{text}\n")[0]["log_probability"]
        assert total == close_to(0.5 * whole + 0.25 * len(text.split()), table=PREDICTIONS)


def test_what_is_expected_is_heard(
    listener: Transcriber, language_models: dict[str, gw.LanguageModel]
) -> None:
    sounds = [row["audio"] for row in SPEECH[:6]]
    plain = listener.predict(sounds, beam=16)
    told = listener.predict(sounds, beam=16, hotwords="f,b", hotword_weight=20.0)
    count = sum(record["output"].count("f") for record in plain)
    assert sum(record["output"].count("f") for record in told) > count
    run = str(language_models["character"].run_.path)
    assert listener.predict(sounds, language_model=run) != plain
    figures = listener.evaluate(SPEECH[:3], language_model=run, hotwords=("b",))
    assert figures["search"] == "prefix search, 8 label sequences, with hotwords and language model"
    with pytest.raises(InputError, match="not a language model"):
        listener.predict(sounds, language_model=str(listener.run_.path))
    stream = listener.stream(hotwords=("f",), hotword_weight=20.0, beam=16)
    samples = sentence()
    whole = listener.predict(
        {"array": samples.tolist(), "sampling_rate": RATE}, hotwords=("f",), hotword_weight=20.0, beam=16
    )
    assert " ".join(one["output"] for one in finals(heard(stream, samples, [999] * 60))) == whole[0]["output"]


# The attention decoder


def test_the_attention_decoder_is_a_distribution_a_step_at_a_time_as_at_once() -> None:
    torch.manual_seed(0)
    decoder = AttentionDecoder(5, memory_size=6, hidden_size=8, dropout=0.2, unknown=2).eval()
    memory, lengths = torch.randn(9, 3, 6), torch.tensor([9, 4, 7])
    labels, counts = torch.tensor([[1, 3, 5], [4, 4, 0], [0, 0, 0]]), torch.tensor([3, 2, 0])
    whole = decoder(memory, lengths, labels, counts)
    total = torch.zeros(())
    for row in range(3):
        state = decoder.start(memory[: lengths[row], row : row + 1], lengths[row : row + 1])
        own = labels[row, : counts[row]].tolist()
        for token, following in itertools.pairwise([0, *own, 0]):
            found, state = decoder.step(torch.tensor([token]), state)
            assert_close(found.exp().sum(), torch.ones(()), VALUES)
            assert found[0, 2] < -1000  # what is unknown is never said
            total = total - found[0, following]
    assert_close(whole, total, VALUES)


def test_a_decoder_that_attends_stands_beside_ctc_in_loss_and_search(tmp_path: Path) -> None:
    options = {**OPTIONS, "attention": 0.4, "max_steps": 12, "record_every": 4}
    model = Transcriber(**options).fit(SPEECH, valid=SPEECH[:5], out=tmp_path / "run")
    record = model.result_.history[0]
    expected = 0.6 * record["parts"]["ctc"] + 0.4 * record["parts"]["attention"]
    assert record["loss"] == close_to(expected, table=PREDICTIONS)
    sounds = [row["audio"] for row in SPEECH[:5]]
    found = model.predict(sounds, alternatives=3)
    assert model.predict(sounds[1], alternatives=3)[0]["output"] == found[1]["output"]
    assert gw.load(tmp_path / "run").predict(sounds, alternatives=3) == found
    assert model.evaluate(SPEECH[:5])["search"].startswith("joint search")
    told = model.predict(sounds, hotwords=("do",), hotword_weight=9.0)
    assert sum("do" in each["output"] for each in told) > sum("do" in each["output"] for each in found)
    other = Transcriber(**options | {"seed": 4}).fit(SPEECH, valid=SPEECH[:5])
    joint = model.ensemble(other)
    assert len(joint.predict(sounds)) == 5
    assert np.isfinite(joint.evaluate(SPEECH[:5])["model"]["loss"])
    with pytest.raises(InputError, match="attention=0"):
        model.stream()


def test_the_joint_search_finds_the_best_sum_of_both() -> None:
    """Beside all sequences of up to three labels, scored one by one."""
    torch.manual_seed(3)
    decoder = AttentionDecoder(2, memory_size=4, hidden_size=5, dropout=0.0, unknown=None).eval()
    table = torch.randn(4, 3, dtype=torch.float64).mul(2).log_softmax(-1)
    memory = torch.randn(4, 1, 4)

    def attended(labels: tuple[int, ...]) -> float:
        rows = torch.tensor([[*labels, 0]])
        return -decoder(memory, torch.tensor([4]), rows, torch.tensor([len(labels)])).item()

    sequences = [labels for count in range(4) for labels in itertools.product((1, 2), repeat=count)]
    scores = {
        labels: 0.7 * label_log_probabilities(table.numpy(), [labels])[0] + 0.3 * attended(labels)
        for labels in sequences
    }
    with torch.inference_mode():
        state = decoder.start(memory, torch.tensor([4]))
        found = joint_labels(table.numpy(), decoder, state, 0.3, beam=60, count=3, scorer=None)
    assert found == sorted(scores, key=lambda labels: -scores[labels])[:3]
