"""What happened inside: pictures of what a model attended to."""

from gatework.inspect.alignment import alignment_text, draw_alignment

__all__ = ["alignment_text", "draw_alignment"]
