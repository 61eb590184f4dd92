"""`/v1/runs/NAME/inspect` and the live page: real runs, a real server, a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gatework.serve.app import Service
from tests.browser import browser, opened, wider_than_the_window


def look(client: httpx.Client, run: str, **body: Any) -> httpx.Response:
    return client.post(f"/v1/runs/{run}/inspect", json=body, timeout=60)


def test_a_look_has_the_answer_of_predict_and_every_layer(client: httpx.Client) -> None:
    asked = client.post("/v1/runs/translator/predict", json={"inputs": ["one two"]}).json()
    found = look(client, "translator", input="one two", reasons=False).json()
    assert asked["records"][0] == found["record"]
    assert {"encoder.l0", "encoder.l0_reverse", "decoder.l0"} <= {part["name"] for part in found["parts"]}
    assert found["alignments"]
    assert not found["reasons"]
    assert found["flow"] is None
    assert look(client, "translator", input="one two").json()["reasons"]


def test_a_gate_is_turned_and_the_answer_is_that_of_the_changed_network(client: httpx.Client) -> None:
    given = {"input": "the one", "settings": {"length": 5, "temperature": 0}, "reasons": False}
    (plain, off) = (
        look(client, "language-model", **given, scale=scale).json() for scale in ({}, {"output": 0})
    )
    gates = [value for value in off["parts"][0]["values"] if value["name"] == "output"]
    assert gates[0]["mean"] == 0
    assert plain["record"]["log_probability"] != off["record"]["log_probability"]
    assert look(client, "language-model", **given).json()["record"] == plain["record"]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"inputs": ["one"]}, "is not an object like"),
        ({"input": 3}, "is not an input"),
        ({"input": "one", "scale": {"no_such_gate": 0}}, "no gate 'no_such_gate'"),
        ({"input": "one", "scale": {"update": "0"}}, "no object of gates and numbers"),
        ({"input": "one", "reasons": 1}, "neither true nor false"),
        ({"input": "one", "settings": {"no_such": 1}}, "no_such"),
        ({"input": "one " * 2000}, "characters"),
    ],
)
def test_what_is_no_question_is_refused_in_a_sentence(
    client: httpx.Client, body: dict[str, Any], what: str
) -> None:
    answer = look(client, "translator", **body)
    assert 400 <= answer.status_code < 500
    assert what in answer.json()["error"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1000, False)])
def test_the_page_answers_and_shows_the_gates(
    chromium: Any, client: httpx.Client, service: Service, width: int, dark: bool
) -> None:
    address = f"{client.base_url}?run=translator"
    with opened(chromium, address, width=width, dark=dark) as page:
        page.wait_for_selector("html[data-ready]", timeout=20_000)
        page.get_by_label("a text to translate").fill("one two three")
        page.wait_for_selector("canvas.heat", timeout=60_000)  # it answers as one types
        assert page.inner_text(".spoken") != ""
        assert wider_than_the_window(page) <= 0
        page.get_by_label("layer").select_option("decoder.l0")
        page.get_by_label("multiplied by (0: off)").fill("0")
        page.wait_for_selector("text=as it is:", timeout=60_000)
        assert "× 0:" in page.inner_text(".said")
        assert page.get_by_label("layer").input_value() == "decoder.l0"
        page.get_by_role("button", name="Say why").click()
        page.wait_for_selector("text=The units that carried it", timeout=120_000)
        page.get_by_role("button", name="look at unit").first.click()
        assert wider_than_the_window(page) <= 0
        page.locator("select").first.select_option("forecaster")
        numbers = page.get_by_label("a CSV with times and numbers, or numbers, one a line")
        numbers.fill("\n".join(str(10 + step % 4) for step in range(40)))
        page.wait_for_selector("canvas[aria-label*='the forecast of']", timeout=60_000)


def test_a_text_is_streamed_with_the_probabilities_of_its_next_tokens(
    chromium: Any, client: httpx.Client
) -> None:
    with opened(chromium, f"{client.base_url}?run=language-model") as page:
        page.wait_for_selector("html[data-ready]", timeout=20_000)
        page.locator("summary", has_text="Settings").click()
        page.get_by_label("length", exact=True).fill("6")
        page.get_by_role("button", name="Answer").click()
        page.wait_for_selector("canvas.heat", timeout=60_000)
        assert page.locator(".spoken span").count() == 6
        assert page.locator(".bars .bar").count() == 5
        assert page.locator(".words span").count() > 6
