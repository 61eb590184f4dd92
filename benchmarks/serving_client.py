"""The clients of `serving.py`, in a process of their own: prints what it measured as JSON."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import json
import random
import re
import socket
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

_MOST_ROUNDS = 50  # of requests that schemathesis makes


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50 and p99 in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else seconds * 99
    return {"p50_ms": round(1000 * cuts[49], 2), "p99_ms": round(1000 * cuts[98], 2)}


async def asked(url: str, request: bytes, until: float, taken: list[float], errors: list[str]) -> None:
    """One client: request after request on one connection."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        while time.perf_counter() < until:
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            taken.append(time.perf_counter() - began)
            if not head.startswith(b"HTTP/1.1 200"):
                errors.append(f"{head[:40]!r} {body[:100]!r}")
    except (OSError, asyncio.IncompleteReadError) as error:
        errors.append(repr(error))
    finally:
        writer.close()


async def load(url: str, path: str, body: str, clients: int, seconds: float) -> dict[str, Any]:
    content = body.encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
    taken: list[float] = []
    errors: list[str] = []
    began = time.perf_counter()
    await asyncio.gather(*(asked(url, request, began + seconds, taken, errors) for _ in range(clients)))
    rate = len(taken) / (time.perf_counter() - began)
    return {
        "clients": clients,
        "seconds": seconds,
        "answers": len(taken),
        "errors": len(errors),
        "first_errors": errors[:3],
        "answers_a_second": round(rate, 1),
        **percentiles(taken),
    }


async def completed(url: str, number: int, length: int, firsts: list[float], pieces: list[int]) -> None:
    """One stream: a text is fed, and read to its end."""
    address = url.replace("http", "ws", 1) + "/v1/runs/language-model/stream"
    async with connect(address, open_timeout=60, compression=None) as opened:
        await opened.send(json.dumps({"open": {"settings": {"length": length, "seed": number}}}))
        while json.loads(await opened.recv())["kind"] != "ready":
            pass
        began = time.perf_counter()
        await opened.send(json.dumps({"feed": "the film was "}))
        while (event := json.loads(await opened.recv()))["kind"] != "ready":
            if event["kind"] == "piece":
                if not pieces[number]:
                    firsts.append(time.perf_counter() - began)
                pieces[number] += 1


async def streams(url: str, count: int, length: int) -> dict[str, Any]:
    firsts: list[float] = []
    pieces = [0] * count
    began = time.perf_counter()
    done = await asyncio.gather(
        *(completed(url, number, length, firsts, pieces) for number in range(count)), return_exceptions=True
    )
    errors = [repr(each) for each in done if each is not None]
    seconds = time.perf_counter() - began
    return {
        "streams": count,
        "pieces": sum(pieces),
        "errors": len(errors),
        "first_errors": errors[:3],
        "seconds": round(seconds, 2),
        "pieces_a_second": round(sum(pieces) / seconds, 1),
        "to_the_first_piece": percentiles(firsts),
    }


def resident_mib(pid: int) -> float:
    """Memory of a process, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return round(int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024, 1)


async def idle(url: str, count: int, pid: int) -> dict[str, Any]:
    """Streams that are open and say nothing: the server's memory, and how one more fares beside them."""
    address = url.replace("http", "ws", 1) + "/v1/runs/language-model/stream"
    before = resident_mib(pid)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(count):
            opened = await stack.enter_async_context(connect(address, open_timeout=60, compression=None))
            await opened.send(json.dumps({"open": {}}))
            while json.loads(await opened.recv())["kind"] != "ready":
                pass
        held = resident_mib(pid)
        firsts: list[float] = []
        await completed(url, 0, 20, firsts, [0])
    return {
        "streams": count,
        "resident_mib": {"before": before, "while_open": held},
        "kib_a_stream": round(1024 * (held - before) / count, 1),
        "to_the_first_piece_of_another_ms": round(1000 * firsts[0], 1),
    }


PUT_IN = (b"[" * 50, b"1e999", b"null", b"NaN", b'"\\ud800"', b"-1", b"9" * 400)


def spoiled(good: bytes, draws: random.Random) -> bytes:
    """Bytes like good ones: some exchanged, cut, doubled or put in."""
    found = bytearray(good)
    for _ in range(draws.randint(1, 4)):
        place = draws.randrange(len(found) + 1)
        match draws.randrange(5):
            case 0:
                found[place : place + 1] = bytes([draws.randrange(256)])
            case 1:
                del found[place : place + draws.randint(1, 20)]
            case 2:
                found[place:place] = draws.choice(
                    [b"[" * 50, b"1e999", b"null", b"NaN", b'"\\ud800"', b"-1", b"9" * 400]
                )
            case 3:
                found[place:place] = found[max(0, place - 9) : place]
            case 4:
                found[place:place] = draws.randbytes(draws.randint(1, 40))
    return bytes(found)


def answer_to(url: str, sent: bytes) -> bytes:
    """What a server says to bytes, to the end of its first answer's head."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
        connection.settimeout(0.25)
        received = b""
        with contextlib.suppress(OSError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)  # there is no more
            while b"\r\n\r\n" not in received and (part := connection.recv(4096)):
                received += part
        return received


ODD = (
    None,
    True,
    -1,
    2**53,
    0.5,
    "",
    "x" * 500,
    "\0",
    [],
    {},
    [[]],
    {"path": "/etc/passwd"},
    ["a", 1],
    "/etc/passwd",
)


def odd(value: Any, draws: random.Random) -> Any:
    """JSON like a good value: somewhere in it something else, something less or something more."""
    if isinstance(value, dict) and value and draws.random() < 0.85:
        key = draws.choice(sorted(value))
        changed = {**value, key: odd(value[key], draws)}
        match draws.randrange(8):
            case 0:
                del changed[key]
            case 1:
                changed[draws.choice(["path", "out", "x" * 300, ""])] = draws.choice(ODD)
        return changed
    if isinstance(value, list) and value and draws.random() < 0.85:
        place = draws.randrange(len(value))
        return [*value[:place], odd(value[place], draws), *value[place + draws.randrange(2) :]]
    return draws.choice(ODD)


BODIES = (
    ("/v1/runs/classifier/predict", {"inputs": ["a lovely film"], "settings": {"alternatives": 2}}),
    ("/v1/runs/language-model/predict", {"inputs": ["the"], "settings": {"length": 3, "seed": 1}}),
    (
        "/v2/models/classifier/infer",
        {
            "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a film"]}],
            "outputs": [{"name": "output"}],
        },
    ),
)


def requests(url: str, count: int, seed: int) -> collections.Counter[str]:
    """Requests whose bodies are spoiled."""
    import httpx

    draws, found = random.Random(seed), collections.Counter[str]()
    with httpx.Client(base_url=url, timeout=60) as client:
        for _ in range(count):
            path, body = draws.choice(BODIES)
            good = json.dumps(odd(body, draws) if draws.random() < 0.7 else body).encode()
            answer = client.post(path, content=spoiled(good, draws) if draws.random() < 0.4 else good)
            found[str(answer.status_code)] += 1
    return found


def raw_bytes(url: str, count: int, seed: int) -> collections.Counter[str]:
    """Bytes on a socket: heads and bodies that are spoiled, and noise."""
    draws, found = random.Random(seed), collections.Counter[str]()
    host = urlsplit(url).netloc
    for _ in range(count):
        path, body = draws.choice(BODIES)
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        good = head.encode() + content
        sent = draws.randbytes(draws.randint(1, 300)) if draws.random() < 0.2 else spoiled(good, draws)
        found[answer_to(url, sent)[9:12].decode("latin-1") or "nothing"] += 1
    return found


async def frames(url: str, count: int, seed: int) -> collections.Counter[str]:
    """Messages to a stream that are spoiled, and frames that are none."""
    draws, found = random.Random(seed), collections.Counter[str]()
    address = url.replace("http", "ws", 1) + "/v1/runs/language-model/stream"
    good = [b'{"feed": "the film"}', b'{"finish": true}', b'{"reset": true}', b'{"stop": true}']
    sent = 0
    while sent < count:
        try:
            async with connect(address, open_timeout=60, compression=None, close_timeout=1) as opened:
                opening = b'{"open": {"settings": {"length": 2}}}'
                await opened.send(opening if draws.random() < 0.8 else spoiled(opening, draws))
                for _ in range(20):
                    sent += 1
                    message = spoiled(draws.choice(good), draws)
                    if draws.random() < 0.5:
                        message = json.dumps(odd({"feed": "the film"}, draws)).encode()
                    if draws.random() < 0.1:  # not even a frame
                        opened.transport.write(draws.randbytes(30))
                    elif draws.random() < 0.5:
                        await opened.send(message)
                    else:
                        await opened.send(message.decode("utf-8", "replace"))
                async with asyncio.timeout(1):
                    with contextlib.suppress(TimeoutError):
                        while json.loads(await opened.recv())["kind"] != "error":
                            pass
                found["answered"] += 1
        except WebSocketException as closed:
            received = getattr(closed, "rcvd", None)
            found["no close code" if received is None else str(received.code)] += 1
        except TimeoutError:
            found["nothing said"] += 1
    found["sent"] = sent
    return found


def schemas(url: str, count: int, seed: int) -> collections.Counter[str]:
    """Requests that schemathesis makes of the OpenAPI description: right ones, and wrong ones on purpose.

    Of an operation that has few different requests it makes no more than these, so that it is asked in several rounds.
    """
    import hypothesis
    import schemathesis
    from schemathesis.generation import GenerationMode

    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [each.ok() for each in schema.get_all_operations()]
    found = collections.Counter[str]()
    for turn in range(_MOST_ROUNDS):
        for operation, mode in itertools.product(
            operations, (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        ):
            if found.total() >= count:
                return found
            with contextlib.suppress(hypothesis.errors.Unsatisfiable, NotImplementedError):
                strategy = operation.as_strategy(generation_mode=mode)

                @hypothesis.seed(_MOST_ROUNDS * seed + turn)
                @hypothesis.settings(
                    max_examples=max(1, count // (2 * len(operations))),
                    deadline=None,
                    database=None,
                    phases=[hypothesis.Phase.generate],
                    suppress_health_check=list(hypothesis.HealthCheck),
                )
                @hypothesis.given(case=strategy)
                def send(case: Any) -> None:
                    response = case.call(base_url=url, timeout=120)
                    found[str(response.status_code)] += 1

                send()
    return found


def malformed(url: str, kind: str, count: int, seed: int) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    if kind == "frames":
        found = asyncio.run(frames(url, count, seed))
        sent = found.pop("sent")
        failures = found["1011"]
    else:
        found = {"schemas": schemas, "requests": requests, "bytes": raw_bytes}[kind](url, count, seed)
        sent = sum(found.values())
        failures = sum(number for status, number in found.items() if status.startswith("5"))
    answers = dict(sorted(found.items()))
    return {"sent": sent, "refused": sent - found["200"], "server_errors": failures, "answers": answers}


def main() -> None:
    match sys.argv[1:]:
        case ["load", url, path, body, clients, seconds]:
            result = asyncio.run(load(url, path, body, int(clients), float(seconds)))
        case ["streams", url, count, length]:
            result = asyncio.run(streams(url, int(count), int(length)))
        case ["idle", url, count, pid]:
            result = asyncio.run(idle(url, int(count), int(pid)))
        case ["malformed", url, kind, count, seed]:
            result = malformed(url, kind, int(count), int(seed))
        case _:
            sys.exit(__doc__)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
