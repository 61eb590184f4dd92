"""Streams over WebSockets: the numbers of a session, whatever else is streamed; and clients that behave badly."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from gatework import tasks
from gatework.errors import InputError
from gatework.serve.app import Service
from gatework.serve.options import ServiceOptions
from gatework.serve.runs import ServedRuns
from gatework.serve.sessions import AHEAD
from tests.contracts.task_contract import assert_close
from tests.contracts.task_examples import EXAMPLES
from tests.serve.running import PATIENCE, masked, raw, running, serving, socket_of

SETTINGS = {"length": 12, "seed": 3}


@contextlib.contextmanager
def stream(
    client: httpx.Client, opening: dict[str, Any] | None, run: str = "language-model", **more: Any
) -> Iterator[ClientConnection]:
    url = f"ws://{client.base_url.host}:{client.base_url.port}/v1/runs/{run}/stream"
    with connect(url, open_timeout=PATIENCE, **more) as opened:
        if opening is not None:
            opened.send(json.dumps({"open": opening}))
        yield opened


def said(opened: ClientConnection, kind: str = "ready") -> list[dict[str, Any]]:
    """The events up to one of this kind, which is the last."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["kind"] != kind:
        found.append(json.loads(opened.recv(PATIENCE)))
    return found


def close_code(opened: ClientConnection) -> int | None:
    """With which the server closes it."""
    try:
        while True:
            opened.recv(PATIENCE)
    except ConnectionClosed as closed:
        return None if closed.rcvd is None else closed.rcvd.code


def send(opened: ClientConnection, **order: Any) -> None:
    opened.send(json.dumps(order))


@pytest.fixture
def streaming(run_of: Callable[[str], Path]) -> Callable[..., Any]:
    """`with streaming(sessions=2) as (client, service):` serves a language model of its own."""

    @contextlib.contextmanager
    def served(**options: Any) -> Iterator[tuple[httpx.Client, Service]]:
        service = Service(ServedRuns.load([run_of("language-model")]), ServiceOptions(**options))
        with running(service) as client:
            yield client, service

    return served


def expected(run: Path, texts: Sequence[str]) -> list[list[dict[str, Any]]]:
    session = tasks.load(run).session(**SETTINGS)
    return [list(session.feed(text)) for text in texts]


def test_a_stream_is_a_session(client: httpx.Client, run_of: Callable[[str], Path]) -> None:
    texts = ["the one", " and", ""]
    with stream(client, {"settings": SETTINGS}) as opened:
        first = said(opened)
        assert [event["kind"] for event in first] == ["open", "ready"]
        assert first[0]["run"] == "language-model"
        for text, events in zip(texts, expected(run_of("language-model"), texts), strict=True):
            send(opened, feed=text)
            assert_close(said(opened)[:-1], events)
        send(opened, reset=True)
        assert said(opened) == [{"kind": "ready"}]
        send(opened, feed=texts[0])
        assert_close(said(opened)[:-1], expected(run_of("language-model"), texts)[0])
        send(opened, finish=True)
        said(opened)
        send(opened, close=True)
        with pytest.raises(ConnectionClosed):
            opened.recv(PATIENCE)


@pytest.mark.parametrize("name", ["tagger", "classifier", "forecaster", "chatbot", "transcriber"])
def test_every_tasks_session_is_streamed(name: str, tmp_path: Path) -> None:
    example, settings = EXAMPLES[name], dict(EXAMPLES[name].settings)
    task = tasks.get(name)(**{**example.options, **example.streaming})
    task.fit(example.rows, valid=example.valid, out=tmp_path / "run")
    assert example.parts is not None
    items = next(own for own in map(example.parts, example.inputs) if own)
    sound = isinstance(items[0], np.ndarray)
    if sound:
        items = [(np.asarray(each) * 32768).clip(-32768, 32767).astype("<i2") for each in items]
    session = tasks.load(tmp_path / "run").session(**settings)
    expected = [event for each in items for event in session.feed(each / 32768 if sound else each)]
    expected += session.finish()
    service = Service(ServedRuns.load([tmp_path / "run"]), ServiceOptions())
    with running(service) as client:
        (plain, watched) = (
            streamed(client, {"settings": settings, "watch": watch}, items) for watch in (False, True)
        )
    assert_close(plain, json.loads(json.dumps(expected)))
    assert_close([event for event in watched if event["kind"] != "gates"], plain)
    gates = [layer for event in watched if event["kind"] == "gates" for layer in event["layers"]]
    assert sum(layer["steps"] for layer in gates) >= (1 if name == "chatbot" else len(gates)) > 0
    for value in (value for layer in gates for value in layer["values"]):
        assert value["role"] == ("state" if value["name"] in ("h", "c", "last") else "gate")
        assert {len(row) for row in value["rows"]} == {value["units"]}
        assert (
            value["name"] not in ("update", "forget")
            or 0 <= np.min(value["rows"]) <= np.max(value["rows"]) <= 1
        )


def streamed(client: httpx.Client, opening: dict[str, Any], items: Sequence[Any]) -> list[dict[str, Any]]:
    """The events of a stream that is fed items, samples as bytes, and ends."""
    found = []
    with stream(client, opening, run="run") as opened:
        said(opened)
        for each in items:
            if isinstance(each, np.ndarray):
                opened.send(each.tobytes())
            else:
                send(opened, feed=each)
            found += said(opened)[:-1]
        send(opened, finish=True)
        return found + said(opened)[:-1]


def test_a_language_models_gates_are_watched_token_by_token(streaming: Any) -> None:
    with streaming() as (client, _), stream(client, {"settings": SETTINGS, "watch": True}) as opened:
        said(opened)
        send(opened, feed="the one")
        events = said(opened)[:-1]
        gates = [event for event in events if event["kind"] == "gates"]
        pieces = [event for event in events if event["kind"] == "piece"]
        assert len(gates) == len(pieces) == SETTINGS["length"]
        assert [event["kind"] for event in events[2:4]] == ["gates", "piece"]  # the first step after the text
        assert {layer["name"] for layer in gates[1]["layers"]} == {"recurrent.l0", "recurrent.l1"}
        assert [layer["steps"] for layer in gates[0]["layers"]] == [
            7,
            7,
            1,
            1,
        ]  # the text, then the first token
        with stream(client, {"watch": 1}) as wrong:
            assert "watch is neither true nor false" in said(wrong, "error")[-1]["error"]


def test_many_streams_are_stepped_together(streaming: Any, run_of: Callable[[str], Path]) -> None:
    texts = [f"the {word}" for word in ("one", "two", "three", "four")] * 10
    alone = {text: expected(run_of("language-model"), [text])[0] for text in set(texts)}
    with streaming() as (client, service), contextlib.ExitStack() as stack:
        opened = [stack.enter_context(stream(client, {"settings": SETTINGS})) for _ in texts]
        for each in opened:
            said(each)
        for each, text in zip(opened, texts, strict=True):
            send(each, feed=text)
        for each, text in zip(opened, texts, strict=True):
            assert_close(said(each)[:-1], alone[text])
        assert client.get("/v1/runs/language-model").json()["streams"] is True
        steps = service.metrics.step_streams.labels("language-model")
        assert steps._sum.get() > 3 * sum(bucket.get() for bucket in steps._buckets), "several a step"
        assert "gatework_sessions 40.0" in client.get("/metrics").text


def test_a_stream_whose_client_vanished_is_taken_up(streaming: Any, run_of: Callable[[str], Path]) -> None:
    texts = ["the one", " and", " two"]
    whole = expected(run_of("language-model"), texts)
    with streaming() as (client, service):
        with stream(client, {"settings": SETTINGS}) as opened:
            token = said(opened)[0]["token"]
            send(opened, feed=texts[0])
            assert_close(said(opened)[:-1], whole[0])
            opened.socket.shutdown(socket.SHUT_RDWR)  # gone without a word
        for text, events in zip(texts[1:], whole[1:], strict=True):
            with stream(client, {"token": token}) as opened:
                assert said(opened)[0]["token"] == token
                send(opened, feed=text)
                assert_close(said(opened)[:-1], events)
        # Who says goodbye is not kept, and nobody takes up what is not there.
        with stream(client, {"token": token}) as opened:
            said(opened)
            send(opened, close=True)
            with pytest.raises(ConnectionClosed):
                opened.recv(PATIENCE)
        for nobody in (token, "x"):
            with stream(client, {"token": nobody}) as opened:
                assert "no stream of this token" in said(opened, "error")[-1]["error"]
                assert close_code(opened) == 4404
        assert service.metrics.put_away._value.get() == 0


def test_a_stream_in_the_middle_of_its_answer_goes_on_elsewhere(
    streaming: Any, run_of: Callable[[str], Path]
) -> None:
    session = tasks.load(run_of("language-model")).session(length=300, seed=3)
    whole = list(session.feed("the"))
    with streaming() as (client, _), stream(client, {"settings": {"length": 300, "seed": 3}}) as first:
        token = said(first)[0]["token"]
        send(first, feed="the")
        begun = [json.loads(first.recv(PATIENCE)) for _ in range(5)]
        with stream(client, {"token": token}) as second:
            rest = said(second)
            begun += said(first, "error")[:-1]
            assert_close([*begun, *rest[1:-1]], whole)
            assert close_code(first) == 4409


def test_a_stream_whose_state_cannot_be_kept_is_forgotten(
    streaming: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any) -> bytes:
        raise InputError("session", "is closed", "Ask for another.")

    with streaming() as (client, service):
        with stream(client, {"settings": SETTINGS}) as opened:
            token = said(opened)[0]["token"]
            monkeypatch.setattr("gatework.tasks.session.Session.state", broken)
        with stream(client, {"token": token}) as opened:
            assert "no stream of this token" in said(opened, "error")[-1]["error"]
        assert service.metrics.sessions._value.get() == 0


def test_idle_streams_are_put_away(streaming: Any) -> None:
    with streaming(idle=0.3) as (client, _), stream(client, {"settings": SETTINGS}) as opened:
        token = said(opened)[0]["token"]
        assert "nothing was sent for long" in said(opened, "error")[-1]["error"]
        assert close_code(opened) == 4408
        with stream(client, {"token": token}) as again:
            assert said(again)[0]["token"] == token


def test_a_new_stream_takes_the_place_of_the_longest_idle_one(
    streaming: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatework.serve.sessions._EVICTABLE", 0.05)
    with streaming(sessions=2, kept=0.01) as (client, service), contextlib.ExitStack() as stack:
        tokens = []
        for _ in range(6):
            opened = stack.enter_context(stream(client, {"settings": SETTINGS}))
            tokens.append(said(opened)[0]["token"])
            time.sleep(0.1)
        assert service.metrics.sessions._value.get() == 2
        assert 0 < service.metrics.put_away._value.get() <= 0.01 * 2**20
        busy = [stack.enter_context(stream(client, {"settings": {"length": 1000}})) for _ in range(2)]
        for each in busy:
            said(each)
            send(each, feed="the")
            each.recv(PATIENCE)
        with pytest.raises(InvalidStatus) as refused, stream(client, {}):
            pass
        assert refused.value.response.status_code == 503
        assert "none is idle" in json.loads(refused.value.response.body)["error"]


def test_a_client_that_does_not_read_holds_up_nobody(streaming: Any) -> None:
    long = {"length": 10_000, "next_tokens": 20}
    with (
        streaming(timeout=2.0, tokens=10_000) as (client, service),
        socket_of(client, "language-model") as slow,
        stream(client, {"settings": SETTINGS}) as opened,
    ):
        slow.sendall(masked(json.dumps({"open": {"settings": long}}).encode()))
        slow.sendall(masked(b'{"feed": "the"}'))
        said(opened)
        deadline = time.monotonic() + PATIENCE
        while not (
            there := [s for s in service.streams.of_run("language-model") if s.session.settings.next_tokens]
        ):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        while not there[0].gone.is_set():
            send(opened, feed="the")
            said(opened)
            assert len(there[0].events) <= AHEAD + 2
            assert time.monotonic() < deadline, "it is not put away"
        assert service.metrics.sessions._value.get() == 1


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("{", "is not JSON"),
        ("[]", "a message is an object"),
        ("{}", "a message is"),
        ('{"feed": 3}', "feed: text: is int"),
        ('{"feed": "x", "finish": true}', "a message is"),
        ('{"finish": 1}', "a message is"),
        ('{"nonsense": true}', "a message is"),
        (b"\x00", "an odd number"),
        (b"\x00\x01", "feed: text: is ndarray"),
        ('{"feed": "' + "x" * 3000 + '"}', "3,000 characters are more"),
        ('{"feed": "\\ud800"}', "is not JSON"),
    ],
)
def test_a_wrong_message_is_an_error_and_no_end(
    message: str | bytes, sentence: str, client: httpx.Client
) -> None:
    with stream(client, {"settings": SETTINGS}) as opened:
        said(opened)
        opened.send(message)
        assert sentence in said(opened, "error")[-1]["error"]
        send(opened, feed="the")
        assert said(opened)[-2]["kind"] == "record"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", 1007),
        ('{"feed": "x"}', 1007),
        ('{"open": 3}', 1007),
        ('{"open": {"lenth": 3}}', 1007),
        ('{"open": {"token": 3}}', 1007),
        ('{"open": {"rate": "8000"}}', 1007),
        ('{"open": {"rate": 8000}}', 1007),
        ('{"open": {"settings": {"lenth": 3}}}', 1007),
        ('{"open": {"settings": {"length": 100000}}}', 1007),
        (b"\x00\x00", 1007),
        ('{"open": "' + "x" * 2_000_000 + '"}', 1009),
    ],
)
def test_a_wrong_beginning_is_the_end(message: str | bytes, code: int, client: httpx.Client) -> None:
    with stream(client, None) as opened:
        with contextlib.suppress(ConnectionClosed):
            opened.send(message)
        assert close_code(opened) == code
    assert client.get("/v2/health/live").status_code == 200


def test_sockets_from_elsewhere_and_of_nothing_are_refused(client: httpx.Client) -> None:
    for run, more, status in (
        ("language-model", {"origin": "http://evil.example"}, 403),
        ("nothing", {}, 404),
        ("translator", {}, 422),
    ):
        with pytest.raises(InvalidStatus) as refused, stream(client, {}, run, **more):
            pass
        assert refused.value.response.status_code == status
        assert json.loads(refused.value.response.body)["error"]
    head = b"GET /v1/runs/language-model/stream HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\n"
    key = (
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + b"A" * 22 + b"==\r\n\r\n"
    )
    assert raw(client, head + key).startswith(b"HTTP/1.1 403")


def test_a_token_comes_as_a_protocol_too(streaming: Any) -> None:
    token = "a-token-of-enough-letters"
    coded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    with streaming(token=token) as (client, _):
        with pytest.raises(InvalidStatus) as refused, stream(client, {}):
            pass
        assert refused.value.response.status_code == 401
        for given in (
            {"additional_headers": {"Authorization": f"Bearer {token}"}},
            {"subprotocols": ["gatework", f"gatework.token.{coded}"]},
        ):
            with stream(client, {}, **given) as opened:
                assert said(opened)[0]["kind"] == "open"
                assert opened.subprotocol == ("gatework" if "subprotocols" in given else None)


def test_stop_means_quiet_and_nothing_is_lost_by_it(streaming: Any) -> None:
    with streaming() as (client, _), stream(client, {"settings": {"length": 1000}}) as opened:
        said(opened)
        send(opened, feed="the")
        opened.recv(PATIENCE)
        send(opened, stop=True)
        events = said(opened)
        assert "record" not in [event["kind"] for event in events]
        send(opened, feed=" one")
        assert json.loads(opened.recv(PATIENCE))["kind"] == "piece"


def test_a_stop_of_the_service_lets_streams_say_what_they_began(run_of: Callable[[str], Path]) -> None:
    service = Service(ServedRuns.load([run_of("language-model")]))
    with (
        serving(service) as (client, server),
        stream(client, {"settings": {"length": 200, "seed": 1}}) as busy,
        stream(client, {}) as idle,
    ):
        said(busy)
        said(idle)
        send(busy, feed="the")
        busy.recv(PATIENCE)
        server.should_exit = True
        assert "is being stopped" in said(idle, "error")[-1]["error"]
        assert said(busy)[-2]["kind"] == "record"
        for each in (busy, idle):
            assert close_code(each) == 1012
