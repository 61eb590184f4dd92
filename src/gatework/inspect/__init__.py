"""What happened inside, measured and drawn: gradient flow, gates, alignments, trainings, forecasts, speech."""

from gatework.inspect.alignment import alignment_text, draw_alignment
from gatework.inspect.forecast import ForecastPanel, draw_forecasts
from gatework.inspect.gates import draw_gates
from gatework.inspect.gradient_flow import (
    GradientFlow,
    StateFlow,
    draw_gradient_flow,
    gradient_flow,
    lyapunov_exponents,
)
from gatework.inspect.history import draw_history
from gatework.inspect.influence import Influence, influence
from gatework.inspect.remedies import Remedy, remedies
from gatework.inspect.speech import draw_speech

__all__ = [
    "ForecastPanel",
    "GradientFlow",
    "Influence",
    "Remedy",
    "StateFlow",
    "alignment_text",
    "draw_alignment",
    "draw_forecasts",
    "draw_gates",
    "draw_gradient_flow",
    "draw_history",
    "draw_speech",
    "gradient_flow",
    "influence",
    "lyapunov_exponents",
    "remedies",
]
