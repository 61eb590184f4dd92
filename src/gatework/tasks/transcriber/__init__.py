"""The transcriber: sounds in, what is said in them out."""

from gatework.tasks.transcriber.task import Transcriber

__all__ = ["Transcriber"]
