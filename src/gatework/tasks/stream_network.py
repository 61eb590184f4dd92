"""What a task on a stream of tokens asks of its network, and several such networks as one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Protocol, cast

from torch import Tensor, nn

from gatework.seq2seq import Ensemble, RankingDecoder, mean_losses

__all__ = ["StreamEnsemble", "StreamNetwork"]


class StreamNetwork(RankingDecoder, Protocol):
    """A network that reads tokens, (T, B), and predicts the next ones. A state of None is the first one."""

    training: bool

    def losses(self, inputs: Tensor, targets: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The loss in nats of each target, (T, B), and the state after the last step."""

    def read(self, inputs: Tensor, state: Any = None) -> Any:
        """The state after inputs (T, B)."""

    def first_state(self, rows: int) -> Any:
        """The state before the first token of so many rows."""

    # Those of every `nn.Module`
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def train(self, mode: bool = True) -> Any: ...


class StreamEnsemble(nn.Module):
    """Networks of one vocabulary, in eval mode, as one: the mean of their probabilities.

    It is a `StreamNetwork`; its state is the tuple of their states.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(networks)
        self._networks = cast("Sequence[StreamNetwork]", networks)
        self._decoders = Ensemble(self._networks)

    def losses(self, inputs: Tensor, targets: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        pairs = zip(self._networks, self._states(state), strict=True)
        results = [network.losses(inputs, targets, one) for network, one in pairs]
        return mean_losses([losses for losses, _ in results]), tuple(new for _, new in results)

    def read(self, inputs: Tensor, state: Any = None) -> Any:
        pairs = zip(self._networks, self._states(state), strict=True)
        return tuple(network.read(inputs, one) for network, one in pairs)

    def first_state(self, rows: int) -> Any:
        return tuple(network.first_state(rows) for network in self._networks)

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self._decoders.step(tokens, self._states(state))

    def best(
        self, tokens: Tensor, state: Any, count: int, forbidden: Collection[int]
    ) -> tuple[Tensor, Tensor, Any]:
        return self._decoders.best(tokens, self._states(state), count, forbidden)

    def reorder(self, state: Any, index: Tensor) -> Any:
        return self._decoders.reorder(self._states(state), index)

    def _states(self, state: Any) -> Any:
        """One a network."""
        return (None,) * len(self._networks) if state is None else state
