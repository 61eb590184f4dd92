"""How far apart two computations of the same values may be: one table, by what was computed and in which dtype.

Two programs that round after each operation differ by the order of their sums. A sum of n terms of size 1 is off by
about sqrt(n) roundings in the mean and n at worst; one rounding is 1.1e-16 in float64, 6e-8 in float32, 4e-3 in
bfloat16 and 5e-4 in float16. The sums of these tests have some hundred terms at most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
import torch


class Tolerance(NamedTuple):
    """|got - expected| <= absolute + relative * |expected|."""

    relative: float
    absolute: float


Table = Mapping[torch.dtype, Tolerance]

# A few operations an element, or one sum: the same to some roundings of the result.
ROUNDING: Table = {
    torch.float64: Tolerance(2e-13, 2e-13),
    torch.float32: Tolerance(0.0, 4e-7),
    torch.bfloat16: Tolerance(4e-3, 0.0),
}
# One operation of the language at any operands, large and small: a sum over a row's units, or a function of 4 units in
# the last place whose argument was rounded before.
OPERATIONS: Table = {
    torch.float64: Tolerance(1e-12, 1e-12),
    torch.float32: Tolerance(2e-5, 2e-5),
}
# Outputs and states of a layer: sums over the inputs and units, carried through the steps by gates that do not enlarge
# an error, and functions that ours and torch's compute to 4 units in the last place.
VALUES: Table = {
    torch.float64: Tolerance(1e-11, 1e-12),
    torch.float32: Tolerance(1e-5, 1e-6),
    torch.bfloat16: Tolerance(0.0, 2e-2),
    torch.float16: Tolerance(0.0, 5e-3),
}
# Outputs and states of a layer's exported code beside the reference's: both in float32, by sums in other orders.
EXPORTED: Table = {torch.float32: Tolerance(1e-6, 1e-6)}
# Logits and gates of a page in a browser, without fused multiply-adds, beside the model's.
OF_PAGES: Table = {torch.float32: Tolerance(0.0, 1e-5)}
# The largest error of an export on ONNX Runtime, beside 1: its functions have some units in the last place more.
EXPORTED_ONNX = 1e-5
# A number of a table in 8 bits beside the number itself: half a step of 127 up to the largest of its row, and float32's
# own rounding.
OF_8_BITS = 0.5 / 127 * (1 + 1e-6)
# Outputs of a stream with weights of 8 bits beside those of its weights as they are read back: each step's inputs and
# states are rounded to 16 bits as well. Layer norms enlarge the error most.
ROUNDED_INPUTS: Table = {torch.float32: Tolerance(0.0, 3e-4)}
# Gradients: sums over steps and rows besides, of which many cancel, so that the error is that of the terms and not of
# the sum.
GRADIENTS: Table = {
    torch.float64: Tolerance(1e-9, 1e-11),
    torch.float32: Tolerance(1e-4, 1e-5),
}
# A number that sums up a whole computation: a loss, a score, a log-probability, a mean.
TOTALS: Table = {
    torch.float64: Tolerance(1e-12, 1e-12),
    torch.float32: Tolerance(1e-5, 1e-5),
}
# A mean or a sum of a few numbers which are themselves the same to the bit.
MEANS: Table = {
    torch.float64: Tolerance(1e-12, 0.0),
    torch.float32: Tolerance(1e-6, 0.0),
}
# Logarithms of the energies of mel bands in float32 and in float64: where a band's energy is small beside that of its
# frame, a transform of 512 points leaves it a relative error of some 1e-4.
LOG_MEL: Table = {torch.float32: Tolerance(0.0, 3e-4)}
# Samples in [-1, 1] that two resamplers made: their filters let what is well below the lower rate pass to 1e-3.
RESAMPLED: Table = {torch.float32: Tolerance(0.0, 1e-3)}
# A task's scores and figures, of rows that stood beside other rows in a batch (float32 products of other shapes), were
# read in other windows, or on another processor.
PREDICTIONS: Table = {torch.float32: Tolerance(1e-4, 1e-5)}
# The figures of a training on two processes and on one: the gradients are summed in another order.
TWO_PROCESSES: Table = {torch.float32: Tolerance(1e-4, 0.0)}
# Its weights: over 78 steps of AdamW, whose division by small second moments enlarges the difference, it came to 3e-7.
WEIGHTS_OF_TWO_PROCESSES: Table = {torch.float32: Tolerance(0.0, 5e-6)}
# The loss of a model that was trained for ten steps in bfloat16 beside the same in float32: products of 3 digits, and
# a validation that may take another step for the best.
TRAINED_IN_BF16: Table = {torch.float32: Tolerance(0.1, 0.0)}
# The loss of ten steps on a GPU beside the same on the CPU: sums in other orders, of atomics too.
TRAINED_ON_A_GPU: Table = {torch.float32: Tolerance(1e-2, 1e-3)}
# A sequence by cuDNN beside its steps by torch's own kernels: cuDNN's tanh and sigmoid round more.
OF_CUDNN: Table = {torch.float32: Tolerance(1e-4, 5e-5)}
# What one step of training adds to a weight, as the difference of two weights of size 1: their rounding.
STEPS_OF_TRAINING: Table = {torch.float32: Tolerance(1e-3, 2e-7)}

# The same operations on the same operands: every bit.
EXACT: Table = {torch.float64: Tolerance(0.0, 0.0), torch.float32: Tolerance(0.0, 0.0)}
# Finite differences: steps of 1e-6 in float64 (`torch.autograd.gradcheck`), of 1e-3 in float32.
FINITE_DIFFERENCES: Table = {
    torch.float64: Tolerance(1e-5, 1e-7),
    torch.float32: Tolerance(1e-2, 1e-4),
}
# The least value of a function, found by two searches, and what is 0 there: a mean of probabilities less a share.
MINIMA: Table = {torch.float64: Tolerance(1e-5, 1e-4)}
# How far a number that is written with 4 decimals is from itself, times the 16 of a row.
FOUR_DECIMALS = 16 * 0.5e-4
# Of functions of the engine, in units in the last place.
MOST_ULP = 4.0
# The largest difference over the largest entry of the reference, of outputs, states and every gradient alike.
OF_THE_LARGEST: Mapping[torch.dtype, float] = {
    torch.float64: 1e-10,
    torch.float32: 1e-5,  # of two programs in float32
}
# The same, of a program in float32 and the reference in float64: all of the rounding is the program's.
OF_THE_LARGEST_REFERENCE: Mapping[torch.dtype, float] = {torch.float64: 1e-10, torch.float32: 2e-5}


def assert_close(
    got: Any,
    expected: Any,
    table: Table = VALUES,
    *,
    dtype: torch.dtype | None = None,
    equal_nan: bool = False,
    what: str = "",
) -> None:
    """Tensors, or tuples and lists of them, are the same to the table's tolerance. A NaN is equal to none, unless
    `equal_nan`.

    Args:
        dtype: in which the values were computed, where it is not the dtype that they have.
        what: begins the message.
    """
    if not isinstance(got, torch.Tensor):
        assert len(got) == len(expected)
        for mine, theirs in zip(got, expected, strict=True):
            assert_close(mine, theirs, table, dtype=dtype, equal_nan=equal_nan, what=what)
        return
    relative, absolute = table[dtype or got.dtype]
    torch.testing.assert_close(
        got,
        expected,
        rtol=relative,
        atol=absolute,
        equal_nan=equal_nan,
        msg=(lambda text: f"{what}: {text}") if what else None,
    )


def of_the_largest(got: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference over the largest entry of what is expected; NaN where either holds one."""
    if not expected.numel():
        return 0.0
    scale = expected.detach().abs().max().clamp_min(1e-30)
    return ((got.double() - expected.double()).detach().abs().max() / scale).item()


def of_draws(count: int, probability: float = 0.5) -> float:
    """How far the share of an event among so many draws may be from its probability: 3.75 standard deviations (of the
    most uncertain event, where the probability is not said), which one in 5,000 shares exceeds.
    """
    return 3.75 * math.sqrt(probability * (1 - probability) / count)


def close_to(expected: float, dtype: torch.dtype = torch.float32, table: Table = TOTALS) -> Any:
    """What a number is compared with: `assert loss == close_to(other)`."""
    return pytest.approx(expected, rel=table[dtype].relative, abs=table[dtype].absolute)
