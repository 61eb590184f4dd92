"""The applications. Tasks are found by name, and imported when they are used."""

from gatework.tasks.registry import TASKS, check_name, get, load, names

__all__ = ["TASKS", "check_name", "get", "load", "names"]
