"""What follows the size of the data where it is not given: the batch, the epochs and the learning rate.

The rule, for every task. An epoch is to have `STEPS_AN_EPOCH` steps: where the data is too small for that, a batch
holds fewer tokens than it would, down to `LEAST_SHARE` of them. The training is to have `STEPS` steps: where the
usual epochs would make fewer, there are more, up to `MOST_EPOCHS`. The learning rate rises with the root of how many
times smaller the batch is, up to `HIGHEST_RISE`: small data ends early, and learns faster.

Measured on validation data at equal processor time. 3,000 pairs of small_parallel_enja, 96 units, 40 s: batches of
3,000 tokens at 0.002 reach a loss of 4.47; 1,000 tokens 3.80, at 0.004 3.42, at 0.0012 4.19; 400 tokens 3.46. 300,000
characters of tiny shakespeare, 128 units, 30 s: 32 streams at 0.002 2.18; 10 streams 1.86, at 0.004 1.68.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

from gatework.training.options import DEFAULT_EPOCHS, TrainingOptions, options_with

__all__ = ["not_chosen", "sized"]

STEPS_AN_EPOCH = 75
LEAST_SHARE = 1 / 8
STEPS = 1500
MOST_EPOCHS = 40
HIGHEST_RISE = 2.0

Options = TypeVar("Options", bound=TrainingOptions)


def not_chosen(options: TrainingOptions) -> list[str]:
    """The options that follow the data's size and were neither given nor chosen yet."""
    return [name for name in options_with(type(options), auto=True) if name not in options.model_fields_set]


def sized(options: Options, tokens: int) -> Options:
    """The options with those chosen that follow the data's size; all of them count as given from then on.

    Args:
        tokens: that an epoch reads, in the longer field of each example.
    """
    free = not_chosen(options)
    values: dict[str, Any] = {name: getattr(options, name) for name in free}
    usual = options.step_tokens
    batch = options.batch_for(min(max(tokens / STEPS_AN_EPOCH, LEAST_SHARE * usual), usual))
    values |= {name: value for name, value in batch.items() if name in free}
    chosen = options.model_copy(update=values)
    smaller = usual / chosen.step_tokens
    if "epochs" in free and options.max_steps is None and options.max_minutes is None:
        steps_an_epoch = max(tokens / chosen.step_tokens, 1.0)
        values["epochs"] = min(max(math.ceil(STEPS / steps_an_epoch), DEFAULT_EPOCHS), MOST_EPOCHS)
    if "learning_rate" in free:
        values["learning_rate"] = float(
            f"{options.learning_rate * min(math.sqrt(smaller), HIGHEST_RISE):.2g}"
        )
    return options.model_copy(update=values)
