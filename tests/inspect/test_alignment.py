"""Alignments as text and as pictures: every token is where its weights are, and can be read."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from rich.cells import cell_len

from gatework.inspect import alignment_text, draw_alignment


def identity(size: int) -> list[list[float]]:
    return [[float(row == column) for column in range(size)] for row in range(size)]


def test_text_has_a_row_a_target_token_and_a_column_a_source_token() -> None:
    text = alignment_text(["ab", "c"], ["x", "long"], [[1.0, 0.0], [0.5, 0.25]])
    assert text.splitlines() == [
        "     a",
        "     b c",
        "   x █",
        "long ▒ ░",
    ]


def test_more_weight_is_darker() -> None:
    shades = [alignment_text(["a"], ["b"], [[w]]).splitlines()[1][2:] for w in (0, 0.3, 0.5, 0.8, 1)]
    assert shades == ["", "░", "▒", "▓", "█"]


def test_letters_of_two_columns_and_signs_of_several_characters_keep_the_columns() -> None:
    source = ["日本", "e\u0301", "👩\u200d👧", "q\u0307", "x"]
    lines = alignment_text(source, ["日", "b", "c", "d", "e"], identity(5)).splitlines()
    assert lines[0].split() == ["日"]
    assert lines[1].split() == ["本", "é", "👩\u200d👧", "q\u0307", "x"]
    # The darkest cell of target token n stands right below the end of source token n.
    for sign, line in zip(lines[1].split(), lines[2:], strict=True):
        assert cell_len(lines[1][: lines[1].index(sign)]) == cell_len(line[: line.index("█")])


def test_a_long_token_ends_where_the_short_ones_stand() -> None:
    lines = alignment_text(["a", "b", "</s>"], ["x"], [[0.0, 0.0, 1.0]]).splitlines()
    assert lines == ["      <", "      /", "      s", "  a b >", "x     █"]


def test_what_cannot_be_seen_has_a_sign() -> None:
    lines = alignment_text([" ", "\n", "\t", "", "\x07"], ["\n"], [[0.2] * 5]).splitlines()
    assert lines[0].split() == ["␣", "↵", "⇥", "∅", "�"]
    assert lines[1].startswith("↵")


def test_nothing_is_an_empty_text() -> None:
    assert alignment_text([], [], []) == ""


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([[1.0]], r"1 rows of \[1\] numbers: give a row for each of the 2 target tokens"),
        ([[1.0, 0.0], [1.0]], r"2 rows of \[1, 2\] numbers"),
        ([[1.0, 0.0], [float("nan"), 0.0]], "a weight is nan"),
        ([[1.0, 0.0], [1.5, 0.0]], "a weight is 1.5"),
    ],
)
def test_wrong_weights_are_named(tmp_path: Path, weights: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        alignment_text(["a", "b"], ["c", "d"], weights)
    with pytest.raises(ValueError, match=message):
        draw_alignment(["a", "b"], ["c", "d"], weights, tmp_path / "no.png")


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a PNG, in pixels."""
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return width, height


def test_a_picture_grows_with_the_tokens_to_a_limit(tmp_path: Path) -> None:
    sizes = []
    for source, target in ((3, 3), (30, 3), (2000, 40)):
        path = tmp_path / f"{source}.png"
        weights = [[1 / source] * source for _ in range(target)]
        draw_alignment(["word"] * source, ["y"] * target, weights, path)
        sizes.append(size_of(path))
    assert sizes[0][0] < sizes[1][0] < sizes[2][0] <= 24 * 144
    assert sizes[2][1] > 40 * 30  # a long source does not flatten the target's rows
    with pytest.raises(ValueError, match="tokens on both sides"):
        draw_alignment([], [], [], tmp_path / "none.png")


def test_the_picture_has_the_weights_tokens_and_title(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k)))
    draw_alignment(["a", "b\n"], ["c"], [[0.25, 0.75]], tmp_path / "a.svg", title="A title")
    (figure,) = figures
    axes, scale = figure.axes
    assert axes.images[0].get_array().tolist() == [[0.25, 0.75]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b↵"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["c"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("source", "target")
    assert figure.get_suptitle() == "A title"
    assert scale.get_ylabel() == "attention weight"
    assert "<svg" in (tmp_path / "a.svg").read_text()


def test_a_character_that_no_font_has_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import font_manager

    monkeypatch.setattr(
        font_manager.fontManager, "ttflist", []
    )  # matplotlib's own stays, which has no Chinese
    with pytest.warns(UserWarning, match="no installed font has '日本'") as said:
        draw_alignment(["a日", "本"], ["本"], [[0.5, 0.5]], tmp_path / "b.png")
    assert len(said) == 1
    assert "b.png" in str(said[0].message)
