"""The catalogue: found by name, loaded from a user's file, small files."""

from __future__ import annotations

from pathlib import Path

import pytest

import gatework as gw
from gatework import cells
from gatework.errors import InputError

FOLDER = Path(cells.__file__).parent


def test_names_and_cells_go_together() -> None:
    assert cells.names() == sorted(cells.names())
    for name in cells.names():
        assert cells.get(name).name == name
        assert getattr(gw, name) is cells.get(name)
        assert cells.load(name) is cells.get(name)


def test_an_unknown_name_gets_the_nearest_right_one() -> None:
    with pytest.raises(InputError, match="Did you mean 'lstm'"):
        cells.get("lstmm")
    with pytest.raises(InputError, match="gru"):
        cells.load("entirely_else")


@pytest.mark.parametrize("name", cells.names())
def test_a_cell_is_one_small_file(name: str) -> None:
    text = (FOLDER / f"{name}.py").read_text("utf-8")
    assert len(text.splitlines()) < 80
    assert text.count("@cell") == 1


GOOD = '''
import gatework as gw

@gw.cell
def mine(x, h, *, rate=0.5):
    """Mine (Me 2020)."""
    return (1 - rate) * h + rate * gw.tanh(gw.linear("drive", x, h))

half = mine.with_options(rate=0.25)
number = 3
'''


def test_a_users_file(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(GOOD)
    assert cells.load(f"{path}:mine").name == "mine"
    assert dict(cells.load(f"{path}:half").graph.options) == {"rate": "0.25"}
    read = gw.Cell.from_json(cells.load(f"{path}:mine").to_json())
    path.unlink()
    assert gw.Recurrent(read, 2, 3).cell.equations() == "drive = " + read.equations().removeprefix("drive = ")


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (GOOD, "mne", "Did you mean 'mine'"),
        (GOOD, "number", "no cell"),
        ("x = 1\n", "mine", "there is no mine"),
        ("def broken(:\n", "mine", "line 1: SyntaxError"),
        ("import nothing_of_this_name\n", "mine", "line 1: ModuleNotFoundError"),
        ("1 / 0\n", "mine", "ZeroDivisionError"),
        (
            "import gatework as gw\n@gw.cell\ndef mine(x, h):\n    return undefined\n",
            "mine",
            "line 4: NameError",
        ),
        ("import gatework as gw\n@gw.cell\ndef mine(x, h):\n    return h + x\n", "mine", "cannot be traced"),
        (
            "import gatework as gw\n@gw.cell\ndef mine(x, h):\n    if h > 0:\n        h = -h\n    return h\n",
            "mine",
            "if",
        ),
        ("def mine(x, h):\n    return h\n", "mine", "@gw.cell"),
    ],
)
def test_a_users_mistake_is_one_line(tmp_path: Path, text: str, name: str, message: str) -> None:
    path = tmp_path / "own.py"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        cells.load(f"{path}:{name}")
    assert "\n" not in str(caught.value)
    assert "own.py" in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        cells.load(f"{tmp_path}/absent.py:mine")
    with pytest.raises(InputError, match="no cell is named"):
        cells.load(f"{tmp_path}/absent.py")
