"""The tagger: a tag for every word, spans of words, and a label of the whole sentence."""

from gatework.tasks.tagger.task import Tagger

__all__ = ["Tagger"]
