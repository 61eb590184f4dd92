"""The reader: a question about a text in, the answer with its place and its probability out."""

from gatework.tasks.reader.task import Reader

__all__ = ["Reader"]
