"""Naive predictors, fitted on a task's training data: what a model's figures stand beside."""

from gatework.baselines.base import Baseline, Rival
from gatework.baselines.constant import Copy, Empty, MostCommon, MostCommonSet
from gatework.baselines.frequent_tag import MostFrequentTag
from gatework.baselines.linear_series import LinearSeries
from gatework.baselines.linear_text import LinearText
from gatework.baselines.perceptron import AveragedPerceptron
from gatework.baselines.ridge_window import RidgeWindow
from gatework.baselines.series import Drift, LastValue, SeasonalNaive, SeriesBaseline
from gatework.baselines.speech import MeanFrame, NearestFrames, NearestText
from gatework.baselines.time_warping import TimeWarping
from gatework.baselines.volatility import EwmaVolatility, RollingQuantile

__all__ = [
    "AveragedPerceptron",
    "Baseline",
    "Copy",
    "Drift",
    "Empty",
    "EwmaVolatility",
    "LastValue",
    "LinearSeries",
    "LinearText",
    "MeanFrame",
    "MostCommon",
    "MostCommonSet",
    "MostFrequentTag",
    "NearestFrames",
    "NearestText",
    "RidgeWindow",
    "Rival",
    "RollingQuantile",
    "SeasonalNaive",
    "SeriesBaseline",
    "TimeWarping",
]
