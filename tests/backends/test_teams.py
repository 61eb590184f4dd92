"""Small work is done by the thread that calls: on a machine with other busy processes a team waits for its last one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import gatework as gw
from gatework.backends import teams, threads, torch_fused
from gatework.layers.softmax import Softmax
from gatework.seq2seq import beam_search, generate
from gatework.seq2seq.network import EncoderDecoder

pytestmark = pytest.mark.skipif(
    threads.openmp() is None, reason="torch's OpenMP library was not found: one thread only"
)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What does work, and the threads that share it, in the order of the calls."""
    found = []

    def watched(name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        found.append((name, args[3] if name == "engine" else torch.get_num_threads()))
        return function(*args, **kwargs)

    monkeypatch.setattr(threads, "run_team", partial(watched, "engine", threads.run_team))
    # Operators of torch that take a team for a hundred elements.
    for owner, name in ((torch, "tanh"), (torch, "softmax"), (F, "log_softmax"), (torch.Tensor, "logsumexp")):
        function = getattr(owner, name)
        if owner is torch.Tensor:
            monkeypatch.setattr(owner, name, lambda own, *args: watched("logsumexp", own._logsumexp, *args))
            monkeypatch.setattr(owner, "_logsumexp", function, raising=False)
        else:
            monkeypatch.setattr(owner, name, partial(watched, name, function))
    return found


def _training(layer: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
    output, _ = layer(*args, **kwargs)
    output.sum().backward()


def _network(decoder: str) -> EncoderDecoder:
    torch.manual_seed(0)
    encoder, own = gw.cells.get("gru"), gw.cells.get(decoder)
    return EncoderDecoder(
        encoder, own, source_vocabulary=13, target_vocabulary=13, embedding_size=32, hidden_size=32
    ).eval()


def _search(decoder: str, *, temperature: float = 0.0) -> None:
    network = _network(decoder)
    with torch.inference_mode():
        state = network.start(torch.randint(3, 13, (7, 1)), torch.tensor([7]))
        if temperature:
            list(generate(network, torch.tensor([1]), state, length=4, temperature=temperature))
        else:
            beam_search(network, torch.tensor([1]), state, length=4, beam=5)


def _loss() -> None:
    hidden = torch.randn(20, 32, requires_grad=True)
    Softmax(32, 13).loss(hidden, torch.randint(0, 13, (20,))).backward()


def _stream() -> None:
    stream = gw.LSTM(32, 32).stream(2)
    for _ in range(3):
        stream.step(torch.randn(2, 32))


SMALL: dict[str, Callable[[], Any]] = {
    "a layer": lambda: gw.LSTM(16, 16, 2)(torch.randn(10, 4, 16)),
    "a layer's training": lambda: _training(gw.Recurrent("layer_norm_lstm", 16, 16), torch.randn(10, 4, 16)),
    "a ragged batch": lambda: _training(gw.GRU(16, 16), torch.randn(9, 3, 16), lengths=[9, 4, 2]),
    "both directions": lambda: _training(gw.GRU(16, 16, bidirectional=True), torch.randn(9, 3, 16)),
    "a linear map": lambda: gw.Linear(32, 32)(torch.randn(10, 32)).sum().backward(),
    "the likeliest tokens": lambda: Softmax(32, 13).best(torch.randn(5, 32), 5),
    "a softmax's loss": _loss,
    "a stream": _stream,
    "a beam search": lambda: _search("bahdanau_gru"),
    "a beam search without a memory": lambda: _search("cho_gru"),
    "a sample": lambda: _search("luong_lstm", temperature=1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_small_work_takes_no_team(name: str, sizes: list[tuple[str, int]]) -> None:
    SMALL[name]()
    assert {size for _, size in sizes} <= {1}, sizes


@pytest.mark.parametrize("backend", ["eager", "torch"])
def test_the_other_backends_take_no_team(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def watched(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        found.append(torch.get_num_threads())
        return function(*args, **kwargs)

    monkeypatch.setattr(F, "linear", partial(watched, F.linear))
    monkeypatch.setitem(torch_fused._OPERATORS, "gru", partial(watched, torch._VF.gru))
    monkeypatch.setitem(torch_fused._STEPS, "gru", partial(watched, torch._VF.gru_cell))
    with gw.backend(backend):
        for steps in (1, 2):
            gw.GRU(8, 8)(torch.randn(steps, 2, 8))
            assert set(found) == {1}
            found.clear()
            gw.GRU(512, 512)(torch.randn(steps, 64, 512))
            assert set(found) == {2}
            found.clear()


def test_large_work_takes_a_team(sizes: list[tuple[str, int]]) -> None:
    """What the tests above count, can be more than one."""
    gw.Linear(256, 256)(torch.randn(100, 256))
    Softmax(64, 8000).best(torch.randn(20, 64), 5)
    gw.GRU(128, 128)(torch.randn(20, 32, 128))
    assert [size for name, size in sizes if name == "engine"] == [2] * 4


def test_the_threads_of_others_are_left_alone() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2
        with teams.by_size("elementwise", 10):
            assert torch.get_num_threads() == 1
            assert pool.submit(torch.get_num_threads).result() == 2
        assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError), teams.by_size("elementwise", 10):
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == 2
    with teams.by_size("elementwise", 100_000):
        assert torch.get_num_threads() == 2
