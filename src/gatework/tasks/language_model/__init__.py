"""The language model: reads text, says how likely it is, and continues it."""

from gatework.tasks.language_model.task import LanguageModel

__all__ = ["LanguageModel"]
