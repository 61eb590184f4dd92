"""The forecaster: series in, their next steps out, with intervals."""

from gatework.tasks.forecaster.task import Forecaster

__all__ = ["Forecaster"]
