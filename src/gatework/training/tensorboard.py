"""The records of history.jsonl as TensorBoard scalars, on request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gatework.errors import MissingExtraError

FOLDER = "tensorboard"


def summary_writer() -> Any:
    """The class that writes scalars. Raises `MissingExtraError` where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise MissingExtraError("tensorboard", "tensorboard") from error
    return SummaryWriter


class TensorBoard:
    """Writes scalars below `run/tensorboard`; what a killed training wrote past `step` is hidden."""

    def __init__(self, run: Path, step: int) -> None:
        self.writer = summary_writer()(str(run / FOLDER), purge_step=step + 1 if step else None)

    def record(self, record: dict[str, Any]) -> None:
        """Add each number of a record, as `train/loss`, `validation/loss`, …, parts of the loss by name."""
        for name, value in {**record.get("parts", {}), **record}.items():
            if isinstance(value, float):
                self.writer.add_scalar(f"{record['kind']}/{name}", value, record["step"])

    def close(self) -> None:
        """Flush and close the file."""
        self.writer.close()
