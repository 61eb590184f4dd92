"""What happened inside: pictures of what a model attended to, and of how it was trained."""

from gatework.inspect.alignment import alignment_text, draw_alignment
from gatework.inspect.history import draw_history

__all__ = ["alignment_text", "draw_alignment", "draw_history"]
