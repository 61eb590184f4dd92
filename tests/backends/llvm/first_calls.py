"""First calls of several threads at once, in a process of their own: `python -m … THREADS FIRST`.

Prints a digest of each call's results. The calls are made in rounds of so many at once, beginning with the call
numbered FIRST; two neighbouring calls are the same, so that threads also meet in one first call.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch
from torch import Tensor

import gatework as gw
from gatework.layers.linear import Linear
from gatework.layers.softmax import Softmax
from tests.contracts.cell_contract import flat

Call = Callable[[], list[Tensor]]


def train_gru() -> Call:
    layer, x = gw.GRU(6, 17), torch.randn(5, 3, 6, requires_grad=True)

    def call() -> list[Tensor]:
        output, _ = layer(x)
        return [output, *torch.autograd.grad(output.pow(2).sum(), [x, *layer.parameters()])]

    return call


def train_ragged_both_ways() -> Call:
    layer, x = gw.LSTM(6, 9, bidirectional=True), torch.randn(7, 4, 6)

    def call() -> list[Tensor]:
        output, state = layer(x, lengths=torch.tensor([7, 0, 3, 5]))
        return [output, *state, *torch.autograd.grad(output.pow(2).sum(), list(layer.parameters()))]

    return call


def step_a_stream() -> Call:
    layer, steps = gw.LSTM(6, 17, num_layers=2), torch.randn(3, 2, 6)

    def call() -> list[Tensor]:
        stream = layer.stream(2)
        return [stream.step(x).clone() for x in steps]

    return call


def multiply() -> Call:
    layer, x = Linear(24, 13), torch.randn(9, 24, requires_grad=True)

    def call() -> list[Tensor]:
        output = layer(x)
        return [output, *torch.autograd.grad(output.pow(2).sum(), [x, *layer.parameters()])]

    return call


def lose() -> Call:
    layer, hidden = Softmax(24, 50), torch.randn(9, 24, requires_grad=True)

    def call() -> list[Tensor]:
        loss = layer.loss(hidden, torch.arange(9))
        return [loss, *torch.autograd.grad(loss, [hidden, *layer.parameters()])]

    return call


def search_a_step() -> Call:
    layer = gw.Recurrent("bahdanau_gru", 6, 17, sizes={"memory_size": 8})
    softmax, memory, x = Softmax(17, 30), torch.randn(5, 2, 8), torch.randn(1, 2, 6)

    def call() -> list[Tensor]:
        with torch.no_grad():
            output, state = layer(x, memory=layer.attend_to(memory))
            return [*output.values(), *flat(state), *softmax.best(output["output"][0], 4)]

    return call


CALLS = (train_gru, train_ragged_both_ways, step_a_stream, multiply, lose, search_a_step)


def main(threads: int, first: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)  # layers and inputs are made here: threads share one random state
    calls = [make() for make in CALLS]
    numbers = [number // 2 % len(CALLS) for number in range(first, first + 2 * len(CALLS))]
    together = Barrier(threads)

    def digest(number: int) -> str:
        together.wait()
        with gw.backend("llvm"):
            results = calls[number]()
        bits = b"".join(tensor.detach().contiguous().numpy().tobytes() for tensor in results)
        return hashlib.sha256(bits).hexdigest()

    with ThreadPoolExecutor(threads) as pool:
        for number, made in zip(numbers, pool.map(digest, numbers), strict=True):
            print(CALLS[number].__name__, made)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
