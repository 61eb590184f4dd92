"""Predictions over HTTP are those of `predict`, batched over requests."""

from __future__ import annotations

import asyncio
import base64
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from gatework import tasks
from gatework.serve.app import Service
from gatework.serve.batching import answers_apart
from gatework.serve.options import ServiceOptions
from gatework.serve.runs import ServedRuns
from gatework.serve.server import _listener
from tests.contracts.task_contract import assert_close
from tests.contracts.task_examples import SPEECH
from tests.serve.running import running


def without_input(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in record.items() if name != "input"} for record in records]


def test_a_sound_is_sent_as_its_content(run_of: Callable[[str], Path]) -> None:
    path = run_of("transcriber")
    content = base64.b64encode(Path(SPEECH[0]["audio"]).read_bytes()).decode()
    expected = without_input(tasks.load(path).predict([SPEECH[0]["audio"]], beam=2))
    with running(
        Service(ServedRuns.load([f"ears={path}"]), ServiceOptions(seconds=1.0, characters=200))
    ) as client:
        at = "/v1/runs/ears/predict"
        answer = client.post(at, json={"inputs": [{"bytes": content}], "settings": {"beam": 2}})
        assert_close(answer.json()["records"], expected)
        long = {"array": [0.0] * 9000, "sampling_rate": 8000}
        for wrong, sentence, status in (
            (SPEECH[0]["audio"], "is not an input of transcriber", 422),
            ({"path": SPEECH[0]["audio"]}, "Extra inputs are not permitted", 422),
            ({"bytes": "?"}, "are no base64", 422),
            ({"bytes": base64.b64encode(b"RIFF").decode()}, "inputs[0]", 422),
            ({"array": [[0.0], [0.0, 1.0]], "sampling_rate": 8000}, "rows of different lengths", 422),
            ({"array": [], "sampling_rate": 8000}, "has no samples", 422),
            ({"array": [0.5], "sampling_rate": 0}, "greater than or equal to 1", 422),
            ({"array": [0.5], "sampling_rate": 1}, "Hz", 422),
            (long, "1.1 s of sound are more than this service takes, 1 s", 413),
        ):
            answer = client.post(at, json={"inputs": [wrong]})
            assert (answer.status_code, sentence in answer.json()["error"]) == (status, True), answer.text
        answer = client.post(
            at, json={"inputs": [{"bytes": content}], "settings": {"language_model": "/etc"}}
        )
        assert answer.status_code == 422
        assert "setting language_model: names a file" in answer.json()["error"]


class Slow:
    """Stands in for a run's task: notes its batches, and computes for a while."""

    name = "slow"

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.go = threading.Event()

    def predict_sent(self, inputs: Sequence[Any], **settings: Any) -> list[dict[str, Any]]:
        self.batches.append(list(inputs))
        assert self.go.wait(20)
        if "bad" in inputs:
            raise ValueError("a fault of the task's own")
        return [{"input": each, "output": f"{each} {settings.get('beam', '')}"} for each in inputs]


def test_one_bad_input_takes_no_other_with_it() -> None:
    slow = Slow()
    slow.go.set()
    answers = answers_apart(slow, ["a", "bad", "b", "c"], {})  # type: ignore[arg-type]
    assert [isinstance(answer, dict) for answer in answers] == [True, False, True, True]
    assert [answer["output"] for answer in answers if isinstance(answer, dict)] == ["a ", "b ", "c "]


def test_requests_are_batched_and_the_queue_is_bounded(
    run_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = ServedRuns.load([run_of("translator")])
    service = Service(runs, ServiceOptions(batch=4, queue=7, wait=5, timeout=15))
    slow = Slow()
    monkeypatch.setattr(runs["translator"].task, "predict_sent", slow.predict_sent, raising=False)
    at = "/v1/runs/translator/predict"
    with running(service) as client, ThreadPoolExecutor(16) as pool:

        def ask(text: str, **settings: Any) -> httpx.Response:
            return httpx.post(
                f"{client.base_url}{at}", json={"inputs": [text], "settings": settings}, timeout=30
            )

        first = pool.submit(ask, "first")
        while not slow.batches:
            time.sleep(0.01)
        others = [pool.submit(ask, "bad" if n == 3 else f"n{n}", beam=2 + n % 2) for n in range(7)]
        while service.metrics.waiting.labels("translator")._value.get() < 7:
            time.sleep(0.01)
        refused = ask("one more")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "7 inputs wait already" in refused.json()["error"]
        slow.go.set()
        assert first.result().json()["records"] == [{"output": "first "}]
        answers = [other.result() for other in others]
        for n, answer in enumerate(answers):
            if n == 3:
                assert answer.status_code == 500
                assert (
                    answer.json()["error"]
                    == "run 'translator' failed to answer. The log of the service says why."
                )
            else:
                assert answer.json()["records"] == [{"output": f"n{n} {2 + n % 2}"}]
        whole = [batch for batch in slow.batches[1:] if len(batch) > 1]
        assert sorted(map(len, whole))[-2:] == [3, 4], "inputs with equal settings are answered together"


def test_one_client_by_itself_does_not_wait_for_others(
    run_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = ServedRuns.load([run_of("translator")])
    service, slow = Service(runs, ServiceOptions(wait=10_000, timeout=2)), Slow()
    slow.go.set()
    monkeypatch.setattr(runs["translator"].task, "predict_sent", slow.predict_sent, raising=False)
    with running(service) as client:
        sent = (["a"], ["b"], ["c", "d"], ["e"])
        answers = [
            client.post("/v1/runs/translator/predict", json={"inputs": inputs}, timeout=30) for inputs in sent
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 504], (
        "after several at once it waits"
    )
    assert slow.batches == [["a"], ["b"], ["c", "d"]]


def test_answers_are_sent_at_once() -> None:
    async def delays() -> list[bool]:
        accepted: list[bool] = []

        def noted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            own = writer.get_extra_info("socket")
            accepted.append(not own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = _listener("127.0.0.1", 0)
        async with await asyncio.start_server(noted, sock=listener):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            await reader.read()
            writer.close()
        return accepted

    assert asyncio.run(delays()) == [False]


def test_what_a_client_that_left_had_asked_is_not_answered(
    run_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = ServedRuns.load([run_of("translator")])
    slow, at = Slow(), "/v1/runs/translator/predict"
    monkeypatch.setattr(runs["translator"].task, "predict_sent", slow.predict_sent, raising=False)
    service = Service(runs, ServiceOptions())
    waiting = service.metrics.waiting.labels("translator")._value
    with running(service) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(httpx.post, f"{client.base_url}{at}", json={"inputs": ["one"]}, timeout=30)
        while not slow.batches:
            time.sleep(0.01)
        body = b'{"inputs": ["two", "three"]}'
        head = f"POST {at} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection((client.base_url.host, client.base_url.port)) as leaving:
            leaving.sendall(head + body)
            while waiting.get() < 2:
                time.sleep(0.01)
        gone = service.metrics.requests.labels("/v1/runs/{name}/predict", "499")._value
        while gone.get() < 1:
            time.sleep(0.01)
        slow.go.set()
        assert first.result().json()["records"] == [{"output": "one "}]
        assert client.post(at, json={"inputs": ["four"]}).json()["records"] == [{"output": "four "}]
        assert slow.batches == [["one"], ["four"]], "nobody waited for 'two' any more"


def test_a_late_answer_is_given_up_and_the_next_one_comes(
    run_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = ServedRuns.load([run_of("translator")])
    slow = Slow()
    monkeypatch.setattr(runs["translator"].task, "predict_sent", slow.predict_sent, raising=False)
    with running(Service(runs, ServiceOptions(timeout=0.2))) as client:
        for text in ("one", "two"):
            answer = client.post("/v1/runs/translator/predict", json={"inputs": [text]})
            assert answer.status_code == 504
            assert "no answer within 0.2 s" in answer.json()["error"]
        slow.go.set()
        time.sleep(0.1)
        answer = client.post("/v1/runs/translator/predict", json={"inputs": ["three"]})
        assert answer.json()["records"] == [{"output": "three "}]
        assert slow.batches == [["one"], ["three"]], "nobody waited for 'two' any more"
