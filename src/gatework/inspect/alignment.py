"""Pictures of an alignment: which tokens of the source each token of the target was made from."""

from __future__ import annotations

import math
import os
import unicodedata
import warnings
from collections.abc import Sequence

from rich.cells import cell_len

from gatework.errors import MissingExtraError

__all__ = ["alignment_text", "draw_alignment"]

_SHADES = " ░▒▓█"
_INCHES = 0.28  # side of a token's cell
_MOST_INCHES = 24.0
_MARGINS = (2.2, 1.8)  # inches beside and above the cells, for labels and scale
_SIGNS = {" ": "␣", "\n": "↵", "\t": "⇥"}
_JOINERS = "\u200d\ufe0e\ufe0f"  # between and after the parts of one sign, such as an emoji's


def alignment_text(source: Sequence[str], target: Sequence[str], weights: Sequence[Sequence[float]]) -> str:
    """An alignment for the terminal: a row a target token, a column a source token, darker for more weight.

    Args:
        source, target: the tokens, S and T.
        weights: (T, S); row t is how much of target token t was read from each source token, and sums to 1.

    Raises:
        ValueError: the weights are not (T, S), or are no numbers between 0 and 1.
    """
    table = _checked(source, target, weights)
    labels = [visible(token) for token in target]
    width = max(map(cell_len, labels), default=0)
    columns = [_signs(visible(token)) for token in source]
    wide = [max(map(cell_len, column)) for column in columns]
    lines = []
    height = max(map(len, columns), default=0)
    for row in range(height):  # each token ends right above its column
        signs = [column[row - height] if height - row <= len(column) else "" for column in columns]
        lines.append(" " * (width + 1) + " ".join(map(_padded, signs, wide)))
    for label, values in zip(labels, table, strict=True):
        shades = [_SHADES[round(value * (len(_SHADES) - 1))] for value in values]
        lines.append(" " * (width - cell_len(label)) + f"{label} " + " ".join(map(_padded, shades, wide)))
    return "\n".join(line.rstrip() for line in lines)


def draw_alignment(
    source: Sequence[str],
    target: Sequence[str],
    weights: Sequence[Sequence[float]],
    path: str | os.PathLike[str],
    *,
    title: str = "",
) -> None:
    """An alignment as a picture (Bahdanau et al. 2014, figure 3), in the format that the path's suffix names.

    Warns where no installed font has a character of the tokens: the picture has a box in its place.

    Args:
        source, target: the tokens, S and T, at least one each.
        weights: (T, S); row t is how much of target token t was read from each source token, and sums to 1.
        title: above the picture.

    Raises:
        ValueError: the weights are not (T, S), or are no numbers between 0 and 1; a side without tokens.
        MissingExtraError: matplotlib is not installed.
    """
    table = _checked(source, target, weights)
    if not source or not target:
        raise ValueError(f"a picture needs tokens on both sides, received {len(source)} and {len(target)}.")
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "inspect") from error
    labels = [[visible(token) for token in side] for side in (source, target)]
    fonts, missing = fonts_for("".join(map("".join, labels)) + title)
    if missing:
        warnings.warn(
            f"no installed font has {missing[:10]!r}: boxes stand for them in {os.fspath(path)}. Install one that has "
            "(Noto Sans has fonts for every script).",
            stacklevel=2,
        )
    sizes = [len(side) * _INCHES + margin for side, margin in zip((source, target), _MARGINS, strict=True)]
    figure = Figure(figsize=(min(sizes[0], _MOST_INCHES), min(sizes[1], _MOST_INCHES)), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(table, cmap="Greys", vmin=0.0, vmax=1.0, aspect="auto", interpolation="nearest")
    long = sum(len(token) > 2 for token in source) > 1  # the end of the source has a name of its own
    turned = {"rotation": 60, "ha": "left", "rotation_mode": "anchor"} if long else {"ha": "center"}
    # Where the cells are too small for all labels, every second, third, … token has one.
    every = [math.ceil(size / _MOST_INCHES) for size in sizes]
    for set_ticks, side, step, style in (
        (axes.set_xticks, labels[0], every[0], turned),
        (axes.set_yticks, labels[1], every[1], {}),
    ):
        set_ticks(range(0, len(side), step), side[::step], family=fonts, **style)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("source")
    axes.set_ylabel("target")
    if title:
        figure.suptitle(title, family=fonts)
    figure.colorbar(image, ax=axes, label="attention weight", shrink=0.8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # said above, once
        figure.savefig(path, dpi=144)


def _checked(
    source: Sequence[str], target: Sequence[str], weights: Sequence[Sequence[float]]
) -> list[list[float]]:
    """The weights as numbers, (T, S), with what rounding left outside 0 … 1 taken in."""
    table = [[float(value) for value in row] for row in weights]
    shape = [len(row) for row in table]
    if shape != [len(source)] * len(target):
        raise ValueError(
            f"weights have {len(table)} rows of {sorted(set(shape))} numbers: give a row for each of the {len(target)} "
            f"target tokens, with a number for each of the {len(source)} source tokens."
        )
    wrong = [value for row in table for value in row if not -1e-3 <= value <= 1.001]
    if wrong:
        raise ValueError(f"a weight is {wrong[0]}: attention weights are between 0 and 1.")
    return [[min(max(value, 0.0), 1.0) for value in row] for row in table]


def visible(token: str) -> str:
    """A token as it can be shown by itself: composed where Unicode can, each character with a look of its own."""
    shown = []
    for character in unicodedata.normalize("NFC", token):
        if character in _JOINERS:
            shown.append(character)
        elif unicodedata.category(character)[0] == "C" and character not in _SIGNS:
            shown.append("�")
        else:
            shown.append(_SIGNS.get(character, character))
    return "".join(shown) or "∅"


def _signs(text: str) -> list[str]:
    """A text in the parts that a reader sees: a letter with its marks, an emoji with what is joined to it."""
    signs: list[str] = []
    for character in text:
        joined = character in _JOINERS or unicodedata.category(character)[0] == "M"
        if signs and (joined or signs[-1].endswith("\u200d")):
            signs[-1] += character
        else:
            signs.append(character)
    return signs


def _padded(sign: str, width: int) -> str:
    """A sign with spaces after it, to so many columns of the terminal."""
    return sign + " " * (width - cell_len(sign))


def fonts_for(text: str) -> tuple[list[str], str]:
    """Installed fonts that have the characters of a text, matplotlib's own first, and the characters that none has."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    def lacks(path: str, characters: set[str]) -> set[str]:
        return {character for character in characters if ord(character) not in FT2Font(path).get_charmap()}

    families = ["DejaVu Sans"]
    missing = lacks(font_manager.findfont(families[0]), set(text) - set(_JOINERS))
    for font in sorted(font_manager.fontManager.ttflist, key=lambda font: (font.name, font.fname)):
        if not missing:
            break
        if not font.name.startswith("Last Resort"):  # it draws boxes for everything
            left = lacks(font.fname, missing)
            if left != missing:
                families.append(font.name)
                missing = left
    return families, "".join(sorted(missing))
