"""The course of the learning rate: each schedule maps progress to a share of the highest rate.

Progress goes from 0 to 1 over the training: steps over all steps for budgets in steps and epochs, elapsed
time over all time for a budget in minutes. `w` is the share of warm-up, in which the rate rises linearly
from 0; `least` is the lowest share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from gatework.training.options import TrainingOptions

Schedule = Callable[[float, float, float], float]  # (progress, w, least) -> share of the learning rate

ONE_CYCLE_START = 1 / 25


def constant(progress: float, w: float, least: float) -> float:
    """The highest rate throughout, after the warm-up. `plateau` lowers it from there."""
    return _rise(progress, w)


def cosine(progress: float, w: float, least: float) -> float:
    """Half a cosine from 1 to `least` after the warm-up (Loshchilov & Hutter 2017, equation 5)."""
    if progress < w:
        return _rise(progress, w)
    return _half_cosine(1.0, least, (progress - w) / (1 - w))


def one_cycle(progress: float, w: float, least: float) -> float:
    """Up from 1/25 over the share `w`, then down to `least`, both as half a cosine (Smith & Topin 2018)."""
    if progress < w:
        return _half_cosine(ONE_CYCLE_START, 1.0, progress / w)
    return _half_cosine(1.0, least, (progress - w) / (1 - w))


def inverse_square_root(progress: float, w: float, least: float) -> float:
    """Linear warm-up, then as 1/sqrt(progress) (Vaswani et al. 2017, equation 3), not below `least`."""
    if progress < w:
        return _rise(progress, w)
    return max(math.sqrt(w / progress), least) if w else 1.0


def _rise(progress: float, w: float) -> float:
    return min(1.0, progress / w) if w else 1.0


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


SCHEDULES: Mapping[str, Schedule] = MappingProxyType(
    {
        "constant": constant,
        "cosine": cosine,
        "one_cycle": one_cycle,
        "inverse_square_root": inverse_square_root,
        "plateau": constant,
    }
)
WARMUPS = MappingProxyType({"cosine": 0.02, "one_cycle": 0.3, "inverse_square_root": 0.02})


def learning_rate(options: TrainingOptions, progress: float, plateau_share: float = 1.0) -> float:
    """The rate at `progress` in [0, 1]; `plateau_share` is what the plateaus so far have left of it."""
    w = WARMUPS.get(options.schedule, 0.0) if options.warmup is None else options.warmup
    share = SCHEDULES[options.schedule](min(max(progress, 0.0), 1.0), w, options.min_lr_ratio)
    return options.learning_rate * share * plateau_share
