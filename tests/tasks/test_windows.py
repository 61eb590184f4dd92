"""Things that come one by one, in groups of what is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from gatework.tasks.windows import FIRST, MOST, windows


def test_what_is_there_is_taken_together() -> None:
    groups = [group for group, failure in windows(range(300)) if failure is None]
    assert [item for group in groups for item in group] == list(range(300))
    assert max(map(len, groups)) <= MOST
    assert len(groups) < 30  # 3, were the machine idle


def test_groups_grow_while_more_is_there_than_one_holds() -> None:
    count = 8 * MOST
    sizes = []
    for group, _ in windows(range(count)):
        sizes.append(len(group))
        time.sleep(0.05)  # the reader is far ahead
    assert sizes[0] <= FIRST
    assert max(sizes) == MOST
    assert len(sizes) < 20
    assert sum(sizes) == count


def test_one_that_comes_alone_is_given_alone() -> None:
    taken = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        assert taken.wait(20)
        yield 2

    groups = windows(items())
    assert next(groups) == ([1], None)
    taken.set()
    assert next(groups) == ([2], None)
    assert list(groups) == []


def test_what_is_raised_comes_with_the_last_items() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise ValueError("broken")

    given, failures = [], []
    for group, failure in windows(items()):
        given += group
        failures.append(failure)
    assert given == [0, 1, 2]
    assert failures[:-1] == [None] * (len(failures) - 1)
    with pytest.raises(ValueError, match="broken"):
        raise failures[-1] or AssertionError


def test_nothing_gives_no_group() -> None:
    assert list(windows([])) == []


def test_the_reader_stops_when_nobody_asks_any_more() -> None:
    count = 0

    def items() -> Iterator[int]:
        nonlocal count
        while True:
            count += 1
            yield count

    groups = windows(items())
    next(groups)
    groups.close()
    for thread in threading.enumerate():
        if thread.name == "gatework-inputs":
            thread.join(5)
            assert not thread.is_alive()
    assert count <= 4 * MOST
