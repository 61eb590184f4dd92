"""The code in README.md and in the tutorials runs, and prints what the page says it prints.

The Python blocks of one page run in order, in one namespace and an empty folder. A ```text block that
directly follows a Python block is that block's exact output. The `gatework` commands of ```sh blocks run in order as
well, on small files of the names that they mention and with a few steps of training; `make` targets must be
in the Makefile.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from gatework.cli import main

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "tutorials").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    language: str
    text: str
    line: int
    output: str | None  # what a Python block prints, where the page shows it


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a Markdown text; shown output joins the block that prints it."""
    found: list[Block] = []
    end = -1
    for match in FENCE.finditer(page):
        language, text = match.groups()
        directly_after = end >= 0 and not page[end : match.start()].strip()
        if language == "text" and directly_after and found and found[-1].language == "python":
            found[-1] = found[-1]._replace(output=text)
        else:
            found.append(Block(language, text, page.count("\n", 0, match.start()) + 1, None))
        end = match.end()
    return found


def run_page(page: str, name: str) -> int:
    """Runs the Python blocks of a page in one namespace; how many there were."""
    namespace: dict[str, object] = {"__name__": "__page__"}
    count = 0
    for block in blocks(page):
        if block.language != "python":
            continue
        count += 1
        printed = io.StringIO()
        code = compile("\n" * block.line + block.text, name, "exec")  # errors name the page's own line
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        if block.output is not None:
            assert printed.getvalue().rstrip() == block.output.rstrip(), f"{name}, line {block.line}"
    return count


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_page(page.read_text("utf-8"), str(page)) > 0, "a page without code has nothing to show"


def test_a_page_that_lies_is_found() -> None:
    with pytest.raises(AssertionError):
        run_page("```python\nprint(1)\n```\n\n```text\n2\n```\n", "planted")
    with pytest.raises(NameError):
        run_page("```python\nnonsense\n```\n", "planted")
    assert (
        run_page("```python\nx = 1\n```\nwords\n```python\nprint(x)\n```\n\n```text\n1\n```\n", "planted")
        == 2
    )


# What a page trains in a quarter of an hour, the tests train for three steps.
BRIEF = {
    "language-model": [
        "max_steps=3",
        "hidden_size=16",
        "num_layers=1",
        "batch_size=2",
        "steps=16",
        "ngram_order=2",
    ],
    "translator": ["max_steps=3", "hidden_size=16", "embedding_size=16"],
    "chatbot": ["max_steps=3", "hidden_size=16", "embedding_size=16"],
}
SMALL_FILES = {
    "txt": "Once upon a time there was a small book of few words.\n" * 40,
    "en": "one two three\nfour\n" * 20,
    "de": "eins zwei drei\nvier\n" * 20,
    "jsonl": '{"turns": ["hello", "good morning", "bye", "see you"]}\n' * 40,
    "tsv": "source\ttarget\n" + "one two\teins zwei\n" * 40,
}


def gatework_commands(page: str) -> list[tuple[str, list[str]]]:
    """The `gatework` commands of a page, each with the text that `echo` pipes into it."""
    found = []
    for block in blocks(page):
        for line in block.text.replace("\\\n", " ").splitlines() if block.language == "sh" else ():
            before, _, command = line.rpartition(" | ")
            words = shlex.split(command, comments=True)
            if words[:1] == ["gatework"]:
                assert not before or before.startswith("echo "), f"the tests cannot run: {line}"
                found.append((" ".join(shlex.split(before)[1:]), words[1:]))
    return found


def run_commands(page: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Runs the commands of a page in this process; how many there were."""
    commands = [
        (given, words) for given, words in gatework_commands(page) if words[:1] not in (["demo"], ["bench"])
    ]
    for given, words in commands:
        for name, kind in re.findall(rf"(\S+\.({'|'.join(SMALL_FILES)}))\b", " ".join(words)):
            if not Path(name).exists():
                Path(name).write_text(SMALL_FILES[kind])
        if words[0] == "train":
            words = [*words, *(part for option in BRIEF[words[1]] for part in ("--set", option))]
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{given}\n".encode())))
        assert main(words) == 0, f"gatework {' '.join(words)}"
    return len(commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text("utf-8")
    for name, code in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        Path(name).write_text(code)  # a file that the page shows and then uses
    count = run_commands(text, monkeypatch)
    assert count > 0 or page.stem in ("layers",)


def test_a_command_that_does_not_exist_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="nonsense"):
        run_commands("```sh\ngatework cells nonsense\n```\n", monkeypatch)
    assert run_commands("```sh\ngatework cells lstm --latex   # the equations\n```\n", monkeypatch) == 1


def test_the_makefile_has_every_target_that_pages_name() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    pages = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
    named = {t for page in pages for t in re.findall(r"\bmake (\w+)\b`?", commands(page.read_text("utf-8")))}
    assert named
    assert named <= targets


def commands(page: str) -> str:
    """What a page writes as code, inline or in a shell block."""
    inline = re.findall(r"`([^`\n]+)`", page)
    return "\n".join([*inline, *(block.text for block in blocks(page) if block.language == "sh")])


def test_recipes_name_files_that_exist() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = set(re.findall(r"`((?:src|tests|docs)/[\w/.]+)`", page))
    assert len(named) > 10
    assert not [path for path in named if "NAME" not in path and not (ROOT / path).exists()]


def test_links_between_pages_lead_somewhere() -> None:
    pages = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        ROOT / "benchmarks/README.md",
    ]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
