"""The options of a forecaster, the settings of its predictions and figures, and its record."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, RootModel, model_validator

from gatework.errors import InputError
from gatework.metrics.forecast import LEVELS
from gatework.tasks.forecaster.distributions import DistributionName
from gatework.tasks.forecaster.fused import MeanLoss
from gatework.tasks.forecaster.network import DecoderName
from gatework.tasks.forecaster.scaling import Scaling
from gatework.tasks.options import MOST_LAYERS, MOST_UNITS, CellOption, PredictionSettings, TaskOptions
from gatework.training.options import FollowsData, Inherited

__all__ = ["EvaluationSettings", "ForecastInput", "ForecastRecord", "ForecastSettings", "ForecasterOptions"]

MOST_STEPS = 2**20
MOST_PATHS = 100_000


def _check_levels(levels: tuple[float, ...]) -> tuple[float, ...]:
    if len(levels) < 1 or any(not 0 < level < 1 for level in levels):
        raise ValueError("levels are one or more numbers between 0 and 1")
    if any(low >= high for low, high in itertools.pairwise(levels)):
        raise ValueError("levels rise from one to the next")
    return levels


class ForecasterOptions(TaskOptions):
    """How a forecaster is made and trained."""

    horizon: Inherited[int] = Field(24, ge=1, le=MOST_STEPS, description="steps that are forecast")
    frequency: Inherited[str] = Field(
        "auto",
        description="the step of the times: auto finds a regular one; a name (h, 15min, D, B, MS, …) demands it; "
        "observed: each row is a step, whatever lies between (trading days); irregular: gaps are read by the network",
    )
    season: Inherited[int] = Field(
        0,
        ge=0,
        le=MOST_STEPS,
        description="steps of a season (0: by the frequency: 24 hours, 7 days, 12 months)",
    )
    segment: Inherited[int] = Field(
        0,
        ge=0,
        le=MOST_STEPS,
        description="steps that the recurrent layers read as one (0: a season, or 1 where the horizon is shorter)",
    )
    window: Inherited[int] = Field(
        0,
        ge=0,
        le=MOST_STEPS,
        description="steps that the linear path reads and that the scale looks back (0: 14 seasons, at least twice the "
        "horizon)",
    )
    scaling: Inherited[Scaling] = Field(
        "rolling",
        description="what values are divided by at each step: the root mean square of seasonal differences, of the "
        "window's steps (rolling) or with weights that fall by 0.94 a step (exponential); none: nothing",
    )
    transform: Inherited[Literal["none", "log"]] = Field(
        "none", description="log: the logarithm of the target is forecast, as log returns from the last value"
    )
    calendar: Inherited[bool] = Field(True, description="read the hour of the day, the day of the week, …")
    valid_from: str = Field(
        "",
        description="without validation data: the time, or the number of the step, from which on steps are not trained "
        "on but validated on (empty: the last 5 %, at least the horizon)",
    )
    test_from: str = Field(
        "", description="the time, or the number of the step, from which on nothing is looked at"
    )

    cell: CellOption = Field(
        "gru", description="the recurrent layers' cell, of the catalogue or FILE.py:NAME"
    )
    hidden_size: Inherited[int] = Field(128, ge=1, le=MOST_UNITS, description="units of the layers")
    num_layers: Inherited[int] = Field(1, ge=1, le=MOST_LAYERS, description="recurrent layers")
    linear_path: Inherited[bool] = Field(
        True,
        description="a linear map of the window is a part of the network, which begins as a ridge regression",
    )
    spread_path: Inherited[bool] = Field(
        False,
        description="of gaussian and student_t: a linear map of how far the series moved of late, over several spans, "
        "is a part of the spread's logarithm",
    )
    maps: Inherited[int] = Field(
        0,
        ge=0,
        le=MOST_UNITS,
        description="linear maps: 1 for all targets of a series, or as many as these (0: whichever the last fifth of "
        "the training data likes better as a ridge)",
    )
    levels: Inherited[Annotated[tuple[float, ...], AfterValidator(_check_levels)]] = Field(
        LEVELS, description="levels of the quantiles"
    )
    decoder: Inherited[DecoderName] = Field(
        "direct",
        description="how the horizon is made of a state: each segment alone (direct); by a recurrent layer over the "
        "horizon (encoder_decoder); or step by step on its own drawn values, as far as is asked for (autoregressive)",
    )
    distribution: Inherited[DistributionName] = Field(
        "quantiles",
        description="what is said of a step: quantiles, by the pinball loss; or by likelihood gaussian, student_t, or "
        "for counts negative_binomial",
    )
    mean_loss: MeanLoss = Field(
        "squared",
        description="of distribution=quantiles, what the mean is learned by: squared errors; absolute ones, which make "
        "it a median that a few wild steps do not lead; huber: squared up to one scale, absolute beyond",
    )
    dropout: float = Field(0.5, ge=0, lt=1, description="of states, and of what the horizon is made of")
    linear_rate: float = Field(
        0.1,
        ge=0,
        allow_inf_nan=False,
        description="the linear path's learning rate, as a share of the others' (0: it stays the ridge)",
    )
    conformal: bool = Field(
        True,
        description="widen or narrow the quantiles by what the validation data says, so that intervals cover "
        "their share",
    )
    rivals: bool = Field(
        True, description="fit the ridge regression on the window too, to stand beside the model"
    )
    select_by: Literal["scaled_crps", "mse", "loss"] = Field(
        "scaled_crps",
        description="the figure of the validations that picks the checkpoint and is compared with `target`",
    )
    batch_steps: FollowsData[int] = Field(
        4000,
        ge=1,
        description="steps of a batch from which the future is forecast (auto: 4000, fewer for small data)",
    )

    def check_horizon(self, horizon: int | None) -> int:
        """The steps of a forecast: what was asked for, or else those that were trained.

        Raises:
            InputError: they are more than this run forecasts.
        """
        most = MOST_STEPS if self.decoder == "autoregressive" else self.horizon
        if horizon is not None and not 1 <= horizon <= most:
            what = f"is {horizon:,}, and this run forecasts {self.horizon:,} steps"
            raise InputError("setting horizon", what, "Give no more, or train with a longer horizon.")
        return horizon or self.horizon

    def check_adaptive(self, settings: DrawingSettings) -> bool:
        """Whether intervals are adapted.

        Raises:
            InputError: they are, of paths that are drawn.
        """
        if settings.adapt_intervals and self.decoder == "autoregressive":
            what = "is true, and an autoregressive forecaster's intervals are those of its paths"
            raise InputError("setting adapt_intervals", what, "Leave it out, or train with another decoder.")
        return settings.adapt_intervals

    @property
    def of_prices(self) -> bool:
        """Whether logarithms are forecast, and figures are of returns."""
        return self.transform == "log"

    @property
    def read_as(self) -> dict[str, bool]:
        """How `SeriesEncoding` reads targets: as logarithms, as counts."""
        return {"log": self.of_prices, "counts": self.distribution == "negative_binomial"}

    @model_validator(mode="after")
    def _check_distribution(self) -> Self:
        if self.distribution == "negative_binomial" and self.transform == "log":
            raise ValueError("distribution=negative_binomial is of counts: leave out transform=log")
        if self.mean_loss != "squared" and self.distribution != "quantiles":
            raise ValueError("mean_loss is of distribution=quantiles: the others learn a whole distribution")
        if self.spread_path and self.distribution not in ("gaussian", "student_t"):
            raise ValueError("spread_path is of distribution=gaussian and student_t, which have a spread")
        if self.decoder == "autoregressive" and self.distribution == "quantiles" and len(self.levels) < 2:
            raise ValueError("decoder=autoregressive draws between quantiles: give two levels or more")
        return self

    @property
    def step_tokens(self) -> int:
        return self.batch_steps

    def batch_for(self, tokens: float) -> dict[str, int]:
        return {"batch_steps": max(round(tokens), 1)}


class DrawingSettings(PredictionSettings):
    """How paths are drawn, and how wide intervals are."""

    adapt_intervals: bool = Field(
        False,
        description="widen an interval after each step that it missed, and narrow it after each that it held, so that "
        "it holds its share whatever the series does now; not of an autoregressive forecaster",
    )
    paths: int = Field(
        200,
        ge=2,
        le=MOST_PATHS,
        description="paths of each series, of which an autoregressive forecaster makes its quantiles",
    )
    seed: int = Field(0, ge=0, description="of these draws")


class ForecastSettings(DrawingSettings):
    """How a series is continued."""

    horizon: int | None = Field(
        None,
        ge=1,
        le=MOST_STEPS,
        description="steps (none: those that were trained); more than these by an autoregressive forecaster alone",
    )
    return_paths: bool = Field(
        False,
        description="also give paths: possible futures, whose steps belong together as in the validation data",
    )


class EvaluationSettings(DrawingSettings):
    """From which steps forecasts are made that are compared with what came."""

    begin: str = Field(
        "",
        description="the first forecast step: a time, or a step's number (empty: as early as a window is before it)",
    )
    stride: int = Field(1, ge=1, le=MOST_STEPS, description="steps from one origin to the next")
    intervals: bool = Field(
        True, description="also give the middle 95 % of each figure over resamples of the times"
    )


class ForecastInput(RootModel[list[float | None] | list[list[float | None]] | dict[str, Any]]):
    """One input of `predict`: the numbers of a series, oldest first (of several targets, a number each a step); or a
    dict with the numbers under `target` or the targets' names, the times under `time` or the first one under `start`,
    and covariates under their names. A missing number is null."""


class Interval(BaseModel):
    """The bounds of each step."""

    low: list[float] | list[list[float]]
    high: list[float] | list[list[float]]


class ForecastRecord(BaseModel):
    """One output of `predict`."""

    input: list[float | None] | list[list[float | None]] | dict[str, Any]
    output: list[float] | list[list[float]] = Field(
        description="the mean of each step to come; of several targets, a number each"
    )
    times: list[str] | None = Field(None, description="of the steps, where the series has times")
    paths: list[list[float]] | list[list[list[float]]] | None = Field(
        None, description="with `return_paths`, the steps of each path, as `output`"
    )
    quantiles: dict[str, list[float] | list[list[float]]] = Field(
        description="by level, of each step as `output`"
    )
    intervals: dict[str, Interval] = Field(
        description="by the percentage that they cover, those whose bounds are among the levels"
    )
