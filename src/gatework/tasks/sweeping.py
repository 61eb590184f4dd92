"""Sweeps: many trainings of a task with other options, by several processes and hosts on one folder.

```
sweep.json        what every process of the sweep must agree on: the task, the options of all trials, what is searched
journal.log       Optuna's journal: trials, their options, validations and figures
trial-0000/ …     each trial, an ordinary run
trials.csv        the table, and
sweep.png         the picture, of what is complete
.locks/           of the journal, and one for each trial that is in training
```

Every lock is the operating system's (`training/run_lock.py` says why): of a process that was killed it is free at once,
and another process finds a trial that is begun and that nobody trains. It goes on from the trial's last checkpoint, or
begins it again where there is none.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from gatework.errors import InputError, MissingExtraError, RunError
from gatework.inspect import draw_sweep
from gatework.metrics.figure import Figure
from gatework.tasks.names import get as task_of
from gatework.tasks.search_space import Dimension, default_search, read_space
from gatework.training import DivergedError, RunFolder, parse_options
from gatework.training.overview import runs_below
from gatework.training.run_folder import CONFIG, DataRecord, launched

if TYPE_CHECKING:
    import optuna

    from gatework.tasks.base import Task

__all__ = ["Sweep", "SweptTrial", "sweep"]

FORMAT_VERSION = 1
SETTINGS, JOURNAL, TABLE, PICTURE, LOCKS = "sweep.json", "journal.log", "trials.csv", "sweep.png", ".locks"
HALF = "sweep.half"  # sweep.json, while it is written
WAIT = 1.0  # seconds between two looks at trials that others train
REFUSED = "refused"  # the attribute of a trial that could not begin
_UNPRUNED_TRIALS = 4  # the first ones
_PRUNED_FROM = 2  # the validation of a trial, counted from 1


@dataclass(frozen=True)
class SweptTrial:
    """One trial of a sweep.

    Attributes:
        trial: its number, from 0.
        state: `complete`, `pruned` (its validations were worse than the median of the others'), `failed` (it diverged)
            or `unfinished`.
        value: the figure of its best validation; None where there is none.
        options: those that are searched.
        steps, seconds: of its training.
        path: of its run.
    """

    trial: int
    state: str
    value: float | None
    options: dict[str, Any]
    steps: int
    seconds: float
    path: str


def sweep(
    task: str,
    data: Any,
    *,
    out: str | os.PathLike[str],
    trials: int,
    search: Mapping[str, str | Sequence[Any]] | None = None,
    options: Mapping[str, Any] | None = None,
    valid: Any = None,
    columns: Mapping[str, Any] | None = None,
    seed: int = 0,
    prune: bool = True,
) -> list[SweptTrial]:
    """Train a task with other options again and again, and find the best ones on the validation data.

    Several processes, on several hosts that share the folder, may call this with the same arguments: each takes the
    next trial until there are `trials`. Options are proposed by Optuna's tree-structured Parzen estimator (Bergstra et
    al. 2011); a trial whose best validation so far is worse than the median of the others' is stopped.

    Args:
        task: its name.
        data, valid, columns: as for `fit`.
        out: the sweep's folder, new, or of the same sweep: it then goes on.
        trials: how many there are to be, together with those of the folder.
        search: by option `"LOW..HIGH"` (logarithmic from a factor of 10 on), `"A,B,C"`, or a sequence of values. By
            default the learning rate, and dropout where the task has it.
        options: of every trial.
        seed: of the proposals; trials themselves have the option `seed`.
        prune: whether trials may be stopped before their end.

    Returns:
        All trials, the best first, those without a figure last.

    Raises:
        InputError: what `fit` refuses; an option that cannot be searched, or not so.
        RunError: `out` holds something else, or another sweep.
        MissingExtraError: Optuna is not installed.
    """
    kind = task_of(task)
    given = Sweep(kind, out, search=search, options=options, seed=seed, prune=prune)
    given.train(data, trials, valid=valid, columns=columns)
    return given.write()


class Sweep:
    """The folder of a sweep, as one process sees it.

    Attributes:
        figure: by which trials are compared: that which picks a trial's checkpoint.
        space: what is searched.
        interrupted: whether Ctrl-C ended this process's last trial, which can go on.
    """

    def __init__(
        self,
        kind: type[Task],
        out: str | os.PathLike[str],
        *,
        search: Mapping[str, str | Sequence[Any]] | None = None,
        options: Mapping[str, Any] | None = None,
        seed: int = 0,
        prune: bool = True,
    ) -> None:
        if launched()[1] > 1:
            what = "trains each trial by one process, and was launched as several that train together"
            raise InputError("sweep", what, "Start it once for each process: they share the folder.")
        self.kind, self.path = kind, Path(out)
        self.seed, self.prune, self.interrupted = seed, prune, False
        self.options = dict(options or {})
        parsed = parse_options(kind.Options, self.options, kind.name)
        if parsed.restarts > 1:
            raise InputError("restarts", "a trial of a sweep is one training", "Leave it out.")
        wanted = default_search(kind.Options, self.options) if search is None else search
        self.space: dict[str, Dimension] = read_space(kind.Options, wanted, self.options)
        name = getattr(parsed, "select_by", "loss")
        self.figure = Figure(name, higher=name != "loss" and kind.headline.higher)
        self._settings = {
            "format_version": FORMAT_VERSION,
            "task": kind.name,
            "options": parsed.model_dump(mode="json", include=self.options.keys() - {"device"}),
            "search": {name: str(dimension) for name, dimension in self.space.items()},
            "figure": name,
            "seed": seed,
        }
        self._open()

    def _open(self) -> None:
        """Make the folder, or compare it with what this process was given."""
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise MissingExtraError("optuna", "sweep") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if self.path.is_dir() and not (self.path / SETTINGS).exists():
            begun = (LOCKS, HALF, SETTINGS, JOURNAL)  # by another process, at this moment
            others = [file.name for file in self.path.iterdir() if file.name not in begun]
            if others:
                what = f"holds {others[0]}, and no sweep"
                raise RunError(str(self.path), what, "Give the path of a new folder: out=DIR.")
        try:
            (self.path / LOCKS).mkdir(parents=True, exist_ok=True)
            with self._lock("journal"):
                self._agree()
        except (OSError, NotImplementedError) as error:
            what = f"cannot be written and locked ({error})"
            raise RunError(str(self.path), what, "Give a folder on a file system that has locks.") from error
        backend = optuna.storages.journal.JournalFileBackend(
            str(self.path / JOURNAL),
            lock_obj=_JournalLock(self.path),
        )
        try:
            self.study = optuna.create_study(
                storage=optuna.storages.JournalStorage(backend),
                study_name="sweep",
                direction="maximize" if self.figure.higher else "minimize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(_UNPRUNED_TRIALS, _PRUNED_FROM)
                if self.prune
                else optuna.pruners.NopPruner(),
            )
        except (ValueError, KeyError) as error:
            where = str(self.path / JOURNAL)
            raise RunError(where, f"is damaged ({error!r})", "Restore it, or begin a new sweep.") from error

    def _agree(self) -> None:
        file = self.path / SETTINGS
        if not file.exists():
            half = self.path / HALF
            half.write_text(json.dumps(self._settings, indent=2) + "\n", encoding="utf-8")
            half.replace(file)
            return
        try:
            begun = json.loads(file.read_text("utf-8"))
        except ValueError as error:
            raise RunError(str(file), f"is damaged ({error})", "Restore it, or begin a new sweep.") from error
        for name, value in self._settings.items():
            if begun.get(name) != value:
                what = f"was begun with {name}={begun.get(name)}, and cannot go on with {value}"
                raise RunError(str(self.path), what, "Give the same arguments, or another folder: out=DIR.")

    def _lock(self, name: str) -> FileLock:
        return FileLock(self.path / LOCKS / name, thread_local=False)

    def train(
        self, data: Any, trials: int, *, valid: Any = None, columns: Mapping[str, Any] | None = None
    ) -> None:
        """Take trials, one after another, until there are so many and all are finished, by whomever."""
        if trials < 1:
            raise InputError("trials", f"cannot be {trials}", "Give a number from 1 on.")
        while not self.interrupted:
            claimed = self._claim(trials)
            if claimed is not None:
                trial, lock = claimed
                try:
                    self._train(trial, data, valid, columns)
                finally:
                    lock.release()
            elif self._unfinished():
                time.sleep(WAIT)  # for others, and whether they are killed
            else:
                return

    def _unfinished(self) -> list[int]:
        return [
            trial.number for trial in self.study.get_trials(deepcopy=False) if not trial.state.is_finished()
        ]

    def _claim(self, trials: int) -> tuple[optuna.Trial, FileLock] | None:
        """A trial that was begun and that nobody trains, or a new one; with its lock."""
        import optuna

        with self._lock("claim"):
            for number in self._unfinished():
                lock = self._lock(f"trial-{number:04d}")
                with contextlib.suppress(Timeout):
                    lock.acquire(blocking=False)
                    begun = self.study.get_trials(deepcopy=False)[number]
                    return optuna.trial.Trial(self.study, begun._trial_id), lock
            known = self.study.get_trials(deepcopy=False)
            if sum(REFUSED not in trial.user_attrs for trial in known) >= trials:
                return None
            count = len(known)
            # Every process proposes by the journal and the number: no two the same, and a repeated sweep the same.
            seed = (self.seed * 1_000_003 + count) % 2**32
            self.study.sampler = optuna.samplers.TPESampler(seed=seed)
            lock = self._lock(f"trial-{count:04d}")
            lock.acquire()
            trial = self.study.ask()
            self._options_of(trial)
            return trial, lock

    def _options_of(self, trial: optuna.Trial) -> dict[str, Any]:
        return {name: dimension.suggest(name, trial) for name, dimension in self.space.items()}

    def _train(self, trial: optuna.Trial, data: Any, valid: Any, columns: Mapping[str, Any] | None) -> None:
        import optuna

        folder = self.path / f"trial-{trial.number:04d}"
        run = RunFolder(folder)
        chosen = self._options_of(trial)
        task = self.kind(**self.options, **chosen)
        task._say(f"Trial {trial.number}: {', '.join(f'{name}={value}' for name, value in chosen.items())}")
        state = optuna.trial.TrialState.COMPLETE
        if not run.is_complete:
            begun = (folder / CONFIG).exists()
            try:
                task.fit(
                    data,
                    valid=valid,
                    out=folder,
                    columns=columns,
                    resume=begun,
                    callbacks=[lambda record: self._tell(trial, run, record)],
                )
            except DivergedError as error:
                trial.set_user_attr("failed", str(error))
                self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
                return
            except InputError as error:
                if not (
                    folder / CONFIG
                ).exists():  # nothing was begun: it is none of the trials that were asked for
                    trial.set_user_attr(REFUSED, str(error))
                    self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
                raise
            if task.result_.stopped == "interrupted":
                self.interrupted = True
                return
            if task.result_.stopped == "callback":
                state = optuna.trial.TrialState.PRUNED
        self._compare_data(run)
        value = self._best(folder)
        if value is None:
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif state == optuna.trial.TrialState.PRUNED:
            self.study.tell(trial, state=state)
        else:
            self.study.tell(trial, value)

    def _tell(self, trial: optuna.Trial, run: RunFolder, record: Mapping[str, Any]) -> bool:
        """Hand a validation to the journal; whether the trial is to stop."""
        if record["kind"] != "validation":
            return False
        before = [r for r in run.read_history() if r["kind"] == "validation" and r["step"] < record["step"]]
        number = len(before) + 1
        told = self.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        if number not in told:  # of a training that went on from before
            trial.report(float(record[self.figure.name]), number)
        return self.prune and bool(trial.should_prune())

    def _best(self, folder: Path) -> float | None:
        return runs_below(folder)[0].best.get(self.figure.name)

    def _compare_data(self, run: RunFolder) -> None:
        """Refuse a trial of other data than that of an earlier one."""
        mine = _digests(run.read_config().data)
        for other in sorted(self.path.glob("trial-*")):
            if other != run.path and RunFolder(other).is_complete:
                if _digests(RunFolder(other).read_config().data) != mine:
                    what = f"was trained on other data than {other.name}: their figures cannot be compared"
                    raise RunError(str(run.path), what, "Delete the folder of one, and give the same data.")
                return

    def write(self) -> list[SweptTrial]:
        """Write the table and the picture of what is finished; all trials, the best first."""
        told = [trial for trial in self.study.get_trials() if REFUSED not in trial.user_attrs]
        found = [self._summary(trial) for trial in told]
        found.sort(key=lambda trial: (-self.figure.merit({self.figure.name: trial.value}), trial.trial))
        half = self.path / f".{TABLE}.{os.getpid()}"
        with half.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["trial", "state", self.figure.name, *self.space, "steps", "seconds", "run"])
            for row in found:
                chosen = [row.options.get(name) for name in self.space]
                place = Path(row.path).name
                writer.writerow(
                    [row.trial, row.state, row.value, *chosen, row.steps, round(row.seconds, 1), place]
                )
        half.replace(self.path / TABLE)
        drawn = [
            {"trial": t.trial, "value": t.value, "pruned": t.state == "pruned", "options": t.options}
            for t in sorted(found, key=lambda t: t.trial)
            if t.value is not None and t.state != "unfinished"
        ]
        if drawn:
            logarithmic = [name for name, dimension in self.space.items() if dimension.log]
            figure = self.figure
            draw_sweep(
                drawn, self.path / PICTURE, figure=figure.name, higher=figure.higher, logarithmic=logarithmic
            )
        return found

    def _summary(self, trial: optuna.trial.FrozenTrial) -> SweptTrial:
        folder = self.path / f"trial-{trial.number:04d}"
        known = runs_below(folder)[0] if (folder / CONFIG).exists() else None
        state = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}.get(
            trial.state.name, "unfinished"
        )
        history = RunFolder(folder, writes=False).read_history() if known else []
        return SweptTrial(
            trial=trial.number,
            state=state,
            value=known.best.get(self.figure.name) if known and state != "failed" else None,
            options=dict(trial.params),
            steps=known.steps if known else 0,
            seconds=float(history[-1].get("seconds", 0.0)) if history else 0.0,
            path=str(folder),
        )


def _digests(data: Mapping[str, DataRecord]) -> dict[str, str]:
    return {part: record.sha256 for part, record in data.items()}


class _JournalLock:
    """The journal's lock: the operating system's, which a killed process does not keep. A last line that such a process
    left half-written is taken away before the next one is written."""

    def __init__(self, folder: Path) -> None:
        self._lock = FileLock(folder / LOCKS / "journal", thread_local=False)
        self._journal = folder / JOURNAL

    def acquire(self) -> bool:
        self._lock.acquire()
        with self._journal.open("rb+") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self._lock.release()
