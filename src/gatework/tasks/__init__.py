"""The applications. Tasks are found by name, and imported when they are used."""

from gatework.tasks.names import TASKS, check_name, get, names
from gatework.tasks.registry import load

__all__ = ["TASKS", "check_name", "get", "load", "names"]
