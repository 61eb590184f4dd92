"""The classifier: texts or numeric sequences in, a label or several out."""

from gatework.tasks.classifier.task import Classifier

__all__ = ["Classifier"]
