"""Naive predictors, fitted on a task's training data: what a model's figures stand beside."""

from gatework.baselines.base import Baseline, Rival
from gatework.baselines.constant import Copy, Empty, MostCommon, MostCommonSet
from gatework.baselines.frequent_tag import MostFrequentTag
from gatework.baselines.linear_series import LinearSeries
from gatework.baselines.linear_text import LinearText
from gatework.baselines.perceptron import AveragedPerceptron

__all__ = [
    "AveragedPerceptron",
    "Baseline",
    "Copy",
    "Empty",
    "LinearSeries",
    "LinearText",
    "MostCommon",
    "MostCommonSet",
    "MostFrequentTag",
    "Rival",
]
