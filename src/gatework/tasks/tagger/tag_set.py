"""What a tagger learns of its tags, and what it reads of gazetteers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import PositiveFloat, model_validator

from gatework.data import Moves, Scheme, Tagging, allowed_moves, read_lines, scheme_of
from gatework.data.word_spans import word_spans
from gatework.errors import InputError
from gatework.tasks.artifacts import JsonArtifact

__all__ = ["UNSEEN", "Gazetteers", "TagSet", "Temperatures"]

UNSEEN = -1  # stands for a tag, or a label, that the training data does not have


class TagSet(JsonArtifact):
    """The K tags and the labels of the training data, sorted; a tag's id is its place. No labels: none are learned."""

    tags: tuple[str, ...]
    labels: tuple[str, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.tags:
            raise ValueError("there are no tags")
        for name, values in (("tags", self.tags), ("labels", self.labels)):
            if len(set(values)) != len(values):
                raise ValueError(f"one of the {name} stands there twice")
        return self

    @classmethod
    def learn(cls, taggings: Iterable[Tagging], *, with_label: bool) -> Self:
        """The tags and, if asked for, the labels that occur."""
        taggings = list(taggings)
        labels = {each.label for each in taggings if each.label is not None} if with_label else set()
        return cls(
            tags=tuple(sorted({tag for each in taggings for tag in each.tags})), labels=tuple(sorted(labels))
        )

    @cached_property
    def scheme(self) -> Scheme:
        """How the tags mark spans."""
        return scheme_of(self.tags)

    @cached_property
    def moves(self) -> Moves:
        """What well-formed tags do."""
        return allowed_moves(self.tags, self.scheme)

    @cached_property
    def _tags(self) -> dict[str, int]:
        return {tag: id for id, tag in enumerate(self.tags)}

    @cached_property
    def _labels(self) -> dict[str | None, int]:
        return {label: id for id, label in enumerate(self.labels)}

    def tag_ids(self, tags: Iterable[str]) -> list[int]:
        """Ids, `UNSEEN` of a tag that is not there."""
        return [self._tags.get(tag, UNSEEN) for tag in tags]

    def label_id(self, label: str | None) -> int:
        """An id, `UNSEEN` of a label that is not there."""
        return self._labels.get(label, UNSEEN)


class Temperatures(JsonArtifact):
    """What all scores of tags, and those of labels, are divided by."""

    tags: PositiveFloat
    label: PositiveFloat


class Gazetteers(JsonArtifact):
    """Lists of names: by a list's name its entries, each as words in lower case."""

    entries: dict[str, list[list[str]]]

    @classmethod
    def read(cls, files: Sequence[str]) -> Self:
        """The lists of text files, an entry a line; a list's name is its file's.

        Raises:
            InputError: a file cannot be read, or two have one name.
        """
        entries: dict[str, list[list[str]]] = {}
        for file in map(Path, files):
            if file.stem in entries:
                raise InputError(str(file), f"is the second gazetteer named {file.stem!r}", "Rename it")
            lines = {line.strip().lower() for _, line in read_lines(file)} - {""}
            entries[file.stem] = [[line[a:b] for a, b in word_spans(line)] for line in sorted(lines)]
        return cls(entries=entries)

    @cached_property
    def _first_words(self) -> dict[str, dict[str, list[list[str]]]]:
        """Of each list its entries by their first word, the longest first."""
        found: dict[str, dict[str, list[list[str]]]] = {}
        for name, entries in self.entries.items():
            by_first = found.setdefault(name, {})
            for entry in sorted(filter(None, entries), key=len, reverse=True):
                by_first.setdefault(entry[0], []).append(entry)
        return found

    def marks(self, words: Sequence[str]) -> dict[str, list[bool]]:
        """Of each list, which of the words stand in one of its entries: from the left, the longest entry each time."""
        low = [word.lower() for word in words]
        marks = {}
        for name, by_first in self._first_words.items():
            inside = [False] * len(low)
            place = 0
            while place < len(low):
                fits = (e for e in by_first.get(low[place], ()) if low[place : place + len(e)] == e)
                size = len(next(fits, ()))
                inside[place : place + size] = [True] * size
                place += max(size, 1)
            marks[name] = inside
        return marks
