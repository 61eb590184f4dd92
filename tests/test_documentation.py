"""The code in README.md, in docs/coming-from.md and in the tutorials runs, and prints what the page says it prints.

The blocks of one page run in order, as they are read, in one folder: the Python blocks in one namespace, the `gatework`
commands of ```sh blocks on small files of the names that they mention and with a few steps of training. A ```text block
that directly follows a Python block is that block's exact output. `make` targets must be in the Makefile.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from gatework import tasks
from gatework.cli import main

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))
import performance_page  # noqa: E402
import tasks_page  # noqa: E402

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "docs" / "coming-from.md", *TUTORIALS]
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


def run_page(page: str, name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Runs the blocks of a page in order; how many of each language there were.

    The files that the commands name and that are not there yet are the reader's own: the page must leave them alone.
    """
    namespace: dict[str, object] = {"__name__": "__page__"}
    count = {"python": 0, "sh": 0}
    theirs: dict[Path, str] = {}
    for block in blocks(page):
        if block.language == "sh":
            for given, words in gatework_commands(block):
                theirs |= run_command(given, words, monkeypatch)
                count["sh"] += 1
        elif block.language == "yaml":
            Path(block.text.splitlines()[0].removeprefix("# ")).write_text(block.text)
        elif block.language == "python":
            count["python"] += 1
            file = re.match(r"# (\w+\.py)\n", block.text)
            if file:
                Path(file[1]).write_text(block.text)  # a file that the page shows and then uses
            printed = io.StringIO()
            code = compile("\n" * block.line + block.text, name, "exec")  # errors name the page's own line
            with contextlib.redirect_stdout(printed):
                exec(code, namespace)
            if block.output is not None:
                assert printed.getvalue().rstrip() == block.output.rstrip(), f"{name}, line {block.line}"
        for path, text in theirs.items():
            assert path.read_text() == text, f"{name}, line {block.line}, overwrites the reader's {path}"
    return count


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_as_it_is_read(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    count = run_page(page.read_text("utf-8"), str(page), monkeypatch)
    assert count["python"] > 0, "a page without code has nothing to show"
    # The page of the service starts its command from Python, and ends it.
    assert count["sh"] > 0 or page.stem in ("layers", "gradient-flow", "sessions", "serving")


def test_a_page_that_lies_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError):
        run_page("```python\nprint(1)\n```\n\n```text\n2\n```\n", "planted", monkeypatch)
    with pytest.raises(NameError):
        run_page("```python\nnonsense\n```\n", "planted", monkeypatch)
    with pytest.raises(AssertionError, match="nonsense"):
        run_page("```sh\ngatework cells nonsense\n```\n", "planted", monkeypatch)
    page = "```sh\ngatework predict nothing book.txt\n```\n```python\nopen('book.txt', 'w').close()\n```\n"
    with monkeypatch.context() as quiet:
        quiet.setitem(globals(), "main", lambda words: 0)
        with pytest.raises(AssertionError, match="line 4, overwrites the reader's book"):
            run_page(page, "planted", monkeypatch)
    good = "```python\nx = 1\n```\nwords\n```python\nprint(x)\n```\n\n```text\n1\n```\n"
    good += "```sh\ngatework cells lstm --latex   # the equations\n```\n"
    assert run_page(good, "planted", monkeypatch) == {"python": 2, "sh": 1}


def test_pages_that_are_read_one_after_another_train_into_folders_of_their_own() -> None:
    """Who reads the README and then a tutorial is not told that the folder is there already."""
    folders = [
        folder
        for page in PAGES
        for folder in re.findall(r"(?:--out |\bout=\")(runs/[\w-]+)", page.read_text("utf-8"))
    ]
    assert len(folders) > 8
    assert sorted(folders) == sorted(set(folders))


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
    "classifier": ["max_steps=3", "hidden_size=16", "embedding_size=16", "side_rows=256", "subword_rows=256"],
    "reader": ["max_steps=3", "hidden_size=16", "embedding_size=16"],
    "tagger": ["max_steps=3", "hidden_size=16", "embedding_size=16"],
    "forecaster": ["max_steps=3", "hidden_size=16"],
    "transcriber": ["max_steps=3", "hidden_size=16"],
}
SMALL_FILES = {
    "txt": "Once upon a time there was a small book of few words.\n" * 40,
    "en": "one two three\nfour\n" * 20,
    "de": "eins zwei drei\nvier\n" * 20,
    "jsonl": (
        '{"turns": ["hello", "good morning", "bye", "see you"], "tokens": ["go", "to", "rome"], '
        '"tags": ["O", "O", "B-city"], "context": "Ann went to Rome.", "question": "Who?", "answer": "Ann"}\n'
        * 40
    ),
    "csv": "text,label\n" + "a great film,good\nnot great at all,bad\n" * 20,
    "tsv": "source\ttarget\n" + "one two\teins zwei\n" * 40,
}
HOURS = "".join(f"2024-01-{1 + t // 24:02} {t % 24:02}:00,{t % 24 + t % 7}\n" for t in range(600))
NAMED_FILES = {"load.csv": f"time,load\n{HOURS}"}


def gatework_commands(block: Block) -> list[tuple[str, list[str]]]:
    """The `gatework` commands of a shell block, each with the text that `echo` pipes into it."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        before, _, command = line.rpartition(" | ")
        words = shlex.split(command, comments=True)
        if words[:1] == ["gatework"] and words[1] not in ("demo", "bench", "serve"):
            assert not before or before.startswith("echo "), f"the tests cannot run: {line}"
            found.append((" ".join(shlex.split(before)[1:]), words[1:]))
    return found


def run_command(given: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[Path, str]:
    """Runs a command in this process; the files that were made for it, with their text."""
    made = {}
    read = " ".join(word for before, word in zip(["", *words], words, strict=False) if before != "--out")
    for name, kind in re.findall(rf"(\S+\.({'|'.join(SMALL_FILES)}))\b", read):
        if not Path(name).exists():
            made[Path(name)] = NAMED_FILES.get(name, SMALL_FILES[kind])
            Path(name).write_text(made[Path(name)])
    if words[0] == "sweep":
        searched = [word.partition("=")[0] for word in words if "=" in word]
        brief = [option for option in BRIEF[words[1]] if option.partition("=")[0] not in searched]
        words = [*words, "--trials", "2", *(part for option in brief for part in ("--set", option))]
    if words[0] == "train":
        words = [*words, *(part for option in BRIEF[words[1]] for part in ("--set", option))]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{given}\n".encode())))
    assert main(words) == 0, f"gatework {' '.join(words)}"
    return made


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


def test_the_page_of_the_tasks_is_what_they_declare() -> None:
    text = (ROOT / "docs" / "tasks.md").read_text("utf-8")
    assert text == tasks_page.page(), "docs/tasks.md is stale: run python docs/tasks_page.py"
    for name in tasks.names():
        assert f"\n## {name}\n" in text
    assert "| `beam` | integer | 5 |" in text
    assert "| `batch_tokens` | integer | auto |" in text


def test_the_page_of_the_figures_is_what_the_results_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "performance.md").read_text("utf-8")
    assert text == performance_page.page(), (
        "docs/performance.md is stale: run python docs/performance_page.py"
    )
    results = dict(performance_page.read("layers_avx2"))
    results["summary"] = [{**row, "ratio": row["ratio"] / 2} for row in results["summary"]]
    monkeypatch.setattr(performance_page, "read", lambda name: results)
    assert performance_page.beside("layers_avx2", "torch") not in text


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
        ROOT / "docs/coming-from.md",
        ROOT / "docs/gallery.md",
    ]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
