"""What is refused, with which status and which sentence; and that the service goes on after it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gatework.serve.app import Service
from gatework.serve.guard import Guard
from gatework.serve.metrics import Metrics
from gatework.serve.options import MIB, ServiceOptions
from gatework.serve.runs import ServedRuns
from tests.serve.running import raw, running

PREDICT = "/v1/runs/language-model/predict"


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"", 422, "the body is not JSON"),
        (b"{", 422, "the body is not JSON"),
        (b"\xff\xfe", 422, "the body is not JSON"),
        (b"[" * 100_000, 422, "the body is not JSON: recursion limit"),
        (b'{"inputs": ["\\ud800"]}', 422, "the body is not JSON"),
        (b'{"inputs": [NaN]}', 422, "the body is not JSON"),
        (b"[]", 422, 'is not an object like {"inputs": […]'),
        (b'{"input": "x"}', 422, "is not an object like"),
        (b'{"inputs": "x"}', 422, "no list of one input or more"),
        (b'{"inputs": []}', 422, "no list of one input or more"),
        (b'{"inputs": [1]}', 422, "inputs[0]: 1 is not an input of language-model"),
        (b'{"inputs": ["", {"path": "x"}]}', 422, "inputs[1]: {'path': 'x'} is not an input"),
        (b'{"inputs": [1e999]}', 422, "inputs[0]"),
        (b'{"inputs": [1' + b"0" * 400 + b"]}", 422, "an integer of"),
        (b'{"inputs": ["x"], "settings": 3}', 422, "settings: 3 is no object"),
        (b'{"inputs": ["x"], "settings": {"lenth": 3}}', 422, "Did you mean 'length'?"),
        (b'{"inputs": ["x"], "settings": {"length": "many"}}', 422, "length"),
        (b'{"inputs": ["x"], "settings": {"length": "101"}}', 422, "setting length: 101 is more than this"),
        (b'{"inputs": ["x"], "settings": {"beam": 33}}', 422, "setting beam: 33 is more than this"),
        (b'{"inputs": ["x"], "settings": {"self": 1}}', 422, "self"),
        (b'{"inputs": ["x"], "settings": {"cls": 1}}', 422, "cls"),
        (b'{"inputs": ["' + b"x" * 3000 + b'"]}', 413, "3,000 characters are more than this service takes"),
        (b'{"inputs": ["a","a","a","a","a","a","a","a","a"]}', 413, "9 are more than this service takes"),
        (
            b'{"inputs": ["' + b"x" * 300_000 + b'"]}',
            413,
            "the body is larger than this service takes, 0.25 MiB",
        ),
    ],
)
def test_a_wrong_body_is_refused_with_a_sentence(
    body: bytes, status: int, sentence: str, client: httpx.Client
) -> None:
    answer = client.post(PREDICT, content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert sentence in answer.json()["error"]
    assert "Traceback" not in answer.text
    assert client.get("/v2/health/live").json() == {"live": True}


def test_a_body_without_its_length_is_no_larger_either(client: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        yield b'{"inputs": ["'
        for _ in range(64):
            yield b"x" * 16_384
        yield b'"]}'

    answer = client.post(PREDICT, content=endless())
    assert (answer.status_code, answer.json()["error"][:22]) == (413, "the body is larger tha")
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n".encode()
    assert b"413" in raw(client, head).split(b"\r\n")[0]
    assert client.get("/metrics").text.count("gatework_bodies_bytes 0.0") == 1


@pytest.mark.parametrize(
    ("headers", "status", "sentence"),
    [
        ({"host": "evil.example"}, 403, "'evil.example' is not one of this service's names"),
        ({"host": "localhost.evil.example:80"}, 403, "not one of this service's names"),
        ({"host": "[::1"}, 403, "not one of this service's names"),
        ({"origin": "http://evil.example"}, 403, "is of another origin"),
        ({"origin": "null"}, 403, "is of another origin"),
        ({"origin": "http://127.0.0.1:1"}, 403, "is of another origin"),
        ({"origin": "http://[::"}, 403, "is of another origin"),
        ({"content-encoding": "gzip"}, 422, "is compressed"),
    ],
)
def test_another_host_and_another_origin_are_refused(
    headers: dict[str, str], status: int, sentence: str, client: httpx.Client
) -> None:
    answer = client.post(PREDICT, json={"inputs": ["x"]}, headers=headers)
    assert answer.status_code == status, answer.text
    assert sentence in answer.json()["error"]
    assert "access-control-allow-origin" not in answer.headers


def test_the_services_own_names_and_page_are_known(client: httpx.Client) -> None:
    for host in ("localhost", f"localhost:{client.base_url.port}", "[::1]:8000", "127.0.0.1", "192.168.0.7"):
        assert client.get("/v1/runs", headers={"host": host}).status_code == 200
    own = {"origin": str(client.base_url).rstrip("/")}
    given = {"inputs": ["x"], "settings": {"length": 2}}
    assert client.post(PREDICT, json=given, headers=own).status_code == 200
    assert raw(client, b"GET /v1/runs HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 403")


def test_other_names_origins_and_a_token(run_of: Callable[[str], Path]) -> None:
    token = "a-token-of-enough-letters"
    allowed = {"hosts": ("gate.example",), "origins": ("https://page.example",), "token": token}
    with running(Service(ServedRuns.load([run_of("language-model")]), ServiceOptions(**allowed))) as client:
        for path in ("/", "/docs", "/page/docs.js", "/v2/health/live", "/v2/health/ready"):
            assert client.get(path).status_code == 200, "no data is there"
        for path in ("/v1/runs", "/openapi.json", "/metrics", "/v2/models/language-model", "/nothing"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["www-authenticate"][:6]) == (401, "Bearer")
            assert client.get(path, headers={"authorization": "Bearer wrong"}).status_code == 401
            assert client.get(path, headers={"authorization": f"Basic {token}"}).status_code == 401
        right = {"authorization": f"Bearer {token}"}
        assert client.get("/v1/runs", headers={**right, "host": "gate.example"}).status_code == 200
        answer = client.get("/v1/runs", headers={**right, "origin": "https://page.example"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (
            200,
            "https://page.example",
        )
        assert client.get("/v1/runs", headers={**right, "origin": "https://other.example"}).status_code == 403
        assert token not in repr(ServiceOptions(**allowed))


def test_what_is_no_http_and_half_a_head_end_by_themselves(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatework.serve.server._HEADER_SECONDS", 0.2)
    assert raw(client, b"\x16\x03\x01\x02\x00 nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw(client, b"GET / HTTP/1.1\r\nHost: localhost\r\n", patience=10) == b""
    assert raw(client, b"", patience=10) == b""
    endless = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000
    assert raw(client, endless, more=b"x" * 70_000).startswith(b"HTTP/1.1 400")
    assert client.get("/v2/health/live").status_code == 200


def test_all_bodies_together_are_bounded() -> None:
    async def held(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def statuses() -> list[int]:
        guard = Guard(held, ServiceOptions(body=1, bodies=1.5), "", Metrics())
        found: list[int] = []
        scope = {"type": "http", "path": "/", "headers": [(b"host", b"localhost")]}

        async def receive() -> Any:
            return {"type": "http.request", "body": b"x" * MIB, "more_body": False}

        async def send(message: Any) -> None:
            found.extend([message["status"]] if "status" in message else [])

        asked = [asyncio.create_task(guard(scope, receive, send)) for _ in range(3)]
        await asyncio.sleep(0.05)
        release.set()
        await asyncio.gather(*asked)
        await guard(scope, receive, send)
        return found

    release = asyncio.Event()
    assert asyncio.run(statuses()) == [503, 503, 200, 200]


def test_pages_ask_nothing_of_anybody_else(client: httpx.Client) -> None:
    for path in ("/", "/docs", "/page/docs.js", "/page/docs.css"):
        answer = client.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "http" not in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert re.findall(r"""(?:src|href|import|fetch)\W{1,3}(https?:|//)""", answer.text) == []
    for path in ("/page/../app.py", "/page/%2e%2e/app.py", "/page//etc/passwd", "/page/nothing.js"):
        assert client.get(path).status_code == 404


def test_what_is_not_there_says_so(client: httpx.Client) -> None:
    answer = client.post("/v1/runs/translater/predict", json={"inputs": ["x"]})
    assert (answer.status_code, answer.json()["error"]) == (
        404,
        "there is no run 'translater'. Did you mean 'translator'?",
    )
    assert client.get("/v1/runs/..%2f..%2fetc").status_code == 404
    answer = client.get(PREDICT)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert "is not what" in answer.json()["error"]


def test_the_description_names_every_run_with_its_schemas(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    for name in ("language-model", "translator", "forecaster"):
        operation = schema["paths"][f"/v1/runs/{name}/predict"]["post"]
        (reference,) = operation["requestBody"]["content"]["application/json"]["schema"].values()
        request = schema["components"]["schemas"][reference.rpartition("/")[2]]
        assert request["required"] == ["inputs"]
        assert {"200", "413", "422", "503"} <= operation["responses"].keys()
    assert "/v1/runs/{name}/predict" not in schema["paths"]
    for reference in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(schema)):
        assert reference in schema["components"]["schemas"]


def test_metrics_count_what_was_asked(client: httpx.Client) -> None:
    client.post(PREDICT, json={"inputs": ["x", "y"], "settings": {"length": 2}})
    client.get("/made/up/by/a/client")
    text = client.get("/metrics").text
    assert 'gatework_requests_total{route="/v1/runs/{name}/predict",status="200"}' in text
    assert 'gatework_inputs_total{run="language-model"}' in text
    assert "made/up" not in text
