"""Naive predictors, fitted on a task's training data: what a model's figures stand beside."""

from gatework.baselines.base import Baseline, Rival
from gatework.baselines.constant import Copy, Empty, MostCommon

__all__ = ["Baseline", "Copy", "Empty", "MostCommon", "Rival"]
