"""The forecaster: series in, their next steps out, with intervals."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, cast

import numpy as np
import torch
from pydantic import BaseModel
from torch import nn

from gatework.baselines import Rival
from gatework.baselines.ridge_maps import RidgeMaps
from gatework.baselines.series import Forecasts
from gatework.data import Series, SeriesData, check_known, one_series, read_series
from gatework.errors import InputError, RunError
from gatework.layers.row_steps import SharedStreams
from gatework.metrics.figure import Figure
from gatework.tasks.artifacts import Artifacts
from gatework.tasks.base import Task
from gatework.tasks.batches import answer_in_batches
from gatework.tasks.forecaster.adaptive import AdaptiveWidths, adapted_at_ends
from gatework.tasks.forecaster.calibration import Conformal
from gatework.tasks.forecaster.channels import Channels, Layout, lead_of
from gatework.tasks.forecaster.chunks import ChunkProblem, origins_of
from gatework.tasks.forecaster.copula import MOST_CORRELATED, calibrated, copula_paths
from gatework.tasks.forecaster.encoding import SeriesEncoding
from gatework.tasks.forecaster.evaluation import Origins, backtest, every_origin, finite, in_scales
from gatework.tasks.forecaster.line_up import (
    FITTED,
    LineUp,
    fit_naive,
    kept_ridge,
    read_naive,
    training_windows,
)
from gatework.tasks.forecaster.network import ForecastBatch, ForecastEnsemble, ForecastNetwork
from gatework.tasks.forecaster.options import (
    DrawingSettings,
    EvaluationSettings,
    ForecasterOptions,
    ForecastInput,
    ForecastRecord,
    ForecastSettings,
)
from gatework.tasks.forecaster.reader import SeriesReader
from gatework.tasks.forecaster.records import draw_records, forecast_records, forecast_rows
from gatework.tasks.forecaster.sampling import Sampling, forecasts_drawn_at_ends
from gatework.tasks.forecaster.series_group import Following
from gatework.tasks.forecaster.session import SeriesSession
from gatework.tasks.forecaster.spans import Split, split_series, step_from, until
from gatework.tasks.forecaster.subject import subject_of
from gatework.tasks.lifecycle import TrainingData
from gatework.tasks.rivals import fit_rivals
from gatework.tasks.session_state import read_saved
from gatework.training import ParameterGroup, StepLoss

__all__ = ["Forecaster"]

ENCODING, CONFORMAL = "series.json", "conformal.json"
VALIDATED = 20_000  # origins that a validation during the training looks at
DRAWN = 1000  # origins from which paths are drawn once the training is done
SEASONS = 14  # that a window holds


class Forecaster(Task):
    """The next steps of series, with intervals: recurrent layers over segments, and a linear model beside them.

    >>> model = Forecaster(horizon=24).fit("load.csv", columns={"time": "date", "target": "load"}, out="runs/load")
    >>> model.predict({"time": [...], "target": [...]})[0]["output"]

    The options are the fields of `ForecasterOptions`, the settings of `predict` those of `ForecastSettings`, and those
    of `evaluate` those of `EvaluationSettings`. Data is what `gatework.data.read_series` reads. Every target of
    every series is a row for the same network, which reads values less the last one, over how far the series moved of
    late. The ridge regression of the window is a part of the network, which begins as this model. Intervals are
    calibrated on the validation data.

    Attributes:
        encoding_: what the training series have.
    """

    name: ClassVar[str] = "forecaster"
    Options = ForecasterOptions
    Settings = ForecastSettings
    Input = ForecastInput
    Output = ForecastRecord
    columns: ClassVar[tuple[str, ...]] = ("series", "time", "target", "past", "future", "static")
    input_columns = (("series", "time", "target"), ("time", "target"), ("series", "target"), ("target",))
    headline: ClassVar[Figure] = Figure("scaled_crps", higher=False)
    noun: ClassVar[str] = "forecasts"
    ensemble_options = ("horizon", "season", "segment", "window", "scaling", "transform", "levels")

    options_: ForecasterOptions
    network_: ForecastNetwork | ForecastEnsemble
    encoding_: SeriesEncoding
    _following: Following | None = None

    # What is learned before there is a network

    def _prepare(self, data: TrainingData, keep: Artifacts) -> None:
        options = self.options_
        given = read_series(data.train, data.columns, frequency=options.frequency)
        self._say_what_was_read(given)
        if data.valid is None:
            splits = self._split(given)
            train = [until(split.series, split.valid) for split in splits if split.valid > 1]
        else:
            train = list(given.series)
        self._learn((given, train), keep)
        self._choose_sizes(max(len(series.target) for series in train))
        self._train = self._channels(train)
        if data.valid is None:
            whole = [until(split.series, split.test) for split in splits]
            self._valid = self._channels(whole)
            self._valid_origins = every_origin(whole, self._valid, [split.valid for split in splits])
        else:
            read = read_series(data.valid, data.columns, like=self.encoding_.names)
            self._valid = self._channels(read.series)
            self._valid_origins = every_origin(read.series, self._valid)
        data.sources.note("training", self._train.sha256())
        data.sources.note("validation", self._valid.sha256())
        self._fit_baselines(keep)

    def _say_what_was_read(self, data: SeriesData) -> None:
        for note in filter(None, [*data.notes, data.missing_words()]):
            self._say(note)

    def _split(self, data: SeriesData) -> list[Split]:
        options = self.options_
        splits = split_series(
            data.series, horizon=options.horizon, valid_from=options.valid_from, test_from=options.test_from
        )
        held = sum(split.test - split.valid for split in splits)
        self._say(f"No validation data: the last steps of each series are held back ({held:,} in all).")
        return splits

    def _choose_sizes(self, longest: int) -> None:
        """The sizes that follow the series, where they are not given."""
        options, season = self.options_, self.options_.season or self.encoding_.season
        divisors = [size for size in range(1, season + 1) if season % size == 0 and size <= options.horizon]
        chosen = {
            "season": season,
            "segment": options.segment or divisors[-1],
            "window": options.window
            or min(max(SEASONS * season, 2 * options.horizon), max((longest - 1) // 2, season + 1)),
        }
        if chosen["window"] <= season:
            what = f"is {chosen['window']}, and a season has {season} steps"
            raise InputError("option window", what, "Give a longer window, or a shorter season.")
        self.options_ = options.model_copy(update=chosen)

    def _learn(self, train: Any, keep: Artifacts) -> None:
        def encoding() -> SeriesEncoding:
            given, series = train
            return SeriesEncoding.learn(given, series, calendar=self.options_.calendar)

        self.encoding_ = keep.get(ENCODING, SeriesEncoding, encoding)
        if keep.finished:
            self._naive = read_naive(keep, self.options_)

    @property
    def _layout(self) -> Layout:
        options, encoding = self.options_, self.encoding_
        return Layout(
            segment=options.segment,
            window=options.window,
            horizon=options.horizon,
            season=options.season,
            masked=encoding.masked,
            gaps=encoding.gaps,
            ages=encoding.ages,
            past=len(encoding.past),
            future=len(encoding.future),
            calendar=encoding.calendar_size,
            timed=not encoding.distance,
            static=encoding.static_size,
            scaling=options.scaling,
        )

    @property
    def _reach(self) -> int:
        """The steps that the network says at once."""
        return 1 if self.options_.decoder == "autoregressive" else self.options_.horizon

    def _channels(self, series: Sequence[Series], horizon: int = 0) -> Channels:
        layout, read_as = self._layout, self.options_.read_as
        origins = origins_of(layout.warm_up, layout.segment)
        ahead = layout.segments_ahead * layout.segment + (horizon + layout.segment) * (self._reach == 1)
        encoded = [self.encoding_.encode(one, ahead, **read_as) for one in series]
        lead, tail = lead_of(layout, layout.warm_up), origins + ahead + layout.segment
        return Channels(encoded, layout, lead=lead, tail=tail)

    # Baselines

    def _fit_baselines(self, keep: Artifacts) -> None:
        (windows, held), options = training_windows(self._train), self.options_
        self._naive = fit_naive(windows, keep, options)
        history, future = windows.history, windows.future
        further: dict[str, Any] = {
            "levels": options.levels,
            "targets": windows.targets,
            "weights": windows.weights,
            "held": held,
        }

        def fit() -> None:
            fit_rivals(self._rivals(), history, future, self.run_, self._say, **further)  # type: ignore[arg-type]

        keep.first(fit, lambda: None)
        self.__dict__.pop("_line_up", None)  # of a training before
        self._ridge = self._line_up.ridge or self._new_ridge().fit(history, future, **further)
        self.options_ = options.model_copy(update={"maps": len(self._ridge.maps_)})

    def _rivals(self) -> Sequence[Rival]:
        return (self._new_ridge(),) if self.options_.rivals else ()

    def _new_ridge(self) -> RidgeMaps:
        return RidgeMaps(self.encoding_.gaps, self.encoding_.ages)

    @cached_property
    def _line_up(self) -> LineUp:
        options, targets = self.options_, len(self.encoding_.targets)
        if not options.rivals:
            return LineUp(self._naive, None)
        sizes = {"window": options.window, "horizon": options.horizon, "levels": len(options.levels)}
        return LineUp(self._naive, kept_ridge(self.run_, targets=targets, **sizes))

    # The network

    def _network(self) -> ForecastNetwork:
        layout = self._layout._replace(horizon=self._reach)
        return ForecastNetwork(self.cells_["cell"], layout, **self._sizes(ForecastNetwork))

    def _joined(self, networks: Sequence[nn.Module]) -> ForecastEnsemble:
        return ForecastEnsemble(cast("Sequence[ForecastNetwork]", networks))

    def _start_anew(self) -> None:
        maps = self._ridge.maps_
        weights = np.stack([one.weight_.T for one in maps])
        residuals = np.stack([one.residuals_ for one in maps])
        network = cast("ForecastNetwork", self.network_)
        network.begin_as(torch.from_numpy(weights).float(), torch.from_numpy(residuals).float())

    def _groups(self) -> Sequence[ParameterGroup]:
        groups = [ParameterGroup(("linear",), factor=self.options_.linear_rate)]
        return groups if self.options_.linear_path else []

    # Training

    def _training_tokens(self) -> int:
        return int(self._train.steps.sum())

    def _problem(self) -> ChunkProblem:
        layout = self._layout
        return ChunkProblem(
            self.network_,
            self._train.reaching(self._reach),
            rows=max(1, round(self.options_.batch_steps / origins_of(layout.warm_up, layout.segment))),
            seed=self.options_.seed,
            loss=self._loss,
            validation=self._quick_figures,
            headline=Figure(self.options_.select_by, higher=False),
            groups=self._groups(),
            judges_start=self.options_.linear_path,
        )

    def _loss(self, model: nn.Module, batch: ForecastBatch) -> StepLoss:
        network = cast("ForecastNetwork", self.network_)
        total, parts = model(batch)
        named = dict(zip(network.distribution.parts, parts, strict=True))
        return StepLoss(total, max(1, int(batch.weights.count_nonzero())), parts=named)

    def _quick_figures(self) -> dict[str, float]:
        origins = self._valid_origins.thinned(VALIDATED)
        found = self._backtest(self._valid.reaching(self._reach), origins, lambda target: {})
        figures = found.model.figures()
        return {"loss": found.loss, "scaled_crps": figures["scaled_crps"], "mse": figures["mse"]}

    def _settle(self, keep: Artifacts) -> None:
        network = cast("ForecastNetwork", self.network_)
        network.shifts = network.correlations = None
        conformal = keep.renew(CONFORMAL, Conformal, self._shifts)
        if conformal.shifts:
            shifts = np.array(conformal.shifts)
            if shifts.shape != (self.options_.horizon, len(self.options_.levels)):
                what = f"shifts {shifts.shape[0]} steps, and {self.options_.horizon} are forecast"
                raise RunError(f"{keep.where}/{CONFORMAL}", what, "Restore the file from a copy.")
            network.shifts = torch.from_numpy(shifts).float()
        matrix = conformal.matrix()
        if matrix is not None and len(matrix) != self.options_.horizon:
            what = f"has correlations of {len(matrix)} steps, and {self.options_.horizon} are forecast"
            raise RunError(f"{keep.where}/{CONFORMAL}", what, "Restore the file from a copy.")
        network.correlations = None if matrix is None else torch.from_numpy(matrix)

    def _shifts(self) -> Conformal:
        options, drawn = self.options_, self._sampling(EvaluationSettings.model_validate({}))
        correlated = drawn is None and options.horizon <= MOST_CORRELATED and len(options.levels) > 1
        if not (options.conformal or correlated):
            return Conformal()
        origins = self._valid_origins.thinned(FITTED if drawn is None else DRAWN)
        found = in_scales(self.network_, self._valid, origins, options.levels, drawn)
        return calibrated(*found, options.levels, shifted=options.conformal, correlated=correlated)

    def _clear(self) -> None:
        for name in ("_train", "_valid", "_valid_origins", "_ridge"):
            self.__dict__.pop(name, None)

    # Figures

    @classmethod
    def evaluation_settings(cls) -> type[BaseModel]:
        return EvaluationSettings

    def _validation_figures(self) -> dict[str, Any]:
        settings = EvaluationSettings.model_validate({})
        drawn = self._sampling(settings) is not None
        origins = self._valid_origins.thinned(DRAWN) if drawn else self._valid_origins
        return self._figures(self._valid, origins, settings)

    def _sampling(self, settings: DrawingSettings, horizon: int | None = None) -> Sampling | None:
        """How an autoregressive network draws its paths; None for another."""
        if self.options_.decoder != "autoregressive":
            return None
        return Sampling(settings.paths, horizon or self.options_.horizon, settings.seed)

    def _widths(self, settings: DrawingSettings, channels: Channels) -> AdaptiveWidths | None:
        """Of the channels' intervals, where they are adapted."""
        if not self.options_.check_adaptive(settings):
            return None
        levels, counts = self.options_.levels, self.network_.counts
        return AdaptiveWidths(len(channels), channels.layout, levels, counts=counts)

    def _evaluate(
        self, data: Any, columns: Mapping[str, str], settings: EvaluationSettings
    ) -> dict[str, Any]:
        read = read_series(data, columns, like=self.encoding_.names)
        self._say_what_was_read(read)
        first = None
        if settings.begin:
            first = [step_from(series, settings.begin, "begin") for series in read.series]
        channels = self._channels(read.series)
        origins = every_origin(read.series, channels, first)
        return self._figures(channels, origins, settings)

    def _figures(self, channels: Channels, origins: Origins, settings: EvaluationSettings) -> dict[str, Any]:
        origins = origins.every(settings.stride)
        how = {"sampling": self._sampling(settings), "widths": self._widths(settings, channels)}
        found = self._backtest(channels, origins, self._line_up.of, **how)
        baselines = {name: sums.figures() for name, sums in found.baselines.items()}
        result = {
            **self._compared(finite(found.figures()), {name: finite(own) for name, own in baselines.items()}),
            "examples": origins.total,
            "unit": self.noun,
        }
        if settings.intervals:
            bounds = found.intervals(-(-self.options_.horizon // settings.stride))
            result["intervals"] = {name: own for name, own in bounds.items() if name in result["model"]}
        return result

    def _backtest(
        self,
        channels: Channels,
        origins: Origins,
        baselines: Callable[[int], Mapping[str, Forecasts]],
        **further: Any,
    ) -> Any:
        was_training = self.network_.training
        self.network_.eval()
        try:
            further |= {"returns": self.options_.of_prices}
            return backtest(self.network_, channels, origins, self.options_.levels, baselines, **further)
        finally:
            self.network_.train(was_training)

    # Predictions

    _subject = subject_of

    def predict_rows(
        self, table: Any, *, columns: Mapping[str, Any] | None = None, **settings: Any
    ) -> Iterator[dict[str, Any]]:
        """The forecasts as rows of a table: of a table with a row for each step, a row for each step to come of each
        series, in the order of the series (`series`, where series have names; `time`, or where steps are numbered
        `step`, from 1; `target`, where there are several; `mean`, and the quantiles by their levels). A table with a
        series in each row is given back with the answers as a column `output` more, as every task does.

        Args:
            table, columns, settings: as for `predict_stream`.

        Raises:
            InputError: as for `predict_stream`.
        """
        self._check_fitted()
        steps, items = self._reader(columns).rows(table)
        if not steps:
            return super().predict_rows(items, columns=columns, **settings)
        again = items if isinstance(table, Iterator) else table
        records = self.predict_stream(again, columns=columns, **settings)
        targets = self.encoding_.targets
        return (row for record in records for row in forecast_rows(record, targets))

    def plot(
        self,
        inputs: Any,
        path: str | os.PathLike[str],
        *,
        most: int = 6,
        columns: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """Draw the first forecasts of some inputs after their history, a panel for each target of each series.

        Args:
            inputs, columns, settings: as for `predict_stream`.
            path: the picture; its suffix names the format.
            most: panels.

        Raises:
            InputError: as for `predict_stream`; there is no input; the picture cannot be written.
            MissingExtraError: matplotlib is not installed.
        """
        records = self.predict_stream(inputs, columns=columns, **settings)
        draw_records(records, self.encoding_.names, self.options_.levels, path, most=most)

    def session(
        self,
        *,
        state: bytes | None = None,
        history: Any = None,
        columns: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> SeriesSession:
        """Series that are followed a step at a time: see `SeriesSession`. What is not said here is as for every task.

        Args:
            history, columns: the series up to now, as `predict` takes them; of a run with static covariates needed.
        """
        given = {"history": history, "columns": columns, "anew": state is None}
        return cast("SeriesSession", self._session_from(state, settings, **given))

    def series_stream(self, history: Any = None, *, saved: Any = None, columns: Any = None) -> SeriesSession:
        """As `session`; `saved` is a file that a session was saved to."""
        state = None if saved is None else read_saved(saved)
        return self.session(history=history, state=state, columns=columns)

    def _needs_whole_inputs(self) -> None:
        return None

    def _new_session(
        self, settings: ForecastSettings, history: Any = None, columns: Any = None, anew: bool = True
    ) -> SeriesSession:
        reader = self._reader(columns)
        items = [] if history is None else [reader.input(item) for item in reader.items(history)]
        series = [one_series(item, self.encoding_.names) for item in items]
        if not series and anew and self.encoding_.static:
            what = f"is empty, and the run reads {', '.join(self.encoding_.static)} of a series"
            raise InputError("history", what, "Give the series' first steps.")
        if (run := self._following) is None or run.network is not self.network_:
            layout, streams = self._layout._replace(horizon=self._reach), SharedStreams(self.network_.layers)
            run = Following(self.network_, self.encoding_, layout, self.options_, streams)
            self._following = run
        self.options_.check_adaptive(settings)
        return SeriesSession(self.name, settings, run, series, self._channels(series))

    def _reader(self, columns: Mapping[str, Any] | None = None) -> SeriesReader:
        own = self.name, self.Input, self.input_columns, self._check_columns(columns)
        return SeriesReader(*own, self.encoding_.names, self._say_what_was_read)

    def _answer(self, inputs: Sequence[Any], settings: ForecastSettings) -> list[dict[str, Any]]:
        horizon = self.options_.check_horizon(settings.horizon)
        series = [one_series(item, self.encoding_.names) for item in inputs]
        for one in series:
            check_known(one, horizon, self.encoding_.names)
        return answer_in_batches(
            [len(one.target) for one in series],
            lambda some: self._forecast([series[index] for index in some], horizon, settings),
        )

    def _forecast(
        self, series: Sequence[Series], horizon: int, settings: ForecastSettings
    ) -> list[dict[str, Any]]:
        channels, sampling = self._channels(series, horizon), self._sampling(settings, horizon)
        times, paths = [self.encoding_.times_after(one, horizon) for one in series], None
        levels, network, widths = self.options_.levels, self.network_, self._widths(settings, channels)
        if sampling is not None:
            found, paths = forecasts_drawn_at_ends(network, channels, sampling, levels)
        else:
            found = adapted_at_ends(network, channels, widths)
            if settings.return_paths:
                drawn = Sampling(settings.paths, horizon, settings.seed)
                paths = copula_paths(network, found.quantiles, levels, channels.channel, drawn)
        told = paths if settings.return_paths else None
        return forecast_records(found, channels.series, times, horizon, self.options_, told)
