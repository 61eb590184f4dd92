"""What a person sees of a training: a bar with share, loss, speed and time left, or plain lines of these; and how far a
long reading is.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
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


class LineProgress:
    """For output that is no terminal: a line on stderr for each record, each validation and what must be said."""

    def begin(self, share: float) -> None:
        """Take the time. What an earlier session did is not counted towards the speed."""
        self.start = self.share = share
        self.started = time.monotonic()

    def tick(self, share: float, step: int) -> None:
        """Remember how far the training is."""
        self.share = share

    def record(self, record: dict[str, Any]) -> None:
        """A line with step, epoch, loss, speed and the time that is left, or with a validation's figures."""
        if record["kind"] == "train":
            done = self.share - self.start
            left = (time.monotonic() - self.started) / done * (1 - self.share) if done > 0 else math.inf
            rest = f", about {duration(left)} left" if math.isfinite(left) else ""
            self.say(f"epoch {record['epoch']:.2f}, step {record['step']}: {training_figures(record)}{rest}")
        elif record["kind"] == "validation":
            self.say(validation_line(record))

    def say(self, line: str) -> None:
        """Print a line."""
        print(line, file=sys.stderr, flush=True)

    def end(self) -> None: ...


class SilentProgress:
    """For every process but the main one."""

    def begin(self, share: float) -> None: ...

    def tick(self, share: float, step: int) -> None: ...

    def record(self, record: dict[str, Any]) -> None: ...

    def say(self, line: str) -> None: ...

    def end(self) -> None: ...


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
            self.bar.update(self.task, figures=training_figures(record))
        elif record["kind"] == "validation":
            self.say(validation_line(record))

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def end(self) -> None:
        """Take the bar away."""
        self.bar.stop()


def training_figures(record: dict[str, Any]) -> str:
    """Loss, its parts and the speed (targets a second) of a record of steps."""
    shown = {"loss": record["loss"], **record.get("parts", {})}
    losses = "  ".join(f"{name} {value:.4f}" for name, value in shown.items() if value is not None)
    return f"{losses}  {record['items_per_second']:,.0f}/s"


def validation_line(record: dict[str, Any]) -> str:
    """A validation's figures, how the outputs were found that they are of, and whether they are the best so far."""
    figures = "  ".join(
        f"{name} {value:.4f}"
        for name, value in record.items()
        if isinstance(value, float) and name not in ("epoch", "seconds")
    )
    notes = [record["search"]] if "search" in record else []
    notes += ["best so far"] if record["best"] else []
    mark = f"  ({', '.join(notes)})" if notes else ""
    return f"epoch {record['epoch']:.2f}, step {record['step']}: validation {figures}{mark}"


def duration(seconds: float) -> str:
    """A time for people: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def default_progress() -> Progress:
    """A bar where stderr is a terminal, else lines."""
    return TerminalProgress() if sys.stderr is not None and sys.stderr.isatty() else LineProgress()


@contextlib.contextmanager
def counted(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives what is to be told how many of `total` things are done; a bar shows it, where stderr is a terminal.

    Args:
        what: is done: `reading recordings`.
        total: of the things.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        due = 0.0

        def tick(done: int) -> None:
            nonlocal due
            now = time.monotonic()
            if now >= due or done == total:
                due = now + REFRESH
                bar.update(task, completed=done)

        yield tick
