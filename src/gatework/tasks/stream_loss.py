"""The loss of a whole stream of tokens."""

from __future__ import annotations

import numpy as np
import torch

from gatework.data import TokenStream
from gatework.tasks.stream_network import StreamNetwork

__all__ = ["stream_loss"]

# A parallel stream starts without context, which costs some nats once: long streams make that vanish.
MOST_STREAMS = 64
MIN_STREAM_TOKENS = 1000
BATCH_TOKENS = 4096


def stream_loss(network: StreamNetwork, stream: TokenStream, *, start: int) -> float:
    """The loss in nats, summed over every token of a stream, each predicted from all before it in its part.

    The tokens are read as a few long parallel streams with carried state; the rest of the division is read after the
    last one, with its state.

    Args:
        start: the token that stands before the first one.
    """
    device = next(network.parameters()).device
    rows = max(1, min(MOST_STREAMS, len(stream) // MIN_STREAM_TOKENS))
    size = len(stream) // rows
    steps = BATCH_TOKENS // rows
    total = torch.zeros((), dtype=torch.float64, device=device)
    state = None

    def add(begins: list[int], steps: int) -> None:
        nonlocal total, state
        windows = [_window(stream, begin, begin + steps, start) for begin in begins]
        tokens = torch.from_numpy(np.stack(windows, axis=1)).to(device)  # (steps + 1, rows)
        losses, state = network.losses(tokens[:-1], tokens[1:], state)
        total += losses.sum(dtype=torch.float64)

    was_training = network.training
    network.train(False)
    try:
        with torch.inference_mode():
            for offset in range(0, size, steps):
                add([row * size + offset for row in range(rows)], min(steps, size - offset))
            rest = len(stream) - rows * size
            if rest:
                state = network.reorder(state, torch.tensor([rows - 1], device=device))
                add([rows * size], rest)
    finally:
        network.train(was_training)
    return total.item()


def _window(stream: TokenStream, begin: int, end: int, start: int) -> np.ndarray:
    """The tokens begin … end - 1 after the one before them."""
    tokens = np.asarray(stream[max(begin - 1, 0) : end], dtype=np.int64)
    return tokens if begin > 0 else np.concatenate([[start], tokens])
