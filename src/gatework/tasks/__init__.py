"""The applications. Tasks are found by name, and imported when they are used."""

from gatework.tasks.registry import TASKS, get, load, names

__all__ = ["TASKS", "get", "load", "names"]
