"""What the package asks for and offers is what its code uses; what the Makefile installs is what the pages say."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
FOR_DEVELOPMENT = {"dev", "docs", "bench"}
MODULES = {
    "PyYAML": "yaml",
    "scikit-learn": "sklearn",
    "kaldi-native-fbank": "kaldi_native_fbank",
}  # by the package, where they differ
INDEX = "https://download.pytorch.org/whl/cpu"


def package(requirement: str) -> str:
    return re.split(r"[\[<>=]", requirement)[0]


@cache
def imported() -> frozenset[str]:
    """The names in the paths of all foreign modules that the package's source imports, wherever it does."""
    names: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {part for alias in node.names for part in alias.name.split(".")}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith("gatework"):
                names |= set(node.module.split("."))
    return frozenset(names)


@pytest.mark.parametrize("extra", ["", *sorted(EXTRAS.keys() - FOR_DEVELOPMENT - {"all"})])
def test_what_is_offered_is_used(extra: str) -> None:
    for requirement in EXTRAS[extra] if extra else PROJECT["dependencies"]:
        assert MODULES.get(package(requirement), package(requirement)) in imported(), requirement


def test_all_is_every_extra_of_a_user() -> None:
    [requirement] = EXTRAS["all"]
    assert set(re.findall(r"\w+", requirement)) - {"gatework"} == EXTRAS.keys() - FOR_DEVELOPMENT - {"all"}


def test_an_extra_that_an_error_names_has_the_package() -> None:
    named = [
        match
        for path in (ROOT / "src").rglob("*.py")
        for match in re.findall(r'MissingExtraError\("([\w-]+)", "(\w+)"\)', path.read_text("utf-8"))
    ]
    assert len(named) > 5
    for name, extra in named:
        assert name in map(package, EXTRAS[extra])


def test_the_description_promises_what_there_is() -> None:
    assert ("service" in PROJECT["description"]) == (ROOT / "src/gatework/serve").is_dir()


def test_each_constraint_is_one_version() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line[0] != "#"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", line) for line in lines)
    names = [line.partition("==")[0] for line in lines]
    assert len(names) == len(set(names))
    pinned = set(map(str.lower, names))
    for requirement in [*PROJECT["dependencies"], *(r for some in EXTRAS.values() for r in some)]:
        assert package(requirement) == "gatework" or package(requirement).lower() in pinned, requirement


def test_the_makefile_takes_an_index_for_torch_and_the_pages_name_it() -> None:
    def commands(*arguments: str) -> list[str]:
        make = ["make", "--dry-run", "--always-make", "install", *arguments]
        done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True)
        return [line for line in done.stdout.splitlines() if "/pip install" in line]

    assert len(commands()) == 2
    assert not any("index" in command for command in commands())
    assert all(f"--extra-index-url {INDEX}" in command for command in commands(f"TORCH_INDEX={INDEX}"))
    for page in ("README.md", "constraints.txt"):
        text = (ROOT / page).read_text("utf-8")
        assert f"make install TORCH_INDEX={INDEX}" in text
        assert f"--extra-index-url {INDEX}" in text
