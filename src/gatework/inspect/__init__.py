"""What happened inside, and what is to come: pictures of alignments, of the course of trainings, and of forecasts."""

from gatework.inspect.alignment import alignment_text, draw_alignment
from gatework.inspect.forecast import ForecastPanel, draw_forecasts
from gatework.inspect.history import draw_history

__all__ = ["ForecastPanel", "alignment_text", "draw_alignment", "draw_forecasts", "draw_history"]
