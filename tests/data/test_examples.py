from __future__ import annotations

import numpy as np
import pytest

from gatework.data import Packed

ROWS = [
    {"ids": np.array([3, 1], np.int32), "mel": np.ones((4, 2), np.float32)},
    {"ids": np.array([], np.int32), "mel": np.zeros((0, 2), np.float32)},
    {"ids": np.array([5, 6, 7], np.int32), "mel": np.full((1, 2), 9, np.float32)},
]


def test_what_is_packed_is_read_again() -> None:
    packed = Packed.from_rows(iter(ROWS))
    assert len(packed) == 3
    for row, again in zip(ROWS, packed, strict=True):
        assert row.keys() == again.keys()
        for field in row:
            assert again[field].dtype == row[field].dtype
            np.testing.assert_array_equal(again[field], row[field])
    assert packed.lengths("ids", "mel") == [(2, 4), (0, 0), (3, 1)]
    assert packed.lengths("mel") == [(4,), (0,), (1,)]
    np.testing.assert_array_equal(packed[-1]["ids"], [5, 6, 7])
    assert packed.arrays["ids"].tolist() == [3, 1, 5, 6, 7]


def test_some_of_the_examples() -> None:
    packed = Packed.from_rows(ROWS)
    for indices in ([0, 1, 2], [2, 0], [1], [0, 1], [2, 2, 1], []):
        some = packed.some(indices)
        assert len(some) == len(indices)
        assert some.lengths("ids", "mel") == [packed.lengths("ids", "mel")[index] for index in indices]
        for index, row in zip(indices, some, strict=True):
            for field in row:
                np.testing.assert_array_equal(row[field], ROWS[index][field])
        again = packed.some(range(3)).some(indices)
        assert again.lengths("mel") == some.lengths("mel")
        if indices:
            assert some.sha256() == Packed.from_rows([ROWS[index] for index in indices]).sha256()


def test_no_examples() -> None:
    packed = Packed.from_rows([])
    assert (len(packed), list(packed), packed.lengths("ids"), len(packed.some([]))) == (0, [], [], 0)


def test_indices_outside_and_slices_are_refused() -> None:
    packed = Packed.from_rows(ROWS)
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"example {index} of 3"):
            packed[index]
    with pytest.raises(TypeError, match="by its number"):
        packed[:2]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"ids": np.array([1])}, r"row 1 has the fields \['ids'\]"),
        ({"ids": [1], "mel": ROWS[0]["mel"]}, "give a NumPy array of numbers with a length"),
        ({"ids": np.array(1, np.int32), "mel": ROWS[0]["mel"]}, "with a length"),
        ({"ids": np.array([None]), "mel": ROWS[0]["mel"]}, "of numbers"),
        ({"ids": np.array([1], np.int64), "mel": ROWS[0]["mel"]}, "is int64 .* row 0 is int32"),
        ({"ids": np.array([1], np.int32), "mel": np.ones((1, 3), np.float32)}, r"\(3,\)"),
    ],
)
def test_rows_that_do_not_fit_are_refused(row: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Packed.from_rows([ROWS[0], row])


def test_the_digest_sees_every_change() -> None:
    digests = {Packed.from_rows(ROWS).sha256()}
    assert Packed.from_rows(list(ROWS)).sha256() in digests
    moved = [{**ROWS[0], "ids": ROWS[0]["ids"][:1]}, {**ROWS[1], "ids": ROWS[0]["ids"][1:]}, ROWS[2]]
    renamed = [{"tokens": row["ids"], "mel": row["mel"]} for row in ROWS]
    wider = [{**row, "ids": row["ids"].astype(np.int64)} for row in ROWS]
    other = [*ROWS[:2], {**ROWS[2], "ids": np.array([5, 6, 8], np.int32)}]
    for rows in (moved, renamed, wider, other, ROWS[::-1], ROWS[:2]):
        digests.add(Packed.from_rows(rows).sha256())
    assert len(digests) == 7
