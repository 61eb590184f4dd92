"""What happened inside, measured and drawn: reports, gradient flow, gates, alignments, trainings, forecasts, speech."""

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
from gatework.inspect.reasons import Reason, UnitReason
from gatework.inspect.recorded import Part
from gatework.inspect.remedies import Remedy, remedies
from gatework.inspect.report import Report, report, report_on
from gatework.inspect.speech import draw_speech
from gatework.inspect.subject import Alignment, Outcome, Steps, Subject
from gatework.inspect.sweep import draw_sweep
from gatework.inspect.telling import Telling

__all__ = [
    "Alignment",
    "ForecastPanel",
    "GradientFlow",
    "Influence",
    "Outcome",
    "Part",
    "Reason",
    "Remedy",
    "Report",
    "StateFlow",
    "Steps",
    "Subject",
    "Telling",
    "UnitReason",
    "alignment_text",
    "draw_alignment",
    "draw_forecasts",
    "draw_gates",
    "draw_gradient_flow",
    "draw_history",
    "draw_speech",
    "draw_sweep",
    "gradient_flow",
    "influence",
    "lyapunov_exponents",
    "remedies",
    "report",
    "report_on",
]
