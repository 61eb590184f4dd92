"""From characters to steps of the decoder: each step reads the characters near it in time.

Gaussian upsampling: Shen et al. 2020, "Non-Attentive Tacotron: robust and controllable neural TTS synthesis including
unsupervised duration modeling" (arXiv:2010.04301), section 3.1.

Shapes: N characters, B rows of a batch, S steps. Times are in frames.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["PLACE_FEATURES", "gaussian_weights", "place_in_character"]

_WAVES = 3
PLACE_FEATURES = 2 * _WAVES + 1
_LONG = 5.0  # frames, in the unit of a character's logarithmic length


def gaussian_weights(durations: Tensor, ranges: Tensor, counts: Tensor, times: Tensor) -> Tensor:
    """(B, S, N), how much of each character a step reads; a row's own characters sum to 1.

    Step s weighs character i by the normal density at times[s] around the middle of the character, equations 1 and 2.

    Args:
        durations: (N, B), at least 0.
        ranges: (N, B), the standard deviations, above 0.
        counts: (B,) characters of each row, at least 1.
        times: (S,) of the steps' middles.
    """
    middles = durations.cumsum(0) - durations / 2
    distance = (times[:, None, None] - middles) / ranges  # (S, N, B)
    score = -0.5 * distance.square() - ranges.log()
    inside = torch.arange(len(durations), device=durations.device)[:, None] < counts
    score = score.masked_fill(~inside, -torch.inf)
    return score.permute(2, 0, 1).softmax(-1)


def place_in_character(durations: Tensor, counts: Tensor, times: Tensor) -> Tensor:
    """(S, B, PLACE_FEATURES), where in its character each step is: sines and cosines of the share that is over, and how
    long the character is.

    Args:
        durations, counts, times: as for `gaussian_weights`.
    """
    ends = durations.cumsum(0).T.contiguous()  # (B, N)
    place = torch.searchsorted(ends, times.expand(len(ends), -1).contiguous(), right=True)
    place = torch.minimum(place, counts.to(place)[:, None] - 1)  # (B, S)
    own = durations.T.gather(1, place)
    share = ((times - (ends.gather(1, place) - own)) / own.clamp(min=1e-3)).clamp(0, 1)
    angles = share[..., None] * (math.pi * torch.arange(1, _WAVES + 1, device=share.device))
    length = torch.log1p(own / _LONG)[..., None]
    return torch.cat([angles.sin(), angles.cos(), length], dim=-1).transpose(0, 1)
