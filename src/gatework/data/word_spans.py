"""Where the words of a text stand, by one simple rule."""

from __future__ import annotations

import re

__all__ = ["word_spans"]

# Japanese and Chinese write no spaces: each of their characters is a word.
_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_LETTER = rf"[^\W{_ALONE}]"
_WORD = re.compile(rf"[{_ALONE}]|{_LETTER}+(?:['’]{_LETTER}+)*|[^\w\s]")


def word_spans(text: str) -> list[tuple[int, int]]:
    """Of each word its characters, `text[start:end]`, in order.

    A word is a run of letters, digits and underscores, with apostrophes inside it; a Chinese or Japanese character; or
    any other sign that is not white space, by itself.
    """
    return [match.span() for match in _WORD.finditer(text)]
