"""What the caller of a training may hear of it, and how to end it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
"""What happened in a training, as in history.jsonl: by `kind`

- `train`: the steps since the last record, with their mean `loss` and `parts`, `learning_rate`, `gradient_norm` and
  `items_per_second`;
- `validation`, `average`: the figures by their names, and whether they are the `best` so far;
- `warning`: a gradient norm far above the usual one;
- `end`: how the training `stopped`. It is the last, also of an interrupted training, and not in history.jsonl.

All have `step`; all but a warning have `epoch` and `seconds`.
"""

Callback = Callable[[Record], bool | None]
"""Called with each record as it is made, on the main process alone. One that returns True asks the training to end: it
validates, keeps its best weights and is complete, as if its budget were done. What a callback raises ends the training
at once; it can be resumed."""


class Listeners:
    """The callbacks of one training, and whether one has asked to stop."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = callbacks
        self.stop = False

    def tell(self, record: Record) -> None:
        """Call each with a copy of its own."""
        for callback in self.callbacks:
            self.stop |= callback(dict(record)) is True
