"""The synthesizer: texts in, what they sound like out."""

from gatework.tasks.synthesizer.task import Synthesizer

__all__ = ["Synthesizer"]
