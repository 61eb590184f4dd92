"""`LayerStack`: what a stack of recurrent layers is, without its weights. A frozen value, and no module."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Any

from torch import Tensor, nn

from gatework.errors import nearest
from gatework.graph import Graph
from gatework.graph.node import InputSpec, StateSpec, declared_fields, resolve
from gatework.graph.parameters import parameter_shapes
from gatework.graph.variants import variant

_OF_A_LAYER = re.compile(r"l(\d+)\.(.+)")  # as a tape names what is in a layer

State = Tensor | tuple[Tensor, ...]
Weights = Callable[[int, int], Mapping[str, Tensor]]
"""The parameters of a layer and direction, by their names in the graph: `weight_SLOT`, `bias_SLOT` and vectors."""


@dataclass(frozen=True)
class LayerStack:
    """What a stack is made of and how it runs.

    Attributes:
        cell: the graph of the cell as its author wrote it.
        input_size: I
        named_sizes: the sizes that the cell names, but for the input's, as pairs.
        num_layers: L
        bidirectional: every layer has a second direction, which reads each sequence from its own end.
        bias: the cell's linear maps have biases.
        batch_first: input and output are (B, T, ·) instead of (T, B, ·).
        dropout: rate on the output of every layer but the last, in training.
        recurrent_dropout: rate on what the recurrent products read, one mask a sequence, in training.
        zoneout: states and the rates at which their units keep the previous value.
        residual: every layer but the first adds its input to its output.

    Raises:
        ValueError: a size or rate out of range, or a size that the cell needs and nobody gave.
    """

    cell: Graph
    input_size: int
    named_sizes: tuple[tuple[str, int], ...]
    num_layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: tuple[tuple[str, float], ...] = ()
    residual: bool = False

    def __post_init__(self) -> None:
        hidden_size = self.sizes.get("hidden_size")
        for label, size in (
            ("input_size", self.input_size),
            ("hidden_size", hidden_size),
            ("num_layers", self.num_layers),
        ):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ValueError(f"{label}={size!r}: it must be a whole number, 1 or more.")
        check_rate("dropout", self.dropout)
        check_rate("recurrent_dropout", self.recurrent_dropout)
        self._check_named_sizes()
        self._check_inputs_of_upper_layers()

    def _check_named_sizes(self) -> None:
        cell = self.cell
        needed = [size for size in cell.sizes() if size != "input_size" and not cell.counts_steps(size)]
        for size in needed:
            value = self.sizes.get(size)
            if value is None:
                how = "proj_size=…" if size == "proj_size" else f"sizes={{{size!r}: …}}"
                raise ValueError(f"The cell {cell.name} needs a value of {size}: give {how}.")
            if value < 1:
                raise ValueError(f"{size}={value}: it must be 1 or more.")
        for size in self.sizes:
            if size not in needed and size != "hidden_size":
                raise ValueError(f"The cell {cell.name} has no size {size!r}. {nearest(size, needed)}")

    def _check_inputs_of_upper_layers(self) -> None:
        """Refuses arrays as wide as the input where the layers' inputs differ in width: a call has one of each."""
        upper = self.layer_sizes(1)["input_size"] if self.num_layers > 1 else self.input_size
        if upper == self.input_size:
            return
        specs: list[InputSpec | StateSpec] = [*self.cell.inputs[1:], *self.cell.states]
        for spec in specs:
            if spec.size == "input_size":
                raise ValueError(
                    f"{spec.name} of {self.cell.name} has the input's size, which is {self.input_size} in the first "
                    f"layer and {upper} above it: give it a size of its own, or num_layers=1."
                )

    @cached_property
    def _hash(self) -> int:
        return hash(
            (
                self.cell,
                self.input_size,
                self.named_sizes,
                self.num_layers,
                self.bidirectional,
                self.bias,
                self.batch_first,
                self.dropout,
                self.recurrent_dropout,
                self.zoneout,
                self.residual,
            )
        )

    def __hash__(self) -> int:
        return self._hash  # plans are looked up by stack at every call

    def __getstate__(self) -> dict[str, object]:
        return declared_fields(self)

    def __deepcopy__(self, memo: object) -> LayerStack:
        return self  # it never changes, and what is looked up by it is found quickest by the same object

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The sizes that the cell names, but for the input's."""
        return dict(self.named_sizes)

    @cached_property
    def graph(self) -> Graph:
        """The cell with biases or without, as its weights are laid out."""
        return variant(self.cell, bias=self.bias)

    @property
    def directions(self) -> int:
        """1 or 2"""
        return 2 if self.bidirectional else 1

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every layer with each of its directions, in the order of the states' first dimension."""
        return [(layer, way) for layer in range(self.num_layers) for way in range(self.directions)]

    @cached_property
    def output_size(self) -> int:
        """Units of one direction's output."""
        return resolve(self.graph.states[0].size, {**self.sizes, "input_size": self.input_size})

    def layer_sizes(self, layer: int) -> dict[str, int]:
        """The sizes of one layer, the width of its input among them."""
        width = self.input_size if layer == 0 else self.output_size * self.directions
        return {**self.sizes, "input_size": width}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of one layer's parameters, in torch.nn's order."""
        return tuple(self.parameter_shapes(0))

    def parameter_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of one layer's parameters."""
        return parameter_shapes(self.graph, self.layer_sizes(layer))

    @cached_property
    def module_names(self) -> tuple[str, ...]:
        """Names of all parameters in the module, layer by layer and direction by direction."""
        return tuple(name + suffix(*pair) for pair in self.pairs for name in self.names)

    @cached_property
    def module_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of all parameters in the module, in the order of `module_names`."""
        return tuple(shape for layer, _ in self.pairs for shape in self.parameter_shapes(layer).values())

    @cached_property
    def layers(self) -> tuple[tuple[tuple[tuple[str, int], ...], int], ...]:
        """Of each layer its sizes and how many weights its products have."""
        layers = []
        for layer in range(self.num_layers):
            shapes = self.parameter_shapes(layer)
            weights = sum(prod(shape) for name, shape in shapes.items() if name.startswith("weight_"))
            layers.append((tuple(self.layer_sizes(layer).items()), weights))
        return tuple(layers)

    @cached_property
    def state_widths(self) -> tuple[int, ...]:
        """Units of each state; 0 for an alignment, which is as wide as its memory has steps."""
        return tuple(
            self.layer_sizes(0).get(state.size, 0) if isinstance(state.size, str) else state.size
            for state in self.graph.states
        )

    @cached_property
    def starts_at_zero(self) -> bool:
        """Whether every state begins with zeros."""
        return not any(state.init for state in self.graph.states)

    @cached_property
    def simple(self) -> bool:
        """Whether nothing stands between the layers and the cell reads its input alone: what runs as one chain."""
        between = self.residual and self.num_layers > 1
        return not (self.bidirectional or between or len(self.graph.inputs) > 1 or self.graph.emits())

    @cached_property
    def random_in_training(self) -> bool:
        """Whether a call in training draws masks."""
        return bool(self.dropout or self.recurrent_dropout or self.zoneout)

    def mode_graph(self, training: bool, emitted: tuple[str, ...] = (), reset: bool = False) -> Graph:
        """The graph of a mode: with masks while training, with zoneout's expected value otherwise.

        Args:
            emitted: gates and states that are outputs too.
            reset: states may begin anew inside a sequence.
        """
        return variant(
            self.cell,
            bias=self.bias,
            recurrent_dropout=training and self.recurrent_dropout > 0,
            zoneout=self.zoneout,
            training=training,
            emitted=emitted,
            reset=reset,
        )

    def emitted_values(self, names: Sequence[str]) -> tuple[tuple[str, int, str], ...]:
        """Of each name in a call's `emit` itself, the layer, and the gate or state: of the top layer, or `l0.c`.

        Raises:
            ValueError: there is no such layer.
        """
        values = []
        for name in dict.fromkeys(names):
            match = _OF_A_LAYER.fullmatch(name)
            layer = int(match[1]) if match else self.num_layers - 1
            if layer >= self.num_layers:
                raise ValueError(f"emit names {name!r}; the layers are l0 to l{self.num_layers - 1}.")
            values.append((name, layer, match[2] if match else name))
        return tuple(values)

    def initial_states(self, rows: int, like: Tensor, memory_steps: Mapping[str, int]) -> tuple[Tensor, ...]:
        """The cell's own start, (L * directions, rows, size) of each state.

        Args:
            like: a tensor of their device and dtype.
            memory_steps: S of each memory by name.
        """
        count = self.num_layers * self.directions
        sizes = {**self.layer_sizes(0), **{f"{name}_steps": steps for name, steps in memory_steps.items()}}
        states = []
        for state in self.graph.states:
            if state.size not in sizes and isinstance(state.size, str):
                raise ValueError(
                    f"The state {state.name} is an alignment: give memory_steps, the steps of its memory."
                )
            states.append(like.new_full((count, rows, resolve(state.size, sizes)), state.init))
        return tuple(states)


class FixedSize:
    """A size of a module's `LayerStack`, which cannot be set: the module's weights are made for it.

    Args:
        stack: the module's attribute that holds the stack.
    """

    def __init__(self, stack: str) -> None:
        self._stack = stack

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, module: nn.Module | None, owner: type) -> Any:
        if module is None:
            return self
        stack: LayerStack = getattr(module, self._stack)
        return stack.layer_sizes(0)[self._name]

    def __set__(self, module: nn.Module, value: int) -> None:
        now = self.__get__(module, type(module))
        raise AttributeError(
            f"{self._name}={value!r}: the weights of this {type(module).__name__} are made for {self._name}={now}. "
            "Make another one."
        )


@lru_cache(maxsize=1024)
def shared(stack: LayerStack) -> LayerStack:
    """The first stack that is equal to this one: equal layers look their plans up by the same object.

    What a traced call reads of it is computed here: torch.compile cannot enter the lock of a cached property.
    """
    for name in ("graph", "names", "module_names", "module_shapes", "output_size", "state_widths"):
        getattr(stack, name)
    for name in ("starts_at_zero", "simple"):
        getattr(stack, name)
    return stack


def suffix(layer: int, direction: int) -> str:
    """What the names of one layer's and direction's parameters end in."""
    return f"_l{layer}" + ("_reverse" if direction else "")


def check_rate(label: str, rate: float) -> None:
    """Refuses a rate that is no probability."""
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise ValueError(f"{label}={rate!r}: it must be a number between 0 and 1.")


def zoneout_rates(graph: Graph, zoneout: float | Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """States and their rates of zoneout, without those of 0.

    Raises:
        ValueError: a state that the cell does not have, or a rate that is no probability.
    """
    names = [state.name for state in graph.states if not graph.counts_steps(state.size)]
    rates = dict(zoneout) if isinstance(zoneout, Mapping) else dict.fromkeys(names, zoneout)
    for name, rate in rates.items():
        if name not in names:
            raise ValueError(
                f"zoneout names a state {name!r} that {graph.name} does not have. {nearest(name, names)}"
            )
        check_rate(f"zoneout of {name}", rate)
    return tuple((name, float(rate)) for name, rate in rates.items() if rate)
