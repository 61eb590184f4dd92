"""What training changes in the features it reads, anew each time: the speed, the frequencies, noise, gaps.

All of it works on log-mel features on the network's device, by torch's random numbers, whose state a checkpoint keeps.
Speed: Ko et al. 2015, "Audio augmentation for speech recognition". Warping of the frequencies, as if the speaker had
another vocal tract: Jaitly & Hinton 2013, "Vocal tract length perturbation (VTLP) improves speech recognition". Gaps:
Park et al. 2019, "SpecAugment".

Shapes: T frames, B rows of a batch, M mel bands.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatework.tasks.batches import inside_of

__all__ = ["FeatureChanges", "smooth_curve"]

_MEL, _MEL_BREAK = 1127.0, 700.0  # mel = 1127 ln(1 + Hz / 700)
_GAP_SHARE = 0.25  # of a row's frames, that one gap is at most
_KNOTS = 6  # of a smooth curve over the bands
_FLATTEST = 0.2  # of a band's noise, the deviation from frame to frame, in nats


class FeatureChanges(nn.Module):
    """Log-mel features as another speaker, at another speed and in another place, might have said them.

    Args:
        low, high: in Hz, the ends of the mel bands.
        mels: M.
        speed: the speed is drawn between 1 - speed and 1 + speed.
        warp: frequencies are multiplied by a factor between 1 - warp and 1 + warp.
        noise: share of rows to which noise is added, at 5 to 40 dB below the row's loudest band.
        coloration: deviation of a smooth curve that is added to the normalised bands, as another microphone does.
        frequency_gaps, frequency_gap: how many runs of bands are blanked out, and of how many bands at most.
        time_gaps, time_gap: how many runs of frames are, and of how many frames at most.
    """

    def __init__(
        self,
        *,
        low: float,
        high: float,
        mels: int,
        speed: float,
        warp: float,
        noise: float,
        coloration: float,
        frequency_gaps: int,
        frequency_gap: int,
        time_gaps: int,
        time_gap: int,
    ) -> None:
        super().__init__()
        self.speed, self.warp, self.noise, self.coloration = speed, warp, noise, coloration
        self.frequency_gaps, self.frequency_gap = frequency_gaps, frequency_gap
        self.time_gaps, self.time_gap = time_gaps, time_gap
        self._low = _MEL * math.log1p(low / _MEL_BREAK)
        self._step = (_MEL * math.log1p(high / _MEL_BREAK) - self._low) / (mels + 1)

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised features (T, B, M), changed to (T', B, M), and their lengths, (B,); in eval mode as they were."""
        if not self.training:
            return frames, lengths
        if self.speed:
            frames, lengths = self._sped(frames, lengths)
        if self.warp:
            frames = self._warped(frames)
        if self.coloration:
            curve = self.coloration * smooth_curve(frames.shape[1], frames.shape[2])
            frames = frames + curve.to(frames) * inside_of(frames, lengths)
        return self._gapped(frames, lengths), lengths

    def _gapped(self, frames: Tensor, lengths: Tensor) -> Tensor:
        bands, rows = frames.shape[2], frames.shape[1]
        kept = frames.new_ones(frames.shape)
        for _ in range(self.frequency_gaps):
            gap = self._gap(torch.full((rows,), bands), self.frequency_gap).to(frames.device)  # (B, 2)
            place = torch.arange(bands, device=frames.device)
            inside = (place >= gap[:, :1]) & (place < gap[:, 1:])  # (B, M)
            kept = kept.masked_fill(inside[None], 0.0)
        for _ in range(self.time_gaps):
            limits = (lengths.cpu() * _GAP_SHARE).long().clamp(max=self.time_gap)
            gap = self._gap(lengths.cpu(), limits).to(frames.device)
            place = torch.arange(len(frames), device=frames.device)[:, None]
            inside = (place >= gap[:, 0]) & (place < gap[:, 1])  # (T, B)
            kept = kept.masked_fill(inside[:, :, None], 0.0)
        return frames * kept

    def _gap(self, lengths: Tensor, most: int | Tensor) -> Tensor:
        """(B, 2): begin and end of a run of at most `most` within each length."""
        size = (torch.rand(len(lengths)) * (torch.as_tensor(most) + 1)).long()
        begin = (torch.rand(len(lengths)) * (lengths - size + 1).clamp(min=1)).long()
        return torch.stack([begin, begin + size], dim=1)

    def _sped(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        rate = 1 + self.speed * (2 * torch.rand(len(lengths)) - 1)
        new = (lengths.cpu() / rate).round().long().clamp(min=1)
        at = torch.arange(int(new.max()))[:, None] * ((lengths.cpu() - 1) / (new - 1).clamp(min=1))
        at = at.clamp(max=lengths.cpu() - 1).to(frames)  # (T', B), places in the frames
        left = at.floor().long()
        right = (left + 1).clamp(max=len(frames) - 1)
        share = (at - left)[:, :, None]
        wide = (-1, -1, frames.shape[2])
        one, other = (frames.gather(0, index[:, :, None].expand(wide)) for index in (left, right))
        inside = torch.arange(len(at))[:, None] < new
        sped = torch.lerp(one, other, share) * inside[:, :, None].to(frames)
        return sped, new.to(lengths.device)

    def _warped(self, frames: Tensor) -> Tensor:
        factor = 1 + self.warp * (2 * torch.rand(frames.shape[1]) - 1)
        centres = self._low + self._step * torch.arange(1, frames.shape[2] + 1)
        hertz = _MEL_BREAK * torch.expm1(centres / _MEL) * factor[:, None]  # (B, M)
        mel = _MEL * torch.log1p(hertz / _MEL_BREAK)
        at = ((mel - self._low) / self._step - 1).clamp(0, frames.shape[2] - 1).to(frames)
        left = at.floor().long()
        right = (left + 1).clamp(max=frames.shape[2] - 1)
        wide = (len(frames), -1, -1)
        one, other = (frames.gather(2, index[None].expand(wide)) for index in (left, right))
        return torch.lerp(one, other, (at - left)[None])

    def noisy(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Features as they are heard, (T, B, M), with steady noise in some rows; in eval mode as they were."""
        if not self.training or not self.noise:
            return frames
        rows, bands = frames.shape[1:]
        inside = torch.arange(len(frames), device=frames.device)[:, None] < lengths
        loudest = frames.masked_fill(~inside[:, :, None], -torch.inf).amax((0, 2))  # (B,)
        below = 0.2303 * (5 + 35 * torch.rand(rows))  # dB of power in nats
        level = (smooth_curve(rows, bands) - below[:, None]).to(frames.device) + loudest[:, None]
        shaken = level[None] + _FLATTEST * torch.randn(frames.shape).to(frames.device)
        chosen = (torch.rand(rows) < self.noise).to(frames.device)
        return torch.where((chosen & inside)[:, :, None], torch.logaddexp(frames, shaken), frames)


def smooth_curve(rows: int, bands: int) -> Tensor:
    """(B, M), smooth over the bands, of deviation 1, drawn for each row."""
    knots = torch.randn(rows, 1, _KNOTS)
    return F.interpolate(knots, size=bands, mode="linear", align_corners=True)[:, 0]
