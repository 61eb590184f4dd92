"""What the templates of a transcriber know: distances beside their definition, and no recording beside itself."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatework as gw
from gatework.baselines.time_warping import warped_distances
from gatework.data.log_mel import CEPSTRA, LogMel, cepstra, mfcc
from gatework.errors import InputError, RunError
from gatework.tasks.transcriber import Transcriber
from gatework.tasks.transcriber.network import TranscriberNetwork
from gatework.tasks.transcriber.speakers import PRIOR_FRAMES, speaker_statistics
from gatework.tasks.transcriber.templates import (
    FILE,
    NATS,
    ORDER,
    WORD,
    Templates,
    template_frames,
    with_templates,
)
from tests.contracts.task_examples import EXAMPLES, SPEECH
from tests.tolerances import LOG_MEL, PREDICTIONS, VALUES, assert_close, close_to

SINGLE = [each for each in SPEECH if " " not in each["text"]]
OPTIONS: dict[str, Any] = EXAMPLES["transcriber"].options | {"tokenizer": "word", "templates": 0.9}
LABELS = np.array([2, 4, 2, 0, 2, 4, 2, 1])  # 0: has no template


def frames(seed: int, count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 9, count)
    return [generator.normal(size=(int(length), 12)).astype(np.float32) for length in lengths]


def warped(one: np.ndarray, other: np.ndarray) -> float:
    """The distance of log-mel frames by its definition, in float64, over every path."""
    first, second = (template_frames(side).astype(np.float64) for side in (one, other))
    costs = np.linalg.norm(first[:, None] - second[None], axis=2)

    @cache
    def until(row: int, column: int) -> float:
        steps = ((row - 1, column), (row, column - 1), (row - 1, column - 1))
        before = [until(up, left) for up, left in steps if up >= 0 and left >= 0]
        return float(costs[row, column]) + min(before, default=0.0)

    return until(len(one) - 1, len(other) - 1) / (len(one) + len(other))


def by_definition(heard: np.ndarray, known: list[np.ndarray], unit: float) -> np.ndarray:
    """(5,) the nearness of labels 1 to 5, of which 3 and 5 have no template."""
    found = np.full(5, np.nan)
    for label in (1, 2, 4):
        distances = sorted(warped(heard, known[place]) for place in np.flatnonzero(label == LABELS))
        found[label - 1] = (distances[0] + np.mean(distances[:3])) / 2
    found[[2, 4]] = np.nanmax(found)
    return -found / unit


def test_cepstra_of_23_bands_are_kaldis() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    found = cepstra(LogMel(rate=8000, mels=23).frames(samples))
    assert_close(torch.from_numpy(found), torch.from_numpy(mfcc(samples, 8000)), LOG_MEL)


def test_how_loud_a_recording_is_does_not_matter() -> None:
    (one,) = frames(2, 1)
    louder = template_frames(one + 3)
    assert_close(torch.from_numpy(louder), torch.from_numpy(template_frames(one)), LOG_MEL)
    assert louder[:, 0].max() == 0


def test_silence_around_a_word_does_not_matter() -> None:
    (one,) = frames(2, 1)
    padded = np.concatenate([np.full((4, 12), -8, np.float32), one, np.full((9, 12), -7.5, np.float32)])
    assert_close(torch.from_numpy(template_frames(padded)), torch.from_numpy(template_frames(one)), VALUES)
    assert template_frames(one[:0]).tolist() == [[0.0] * CEPSTRA]


def test_nearness_is_what_it_is_defined_to_be() -> None:
    known, heard = frames(0, len(LABELS)), frames(1, 6)
    templates = Templates.of(known, LABELS)
    assert templates.labels.tolist() == [2, 4, 2, 2, 4, 2, 1]
    own = [known[place] for place in np.flatnonzero(LABELS)]
    nearest = [
        min(warped(one, other) for j, other in enumerate(own) if j != i and templates.labels[j] == label)
        for i, (one, label) in enumerate(zip(own, templates.labels, strict=True))
        if label != 1  # it has one template alone
    ]
    assert_close(torch.tensor([templates.unit]), torch.tensor([np.mean(nearest)]).float(), PREDICTIONS)
    found = templates.nearness(heard, 5)
    expected = np.stack([by_definition(one, known, templates.unit) for one in heard])
    assert_close(torch.from_numpy(found), torch.from_numpy(expected).float(), PREDICTIONS)
    assert found.max() < 0
    assert templates.nearness([], 5).shape == (0, 5)
    assert np.isfinite(templates.nearness([np.zeros((0, 12), np.float32)], 5)).all()


def test_templates_above_a_floor_have_fewer_coefficients() -> None:
    known, heard = frames(0, len(LABELS)), frames(1, 6)
    own = [known[place] for place in np.flatnonzero(LABELS)]
    for dynamic_range, order in ((None, CEPSTRA), (20.0, ORDER)):
        speakers = speaker_statistics(known, ["ann"] * len(known), dynamic_range)
        templates = Templates.of(known, LABELS, speakers)
        assert {each.shape[1] for each in templates.frames} == {order}
        given = np.stack(speakers[:1] * len(heard))
        mine, theirs = (
            templates._comparable(some, np.stack(speakers[:1] * len(some)), order) for some in (heard, own)
        )
        expected = warped_distances(mine, theirs)[:, -1] / templates.unit  # label 1 has one template alone
        found = templates.nearness(heard, 5, given)[:, 0]
        assert_close(torch.from_numpy(found), torch.from_numpy(-expected), PREDICTIONS)


def test_what_a_speaker_has_in_common_does_not_matter() -> None:
    """Ann speaks through another microphone than Ben: a curve that is added to all of her frames."""
    curve = np.linspace(-3, 4, 12, dtype=np.float32)
    ben, heard = frames(0, len(LABELS)), frames(1, 60)
    known = speaker_statistics(ben, ["ben"] * len(ben))
    templates = Templates.of(ben, LABELS, known)
    found = []
    for sounds in (heard, [one + curve for one in heard]):
        speakers = np.stack(speaker_statistics(sounds, ["ann"] * len(heard)))
        speakers[:, 0] = 1e6  # so that what is known of her counts alone
        found.append(torch.from_numpy(templates.nearness(sounds, 5, speakers)))
        assert not np.array_equal(templates.nearness(sounds, 5), found[-1].numpy())
    nearly = ((found[0] - found[1]).abs() < 0.01).float().mean()
    assert nearly > 0.8  # where a word ends is judged by the loudness as it is heard
    levels = templates._comparable(ben, np.stack(known), CEPSTRA)[0][:, 1:]
    share = known[0][0] / (known[0][0] + PRIOR_FRAMES)
    mean = (1 - share) * templates.mean + share * known[0][1:13]
    assert_close(torch.from_numpy(levels), torch.from_numpy(template_frames(ben[0], mean)[:, 1:]), LOG_MEL)


def test_the_noise_of_a_speakers_room_does_not_matter_above_a_floor() -> None:
    """Ben is heard in a quiet room, and with noise some 20 decibels below his loud frames, under a floor of 10."""
    ann, heard = ([4 * one for one in frames(seed, count)] for seed, count in ((0, len(LABELS)), (1, 20)))
    moved = {}
    for dynamic_range in (None, 10.0):
        templates = Templates.of(ann, LABELS, speaker_statistics(ann, ["ann"] * len(ann), dynamic_range))
        found = []
        for sounds in (heard, [np.logaddexp(one, np.float32(2)) for one in heard]):
            speakers = np.stack(speaker_statistics(sounds, ["ben"] * len(sounds), dynamic_range))
            found.append(templates.nearness(sounds, 5, speakers))
        moved[dynamic_range] = np.abs(found[0] - found[1]).mean()
    assert moved[10.0] < 0.5 * moved[None]


def test_templates_say_which_label_it_is_and_whether_there_is_one() -> None:
    torch.manual_seed(0)
    scores = torch.randn(7, 3, 6, dtype=torch.float64).log_softmax(-1)
    nearness = -torch.rand(3, 5, dtype=torch.float64)
    nearness -= nearness.amax(-1, keepdim=True) + torch.tensor(
        [[0.5], [1.25], [2.5]]
    )  # a word, perhaps one, noise
    found = with_templates(scores, nearness, 0.75)
    assert_close(found.exp().sum(-1), torch.ones(7, 3, dtype=torch.float64), VALUES)
    both = scores[..., 1:].exp() ** 0.25 * torch.exp(0.75 * NATS * nearness)
    share = found[..., 1:].exp() / found[..., 1:].exp().sum(-1, keepdim=True)
    assert_close(share, both / both.sum(-1, keepdim=True), VALUES)
    blank, other = found[..., 0], scores[..., 0]
    odds = (1 / blank.exp() - 1).log() - (1 / other.exp() - 1).log()
    expected = 0.75 * WORD * torch.tensor([1.0, 0.75, 0.0], dtype=torch.float64).expand(7, 3)
    assert_close(odds, expected.contiguous(), VALUES)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Transcriber:
    run = tmp_path_factory.mktemp("templates") / "run"
    given = OPTIONS | {"speeds": (0.9,), "rivals": False}
    return Transcriber(**given).fit(SINGLE, valid=SINGLE[::3], out=run)


def test_a_run_with_templates_is_loaded_as_it_was(model: Transcriber, tmp_path: Path) -> None:
    run = model.run_.path
    inputs = [each["audio"] for each in SINGLE[:4]]
    records = model.predict(inputs)
    assert gw.load(run).predict(inputs) == records
    alone = model.predict(inputs[1])[0]["probability"]
    assert alone == close_to(records[1]["probability"])  # the batch does not matter
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / FILE).write_bytes(b"nothing")
    with pytest.raises(RunError, match=FILE):
        gw.load(copy)
    with pytest.raises(InputError, match="templates=0"):
        model.stream()


def test_templates_tell_words_apart_and_training_does_without(model: Transcriber) -> None:
    network, rows = model.network_, [model._encode(each["audio"], each["text"]) for each in SINGLE]
    assert isinstance(network, TranscriberNetwork)
    batch = model._collate(rows)
    with torch.inference_mode():
        beside, network.template_weight = network(batch).log_probabilities, 0.0
        alone, network.template_weight = network(batch).log_probabilities, OPTIONS["templates"]
    assert (beside[..., 0] <= alone[..., 0]).all()
    known = torch.tensor([int(row["labels"][0]) for row in rows])
    assert (beside[..., 1:].argmax(-1) + 1 == known).all()  # a training recording is its own template
    assert not (alone[..., 1:].argmax(-1) + 1 == known).all()
    losses = []
    for templates in (network.template_set, None):
        network.template_set = templates
        torch.manual_seed(0)
        losses.append(model._loss(network.train(), batch).total)
    assert_close(losses[0], losses[1], VALUES)
    network.eval().template_set = model.templates_


@pytest.mark.parametrize(
    ("rows", "changed", "match"),
    [
        (SPEECH, {}, "'fi ba'.*single words"),
        (SINGLE, {"tokenizer": "character"}, "tokenizer=word"),
    ],
)
def test_what_templates_cannot_compare(
    rows: Any, changed: dict[str, Any], match: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=match):
        Transcriber(**(OPTIONS | changed)).fit(rows, valid=SINGLE[:2], out=tmp_path / "run")


def test_too_many_recordings_to_compare_with() -> None:
    long = np.zeros((100_001, 12), np.float32)
    with pytest.raises(InputError, match=r"up to 1,000 seconds; it has 1,000\."):
        Templates.of([long], np.array([1]))
    with pytest.raises(InputError, match=r"it has 0\."):
        Templates.of([long], np.array([0]))


def test_arrays_that_are_no_templates() -> None:
    arrays = Templates.of(frames(0, len(LABELS)), LABELS).to_arrays()
    again = Templates.from_arrays(arrays, 4, 12)
    assert all(np.array_equal(array, again.to_arrays()[name]) for name, array in arrays.items())
    cases = [
        {"lengths": arrays["lengths"] + 1},
        {"lengths": arrays["lengths"] + 0.0},
        {"frames": np.tile(arrays["frames"], 2)},
        {"frames": arrays["frames"] * np.nan},
        {"labels": arrays["labels"][1:]},
        {"labels": arrays["labels"] - 1},
        {"labels": arrays["labels"] + 1},
        {"unit": np.asarray(0.0)},
        {"unit": np.ones(2)},
        {"mean": arrays["mean"][1:]},
        {"mean": arrays["mean"] * np.inf},
    ]
    for case in cases:
        with pytest.raises(ValueError):
            Templates.from_arrays(arrays | case, 4, 12)
    for name in arrays:
        with pytest.raises(ValueError, match=name):
            Templates.from_arrays({key: array for key, array in arrays.items() if key != name}, 4, 12)
