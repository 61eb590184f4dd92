"""What is the transcriber's own: its features' changes, what it leaves out, its words' times and its figures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gatework.data import Tokenizer
from gatework.seq2seq import AlignedLabel
from gatework.tasks.transcriber import Transcriber
from gatework.tasks.transcriber.changes import FeatureChanges
from gatework.tasks.transcriber.network import Front, Normalization, inside_of
from gatework.tasks.transcriber.transcripts import (
    labels_of_text,
    prepared,
    text_of_labels,
    timed_words,
)
from tests.contracts.task_examples import EXAMPLES, SPEECH, recording
from tests.tolerances import PREDICTIONS, VALUES, Tolerance, assert_close, close_to, of_draws

NONE = {
    "speed": 0.0,
    "warp": 0.0,
    "noise": 0.0,
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
        kept = module.gaps(frames, lengths)
        for row, length in enumerate(lengths.tolist()):
            bands = int((kept[:length, row].sum(0) == 0).sum())
            steps = int((kept[:length, row].sum(1) == 0).sum())
            assert bands <= 7
            assert steps <= min(12, length // 4)
            assert int(kept[:, row].sum()) == (length - steps) * (40 - bands)
            seen |= {("bands", bands), ("steps", steps)}
    assert {("bands", 0), ("bands", 7), ("steps", 0), ("steps", 12)} <= seen
    loud = torch.randn(60, 3, 40)
    noisy, _ = changes(noise=1.0)(loud, lengths)
    assert (noisy >= loud).all()
    assert (noisy > loud + 0.01).float().mean() > 0.1
    assert torch.equal(noisy[20:, 1], loud[20:, 1])
    module.eval()
    assert torch.equal(module.gaps(frames, lengths), frames)
    assert module(loud, lengths)[0] is loud


@pytest.mark.parametrize("kind", ["recording", "running", "training"])
def test_bands_have_mean_zero_and_padding_says_nothing(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    frames = 3 + 2 * torch.randn(50, 4, 6, generator=generator)
    lengths = torch.tensor([50, 20, 31, 1])
    module = Normalization(kind, 6)  # type: ignore[arg-type]
    rows = np.concatenate([frames[:length, row] for row, length in enumerate(lengths.tolist())])
    module.learn(rows, lengths.cumsum(0).numpy())
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
