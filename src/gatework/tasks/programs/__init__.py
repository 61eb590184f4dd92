"""Programs that run what a task exports, in Python and JavaScript: they are written beside it.

They import modules that are written beside them too: of Gatework's `gatework.data.word_spans` becomes `word_spans`.
"""
