"""A small run of every task behind one real server: over HTTP, and on the live page in a real browser."""

from __future__ import annotations

import base64
import io
import json
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gatework import tasks
from gatework.serve.app import Service
from gatework.serve.options import ServiceOptions
from gatework.serve.runs import ServedRuns
from gatework.serve.schemas import answer_model, request_model
from tests.browser import browser, opened, unreachable, wider_than_the_window
from tests.contracts.task_contract import assert_close
from tests.contracts.task_examples import EXAMPLES, SPEECH
from tests.serve.running import running

# A transcriber that hears a made-up word in whatever it is told, and says it while it still listens.
EARS = {
    "tokenizer": "word",
    "bidirectional": False,
    "hidden_size": 32,
    "dropout": 0.0,
    "noise": 0.0,
    "rivals": False,
    "max_steps": 120,
    "validate_every": 60,
}


@pytest.fixture(scope="module")
def served(run_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Every task's run, and `ears`."""
    example, ears = EXAMPLES["transcriber"], tmp_path_factory.mktemp("served") / "ears"
    tasks.get("transcriber")(**{**example.options, **EARS}).fit(example.rows, valid=example.valid, out=ears)
    runs = [*(run_of(name) for name in EXAMPLES), ears]
    with running(Service(ServedRuns.load(runs), ServiceOptions())) as client:
        yield client


def sent(item: Any) -> Any:
    """An input as somebody elsewhere sends it: of a sound's file its content."""
    if isinstance(item, str) and item.endswith(".wav"):
        return {"bytes": base64.b64encode(Path(item).read_bytes()).decode()}
    return item


@pytest.mark.parametrize("name", EXAMPLES)
def test_answers_are_those_of_predict(name: str, served: httpx.Client, run_of: Callable[[str], Path]) -> None:
    example, task = EXAMPLES[name], tasks.load(run_of(name))
    given = {"inputs": [sent(each) for each in example.inputs], "settings": example.settings}
    answer = served.post(f"/v1/runs/{name}/predict", json=given)
    assert answer.status_code == 200, answer.text
    inputs = [task.read_sent(each) for each in given["inputs"]]
    records = task.predict_sent(inputs, **example.settings)
    expected = [{key: value for key, value in record.items() if key != "input"} for record in records]
    assert_close(answer.json()["records"], expected)
    request_model(type(task)).model_validate_json(json.dumps(given), strict=True)
    answer_model(type(task)).model_validate_json(answer.content, strict=True)
    described = served.get(f"/v1/runs/{name}").json()
    assert (described["name"], described["task"], described["ready"]) == (name, name, True)
    assert described["settings"]["properties"].keys() <= task.Settings.model_fields.keys()
    assert "input" not in described["output"]["properties"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_look_has_the_record_of_predict(name: str, served: httpx.Client) -> None:
    example = EXAMPLES[name]
    item, settings = sent(example.inputs[0]), example.settings
    asked = served.post(f"/v1/runs/{name}/predict", json={"inputs": [item], "settings": settings}).json()
    body = {"input": item, "settings": settings, "reasons": False}
    looked = served.post(f"/v1/runs/{name}/inspect", json=body)
    assert looked.status_code == 200, looked.text
    assert_close(looked.json()["record"], asked["records"][0])


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser(microphone=Path(SPEECH[4]["audio"])) as found:
        yield found


@contextmanager
def live(chromium: Any, client: httpx.Client, run: str, **how: Any) -> Iterator[Any]:
    """The page of a run, which must be usable by everybody, and no wider than the window, when it is left."""
    with opened(chromium, f"{client.base_url}?run={run}", **how) as page:
        page.wait_for_selector("html[data-ready]", timeout=20_000)
        yield page
        assert wider_than_the_window(page) <= 0
        assert not unreachable(page)


def answered(page: Any) -> None:
    """Wait for an answer with its gates."""
    page.get_by_role("button", name="Answer").click()
    page.wait_for_selector("section .columns", timeout=60_000)


def record_of(client: httpx.Client, run: str, item: Any, **settings: Any) -> dict[str, Any]:
    """What the service answers to an input."""
    asked = {"inputs": [item], "settings": settings}
    record: dict[str, Any] = client.post(f"/v1/runs/{run}/predict", json=asked).json()["records"][0]
    return record


# What is noted whenever the page changes: the text that is written, and the steps whose gates are shown.
WATCH = """() => {
  window.seen = [];
  const note = () => {
    const text = document.querySelector(".spoken")?.textContent ?? "";
    const steps = document.querySelectorAll(".words span").length;
    const last = window.seen.at(-1);
    if (!last || last[0] !== text || last[1] !== steps) window.seen.push([text, steps]);
  };
  new MutationObserver(note).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""

DURATION = """new Promise(resolve => {
  const sound = document.querySelector("audio");
  if (sound.duration) resolve(sound.duration);
  else sound.addEventListener("loadedmetadata", () => resolve(sound.duration));
})"""


def test_a_text_is_written_with_its_next_tokens_while_its_gates_fire(
    chromium: Any, served: httpx.Client
) -> None:
    with live(chromium, served, "language-model") as page:
        page.evaluate(WATCH)
        page.locator("summary", has_text="Settings").click()
        page.get_by_label("length", exact=True).fill("300")
        page.get_by_label("a text to go on with").fill("the one")
        answered(page)
        text = record_of(served, "language-model", "the one", length=300)["output"]
        assert page.locator(".spoken span").count() == 300
        assert page.evaluate("document.querySelector('.spoken').textContent") == text
        assert page.locator(".bars .bar").count() == 5
        begun = [steps for written, steps in page.evaluate("window.seen") if 0 < len(written) < len(text)]
        assert max(begun) > 0, "gates were drawn while the text was written"
        page.get_by_label("gate or state").select_option("forget")
        page.get_by_role("button", name="Compare this unit").click()
        assert page.locator("ul.chips li").count() == 1
        page.get_by_label("length", exact=True).fill("20")
        page.get_by_role("button", name="Answer").click()  # by a stream of its own
        page.wait_for_selector(".spoken span:nth-child(20)", state="attached", timeout=60_000)
        page.wait_for_selector(".gates", timeout=60_000)
        assert page.locator(".spoken span").count() == 20
        assert page.get_by_label("gate or state").input_value() == "forget"


def test_a_translation_has_lines_from_its_words_to_those_that_were_read(
    chromium: Any, served: httpx.Client
) -> None:
    with live(chromium, served, "translator", width=390, dark=True) as page:
        page.locator("summary", has_text="Settings").click()
        page.get_by_label("min_length").fill("3")
        page.get_by_label("a text to translate").fill("one two three")
        page.wait_for_selector("section .columns", timeout=60_000)  # it answers as one types
        record = record_of(served, "translator", "one two three", min_length=3, alignment=True)
        assert page.inner_text(".spoken") == record["output"] != ""
        target, source = record["alignment"]["target"], record["alignment"]["source"]
        strongest = max(range(len(source)), key=lambda place: record["alignment"]["weights"][0][place])
        page.get_by_label("lines of").select_option("0")
        assert page.inner_text(".links output").startswith(
            f"“{target[0]}” was written while it read “{source[strongest]}” ("
        )
        drawn = page.locator(".links path:not(.other)").count()
        assert 0 < drawn <= len(source) < page.locator(".links path").count()
        page.get_by_label("layer").select_option("decoder.l0")
        page.get_by_label("multiplied by (0: off)").fill("0")
        page.wait_for_selector("text=as it is:", timeout=60_000)
        assert "× 0:" in page.inner_text(".said")
        assert page.get_by_label("layer").input_value() == "decoder.l0"
        page.get_by_role("button", name="Say why").click()
        page.wait_for_selector("text=The units that carried it", timeout=120_000)
        page.get_by_role("button", name="look at unit").first.click()


def test_a_conversation_goes_on(chromium: Any, served: httpx.Client) -> None:
    with live(chromium, served, "chatbot") as page:
        page.locator("summary", has_text="Settings").click()
        assert "hypotheses are compared" not in page.inner_text("main")
        for turn in ("i am one", "who is two"):
            page.get_by_label("say something").fill(turn)
            answered(page)
            page.wait_for_selector(f"li:has-text('you: {turn}') + li", timeout=60_000)
        turns = page.locator("ol[aria-label='the conversation so far'] li").all_inner_texts()
        replies = [turn.partition(": ")[2] for turn in turns[1::2]]
        assert replies[1] == record_of(served, "chatbot", ["i am one", replies[0], "who is two"])["output"]
        assert "With beam=1, in the settings" in page.inner_text("main")
        page.get_by_label("beam", exact=True).fill("1")
        page.evaluate(WATCH)
        page.get_by_label("say something").fill("who is three")
        answered(page)
        page.wait_for_selector("li:has-text('you: who is three') + li", timeout=60_000)
        turns = ["i am one", replies[0], "who is two", replies[1], "who is three"]
        reply = record_of(served, "chatbot", turns, beam=1)["output"]
        assert page.locator("ol[aria-label='the conversation so far'] li").last.inner_text() == f"it: {reply}"
        assert page.evaluate("document.querySelector('.spoken').textContent") == reply


def test_spans_and_the_intent_are_shown_as_one_types(chromium: Any, served: httpx.Client) -> None:
    with live(chromium, served, "tagger", dark=True) as page:
        page.get_by_label("a sentence").fill("fly to New rome on day now")
        page.wait_for_selector("section .columns", timeout=60_000)
        record = record_of(served, "tagger", "fly to New rome on day now")
        marks = page.locator("mark").all_inner_texts()
        assert [text.split(" ")[0] for text in marks] == [
            span["text"].split(" ")[0] for span in record["spans"]
        ]
        assert f"label: {record['label']}" in page.inner_text("main")


def test_labels_have_their_probabilities(chromium: Any, served: httpx.Client) -> None:
    with live(chromium, served, "classifier", width=390) as page:
        page.get_by_label("a text, or numbers, a line a step").fill("a lovely and silent film")
        page.wait_for_selector("section .columns", timeout=60_000)
        record = record_of(served, "classifier", "a lovely and silent film")
        assert page.inner_text(".spoken") == record["output"]
        assert page.locator(".bars .bar").count() == len(record["probabilities"])


def test_the_answer_stands_in_its_passage(chromium: Any, served: httpx.Client) -> None:
    asked = {"context": "Ben went to New Rome on Friday. It was far away.", "question": "Where did Ben go?"}
    with live(chromium, served, "reader", width=390, dark=True) as page:
        page.get_by_label("the passage").fill(asked["context"])
        page.get_by_label("the question").fill(asked["question"])
        answered(page)
        record = record_of(served, "reader", asked)
        assert record["output"]
        assert page.inner_text("mark") == page.inner_text(".answer") == record["output"]


def test_a_csv_is_dropped_and_forecast_with_intervals(
    chromium: Any, served: httpx.Client, tmp_path: Path
) -> None:
    days = [f"2024-{1 + step // 28:02}-{1 + step % 28:02}" for step in range(40)]
    rows = [f"{day},{10 + step % 4}\n" for step, day in enumerate(days)]
    (tmp_path / "load.csv").write_text("time,load\n" + "".join(rows))
    with live(chromium, served, "forecaster") as page:
        page.get_by_label("or drop a CSV:").set_input_files(tmp_path / "load.csv")
        page.wait_for_selector("section .columns", timeout=60_000)
        chart = page.locator("canvas[aria-label*='the forecast of 3 with its intervals']")
        assert chart.count() == 1
        assert "bands that hold 95 %" in page.inner_text(".legend >> nth=0")
        page.locator("summary", has_text="The numbers").click()
        record = record_of(
            served, "forecaster", {"time": days, "target": [10.0 + step % 4 for step in range(40)]}
        )
        cells = page.locator("details table tbody tr >> nth=0").locator("td").all_inner_texts()
        assert cells[1] == f"{record['output'][0]:.4g}"
        assert len(cells) == 2 + len(record["quantiles"])


def test_words_come_while_the_sound_of_a_file_does(chromium: Any, served: httpx.Client) -> None:
    with live(chromium, served, "ears") as page:
        page.locator("summary", has_text="Settings").click()
        page.get_by_label("reject").uncheck()
        page.evaluate(WATCH)
        page.get_by_label("a sound file").set_input_files(SPEECH[4]["audio"])
        page.wait_for_selector("section .columns", timeout=60_000)
        seen = page.evaluate("window.seen")
        assert any(text and steps for text, steps in seen[:-1]), "words and gates before the end"
        content = base64.b64encode(Path(SPEECH[4]["audio"]).read_bytes()).decode()
        record = record_of(served, "ears", {"bytes": content}, reject=False)
        assert page.inner_text(".spoken") == record["output"] != ""
        assert page.locator("tbody tr").first.inner_text().split()[0] == record["times"][0]["word"]


def test_words_come_while_one_speaks(chromium: Any, served: httpx.Client) -> None:
    with live(chromium, served, "ears") as page:
        page.get_by_role("button", name="Speak").click()
        page.wait_for_selector(".spoken :not(:empty)", timeout=30_000)
        assert "heard: " in page.inner_text("main")
        page.get_by_role("button", name="Stop speaking").click()
        page.wait_for_selector("section .columns", timeout=60_000)
        assert "s from the microphone" in page.inner_text("main")


def test_a_run_that_hears_whole_sounds_says_so(chromium: Any, served: httpx.Client) -> None:
    with live(chromium, served, "transcriber", dark=True) as page:
        assert "trained with bidirectional=false" in page.inner_text("main")
        page.get_by_label("a sound file").set_input_files(SPEECH[4]["audio"])
        page.wait_for_selector("section .columns", timeout=60_000)


def test_a_text_is_spoken(chromium: Any, served: httpx.Client) -> None:
    with live(chromium, served, "synthesizer", width=390) as page:
        page.get_by_label("a text to speak").fill("ba do fi")
        page.wait_for_selector("section .columns", timeout=60_000)
        content = base64.b64decode(record_of(served, "synthesizer", "ba do fi")["output"])
        with wave.open(io.BytesIO(content)) as sound:
            assert page.evaluate(DURATION) == pytest.approx(sound.getnframes() / sound.getframerate())
        assert page.locator("tbody tr").count() >= 3
        page.get_by_label("multiplied by (0: off)").fill("0")
        page.wait_for_selector(".said audio", timeout=60_000)
