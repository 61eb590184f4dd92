"""The mean of the last validated states (Polyak & Juditsky 1992; of checkpoints: Vaswani et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from gatework.training import files


def mean_of_models(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The element-wise mean of weights files, summed in float64, in their own type.

    Args:
        paths: safetensors files of one model, the newest last. Tensors of integers, such as counters,
            are the newest one's.
    """
    sums: dict[str, Tensor] = {}
    for path in paths:
        for name, tensor in files.read_tensors(path).items():
            if not tensor.is_floating_point():
                sums[name] = tensor.clone()
            elif name in sums:
                sums[name] += tensor
            else:
                sums[name] = tensor.double()
    newest = files.read_tensors(paths[-1])
    return {
        name: (total / len(paths)).to(newest[name].dtype) if newest[name].is_floating_point() else total
        for name, total in sums.items()
    }
