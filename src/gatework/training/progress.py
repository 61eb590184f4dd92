"""What a person sees of a training: a bar with share, loss, speed and time left."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

REFRESH = 0.2  # seconds between two updates of the bar


class Progress(Protocol):
    """The loop's view of the outside. `tick` is called every step and must cost next to nothing."""

    def begin(self, share: float) -> None:
        """The training starts, or goes on, at this share of its budget."""

    def tick(self, share: float, step: int) -> None:
        """One step is done."""

    def record(self, record: dict[str, Any]) -> None:
        """A record went to history.jsonl."""

    def say(self, line: str) -> None:
        """Something that a person should know: a warning, a resume."""

    def end(self) -> None:
        """The training is over, however it ended."""


class QuietProgress:
    """For output that is no terminal: no bar, and what must be said goes to stderr as a line."""

    def begin(self, share: float) -> None: ...

    def tick(self, share: float, step: int) -> None: ...

    def record(self, record: dict[str, Any]) -> None: ...

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def end(self) -> None: ...


class SilentProgress(QuietProgress):
    """For every process but the main one."""

    def say(self, line: str) -> None: ...


class TerminalProgress:
    """A rich progress bar on stderr, and a line for each validation."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.console = Console(stderr=True)
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            refresh_per_second=4,
            speed_estimate_period=120.0,
            transient=True,
        )
        self.task = self.bar.add_task("training", total=1.0, figures="")
        self.due = 0.0

    def begin(self, share: float) -> None:
        """Show the bar. What an earlier session did is not counted towards the speed."""
        self.bar.reset(self.task, total=max(1.0 - share, 1e-9), completed=0)
        self.start = share
        self.bar.start()

    def tick(self, share: float, step: int) -> None:
        """Move the bar, a few times a second."""
        now = time.monotonic()
        if now >= self.due:
            self.due = now + REFRESH
            self.bar.update(self.task, completed=share - self.start, description=f"step {step}")

    def record(self, record: dict[str, Any]) -> None:
        """Show the figures; a validation also leaves a line that stays."""
        if record["kind"] == "train":
            speed = f"{record['items_per_second']:,.0f}/s"
            shown = {"loss": record["loss"], **record.get("parts", {})}
            losses = "  ".join(f"{name} {value:.4f}" for name, value in shown.items() if value is not None)
            self.bar.update(self.task, figures=f"{losses}  {speed}")
        elif record["kind"] == "validation":
            figures = "  ".join(
                f"{name} {value:.4f}"
                for name, value in record.items()
                if isinstance(value, float) and name not in ("epoch", "seconds")
            )
            mark = "  (best so far)" if record["best"] else ""
            self.say(f"epoch {record['epoch']:.2f}, step {record['step']}: validation {figures}{mark}")

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def end(self) -> None:
        """Take the bar away."""
        self.bar.stop()


def default_progress() -> Progress:
    """A bar where stderr is a terminal, else quiet."""
    return TerminalProgress() if sys.stderr.isatty() else QuietProgress()
