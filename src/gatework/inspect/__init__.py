"""Pictures of what happened inside, or is to come: alignments, gates, trainings, forecasts, synthetic speech."""

from gatework.inspect.alignment import alignment_text, draw_alignment
from gatework.inspect.forecast import ForecastPanel, draw_forecasts
from gatework.inspect.gates import draw_gates
from gatework.inspect.history import draw_history
from gatework.inspect.speech import draw_speech

__all__ = [
    "ForecastPanel",
    "alignment_text",
    "draw_alignment",
    "draw_forecasts",
    "draw_gates",
    "draw_history",
    "draw_speech",
]
