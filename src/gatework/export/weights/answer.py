"""What an import gives: one layer, or several by name."""

from __future__ import annotations

from collections.abc import Mapping

from gatework.export.weights.layers import Layer, ReadLayer, made_layer

Answer = Layer | dict[str, Layer]


def answered(read: Mapping[str, ReadLayer], below: Mapping[str, str], *, stack: bool) -> Answer:
    """The only layer, or all of them by name.

    Args:
        below: of a layer that reads another one's output and nothing else, the other one's name.
        stack: layers of which each reads the one before are one layer, by the name of the lowest.

    Raises:
        InputError: arrays that do not fit, or layers that are no stack.
    """
    chains: dict[str, list[str]] = {}
    for name in read:
        under = below.get(name) if stack else None
        own = next((chain for chain in chains.values() if chain[-1] == under), None)
        if own is None:
            chains[name] = [name]
        else:
            own.append(name)
    layers = {name: made_layer([read[each] for each in chain]) for name, chain in chains.items()}
    return next(iter(layers.values())) if len(layers) == 1 else layers
