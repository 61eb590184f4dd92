"""Pictures of synthetic speech: its spectrogram, where each character is in it, and a recording beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from gatework.errors import MissingExtraError

__all__ = ["draw_speech"]

_SHIFT = 0.01  # seconds from one frame to the next
_INCHES_A_SECOND = 4.0
_LEAST_INCHES, _MOST_INCHES = 5.0, 24.0
_HEIGHT = 2.6  # inches of a spectrogram
_RANGE = 9.0  # nats below the loudest band that are shown


def draw_speech(
    frames: np.ndarray,
    text: str,
    durations: Sequence[float],
    path: str | os.PathLike[str],
    *,
    recording: np.ndarray | None = None,
    title: str = "",
) -> None:
    """A spectrogram as a picture, with the characters over their frames, in the format that the path's suffix names.

    Args:
        frames: (T, M) log-mel features; T is at least 1.
        text: N characters.
        durations: (N,) frames of each.
        path: of the picture.
        recording: (S, M), a recording of the same text, which is drawn below; S is at least 1.
        title: above the picture.

    Raises:
        ValueError: there are not as many durations as characters, or no frames.
        MissingExtraError: matplotlib is not installed.
    """
    if len(text) != len(durations):
        raise ValueError(f"{len(text)} characters have {len(durations)} durations: give one for each.")
    drawn = [("synthetic", frames)] + ([] if recording is None else [("recorded", recording)])
    if not all(len(each) for _, each in drawn):
        raise ValueError("a picture needs frames, received none.")
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "inspect") from error
    seconds = max(len(each) for _, each in drawn) * _SHIFT
    width = min(max(_LEAST_INCHES, seconds * _INCHES_A_SECOND), _MOST_INCHES)
    figure = Figure(figsize=(width, _HEIGHT * len(drawn) + 0.4), layout="constrained")
    loudest = max(float(each.max()) for _, each in drawn)
    every = figure.subplots(len(drawn), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, each) in zip(every, drawn, strict=True):
        extent = (0.0, len(each) * _SHIFT, -0.5, each.shape[1] - 0.5)
        axes.imshow(
            each.T,
            origin="lower",
            aspect="auto",
            extent=extent,
            cmap="magma",
            vmin=loudest - _RANGE,
            vmax=loudest,
        )
        axes.set_ylabel(f"{name}\nmel band")
        axes.set_xlim(0, seconds)
    every[-1].set_xlabel("seconds")
    ends = np.cumsum(np.asarray(durations, float)) * _SHIFT
    begins = ends - np.asarray(durations, float) * _SHIFT
    for end in ends[:-1]:
        every[0].axvline(end, color="white", linewidth=0.5, alpha=0.6)
    top = every[0].secondary_xaxis("top")
    top.set_xticks((begins + ends) / 2, list(text), fontsize=7)
    top.tick_params(length=0)
    if title:
        figure.suptitle(title)
    figure.savefig(path, dpi=144)
