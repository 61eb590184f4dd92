"""A transcriber that hears as one speaks: the same text as of the whole file, pauses, and a state that is kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatework as gw
from gatework.errors import InputError, RunError
from gatework.tasks.session_state import SessionState
from gatework.tasks.transcriber import Transcriber
from gatework.tasks.transcriber.decoding import Heard, PauseFinder
from gatework.tasks.transcriber.rejection import Rejection
from gatework.tasks.transcriber.session import SoundSession
from gatework.training import files
from tests.contracts.task_examples import EXAMPLES, RATE, SPEECH, spoken
from tests.tolerances import PREDICTIONS, close_to

OPTIONS = EXAMPLES["transcriber"].options


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


def heard(stream: SoundSession, samples: np.ndarray, sizes: Iterable[int]) -> list[dict[str, Any]]:
    records, begin = [], 0
    for size in sizes:
        records += stream.accept(samples[begin : begin + size])
        begin += size
    assert begin >= len(samples)
    return [*records, *stream.finish()]


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
        records += [*again.accept(samples[cut:]), *again.finish()]
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
    state = SessionState.of_bytes(stream.state())
    with pytest.raises(InputError, match="another run"):
        listener.session(state=state._replace(known={**state.known, "weights": "0"}).to_bytes())
    with pytest.raises(InputError, match="another rate"):
        listener.stream(rate=16_000, saved=tmp_path / "stream.safetensors")
    arrays = {**state.arrays, "segment": np.zeros((3, 2), np.float32)}
    with pytest.raises(InputError, match="is damaged"):
        listener.session(state=state._replace(arrays=arrays).to_bytes())
    files.write_tensors(tmp_path / "other.safetensors", {"x": torch.zeros(1)})
    with pytest.raises(InputError, match="is no state of a session"):
        listener.stream(saved=tmp_path / "other.safetensors")
    with pytest.raises(RunError, match="cannot be read"):
        listener.stream(saved=tmp_path / "absent")
    with pytest.raises(InputError, match="sample 1 is nan"):
        stream.accept([0.0, float("nan")])
    whole = Transcriber(**{**OPTIONS, "max_steps": 1}).fit(SPEECH, valid=SPEECH[:3])
    with pytest.raises(InputError, match="reads whole recordings") as caught:
        whole.stream()
    assert "bidirectional=false" in str(caught.value)
    item = SPEECH[0]["audio"]
    assert list(whole.stream(item)) == whole.predict(item)  # every task's own stream


def steps_of(labels: list[int], loud: list[float] | None = None) -> Heard:
    """Steps of one frame each, whose likeliest labels these are."""
    quiet = np.full(len(labels), -9.0, np.float32)
    frames = quiet if loud is None else np.array(loud, np.float32)
    return Heard(np.eye(4, dtype=np.float32)[labels], frames[:, None])


def ends_of(given: Heard) -> list[int]:
    """Where segments end; the same when the steps come one by one."""
    ends, finder = PauseFinder(3, 1).accept(given), PauseFinder(3, 1)
    single = [
        place + end
        for place in range(len(given.table))
        for end in finder.accept(given.part(place, place + 1, 1))
    ]
    assert single == ends
    return ends


def test_pauses_end_segments_at_the_same_steps_however_they_come() -> None:
    labels = [0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 1]
    loud = [0.0 if label else -9.0 for label in labels]
    assert ends_of(steps_of(labels, loud)) == [10, 19]
    assert ends_of(steps_of([0] * 50)) == []


def test_a_word_that_is_heard_after_its_label_ends_no_segment() -> None:
    labels = [0, 1, *[0] * 17, 2, *[0] * 6]
    loud = [-9.0] * 4 + [0.0] * 5 + [-9.0] * 9 + [0.0] * 3 + [-9.0] * 5
    (first, second) = ends_of(steps_of(labels, loud))
    assert 9 < first <= 14
    assert second > 21
    steady = [0.0, -0.1] * 10  # never quiet: blanks alone, for longer
    assert ends_of(steps_of([1] + [0] * 19, steady)) == [1 + 3 * PauseFinder.MOST_PAUSES]


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


def test_what_is_expected_is_heard_in_a_stream_too(listener: Transcriber) -> None:
    told = {"hotwords": ("f",), "hotword_weight": 20.0, "beam": 16}
    samples = sentence()
    (whole,) = listener.predict({"array": samples.tolist(), "sampling_rate": RATE}, **told)
    records = finals(heard(listener.stream(**told), samples, [999] * 60))
    assert " ".join(one["output"] for one in records) == whole["output"]
