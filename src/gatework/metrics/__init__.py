"""Figures: pure functions of outputs and references. They know no task, no network and no file."""
