"""Several trainings of one run, each with a seed of its own; the best on the validation data is kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from gatework.data import while_pipes_are_kept
from gatework.errors import RunError
from gatework.metrics.figure import Figure
from gatework.tasks.artifacts import Artifacts
from gatework.tasks.lifecycle import METRICS, Lifecycle, repeatable
from gatework.tasks.run_cells import cell_of_run
from gatework.training import Callback, RunFolder
from gatework.training.problem import LOSS
from gatework.training.processes import Processes
from gatework.training.run_folder import CONFIG, RESTARTS, RunConfig

__all__ = ["RestartLifecycle"]


class RestartLifecycle(Lifecycle):
    """The part of a task that trains a run several times. `Task` says what the attributes are.

    Each training is a run of its own, in `restarts/1`, `restarts/2`, … of the run's folder. The best one's files are
    copied into the folder itself, which is then a run like any other.
    """

    headline: ClassVar[Figure]
    _common: dict[str, Any] | None = None  # what several trainings on the same data make once, by name

    def fit(
        self,
        data: Any,
        *,
        valid: Any = None,
        out: str | os.PathLike[str] | None = None,
        columns: Mapping[str, Any] | None = None,
        resume: bool = False,
        from_run: str | os.PathLike[str] | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Self:
        path = self._place(out, resume)
        options = self._given() if not resume else self._recorded(RunFolder(path)) | self._given()
        count = options.get("restarts", 1)
        if count == 1:
            return super().fit(
                data,
                valid=valid,
                out=path,
                columns=columns,
                resume=resume,
                from_run=from_run,
                callbacks=callbacks,
            )
        how = {"columns": self._check_columns(columns), "from_run": from_run, "callbacks": callbacks}
        data, valid = repeatable(data), repeatable(valid)
        whole = RunFolder(path).is_complete
        run = RunFolder.create(path, resume=resume)
        with run.locked(), while_pipes_are_kept():
            try:
                if not resume:
                    given = self.options.model_dump(mode="json", exclude_unset=True)
                    run.write_config(RunConfig(task=self.name, options=given))
                self._fit_each(run, options, {"data": data, "valid": valid, **how})
            except BaseException:
                if whole:
                    run.complete()
                elif run.writes and not resume and not (run.path / RESTARTS / "1").exists():
                    shutil.rmtree(run.path)  # leave the way free for another try
                raise
        return self

    def _recorded(self, run: RunFolder) -> dict[str, Any]:
        """The options that a run of several trainings was begun with, but for its cells; of another run none."""
        if not (run.path / CONFIG).exists():
            return {}
        config = run.read_config()
        if config.options.get("restarts", 1) == 1:
            return {}
        if config.task != self.name:
            what = f"is a {config.task}, which a {self.name} cannot go on with"
            raise RunError(str(run.path), what, f"Resume it as what it is: a {config.task}.")
        begun = {name: value for name, value in config.options.items() if name not in self.cells}
        given = self._given()
        for name in ("restarts", "seed"):
            if name in given and given[name] != begun.get(name, given[name]):
                what = f"was begun with {name}={begun.get(name)}, and cannot go on with {given[name]}"
                raise RunError(str(run.path), what, "Leave the option out, or train a new run.")
        return begun

    def _fit_each(self, run: RunFolder, options: Mapping[str, Any], training: Mapping[str, Any]) -> None:
        """Train each run that is not finished, and make the best one the run's own."""
        count, first_seed = options["restarts"], options.get("seed", 0)
        trained: list[RestartLifecycle] = []
        common: dict[str, Any] = {}
        for number in range(1, count + 1):
            folder = run.path / RESTARTS / str(number)
            begun = (folder / CONFIG).exists()
            seed = first_seed + number - 1
            own = self._given() if begun else {**options, **self._first_cells(run)}
            own |= {"restarts": 1, "seed": seed}
            self._say(f"Training {number} of {count}, with seed {seed}:")
            child = type(self)(**own)
            child._common = common
            child.fit(**training, out=folder, resume=begun)
            if child.result_.stopped == "interrupted":
                self.result_, self.run_ = child.result_, run
                return
            trained.append(child)
        best = max(trained, key=self._merit)
        self._take(best, run, trained, options)

    def _merit(self, trained: RestartLifecycle) -> tuple[float, float]:
        """How good a training's run is on the validation data: by the headline figure, and of equals by the loss."""
        figures = trained.metrics_["model"]
        return self.headline.merit(figures), LOSS.merit(figures)

    def _first_cells(self, run: RunFolder) -> dict[str, Any]:
        """The cells of the first training, where this call does not name them."""
        first = RunFolder(run.path / RESTARTS / "1", writes=False)
        keep = Artifacts(first)
        return {
            option: cell_of_run(keep, file, option, option, named=False)
            for option, file in self.cells.items()
            if (first.path / file).exists()
        } | {name: value for name, value in self._given().items() if name in self.cells}

    def _take(
        self,
        best: RestartLifecycle,
        run: RunFolder,
        trained: Sequence[RestartLifecycle],
        options: Mapping[str, Any],
    ) -> None:
        """Make the best training's files this run's, and what it learned this task's."""
        figures = {str(child.options_.seed): child.metrics_["model"][self.headline.name] for child in trained}
        values = ", ".join(f"{seed}: {value:.4g}" for seed, value in figures.items())
        self._say(f"Kept is seed {best.options_.seed} (validation {self.headline.name} by seed: {values}).")
        best.run_.copy_to(run, but=CONFIG)
        self.__dict__ |= {
            name: value for name, value in vars(best).items() if name not in ("options", "_common")
        }
        self.run_ = run
        self.metrics_ = {**best.metrics_, "restarts": figures}
        config = best.run_.read_config()
        chosen = {"restarts": options["restarts"], "seed": options.get("seed", 0)}
        self.options_ = best.options_.model_copy(update=chosen)
        config.options.update(chosen)
        run.write_config(config)
        run.write_json(METRICS, self.metrics_)
        run.complete()
        Processes(self.options_).wait()  # whoever reads the run next finds it whole
