"""`LayerStack`: what a stack of recurrent layers is, without its weights. A frozen value, and no module."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from gatework.errors import nearest
from gatework.graph import Graph
from gatework.graph.node import InputSpec, StateSpec, declared_fields, resolve
from gatework.graph.parameters import heads_of, parameter_shapes, stored_shapes
from gatework.graph.variants import variant

_OF_A_LAYER = re.compile(r"l(\d+)\.(.+)")  # as a tape names what is in a layer

State = Tensor | tuple[Any, ...]
"""A tensor, (L * directions, B, size), for a cell of one state, and a tuple of them for several. Where layers have
sizes of their own, a tuple of L tensors, (directions, B, size of the layer), stands for each such tensor."""
Weights = Callable[[int, int], Mapping[str, Tensor]]
"""The parameters of a layer and direction, by their names in the graph: `weight_SLOT`, `bias_SLOT` and vectors."""


@dataclass(frozen=True)
class LayerStack:
    """What a stack is made of and how it runs.

    Attributes:
        cell: the graph of the cell as its author wrote it.
        input_size: I
        named_sizes: the sizes that the cell names, but for the input's, as pairs: a number, or one for each layer.
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
    named_sizes: tuple[tuple[str, int | tuple[int, ...]], ...]
    num_layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: tuple[tuple[str, float], ...] = ()
    residual: bool = False

    def __post_init__(self) -> None:
        check_size("input_size", self.input_size)
        check_size("num_layers", self.num_layers)
        for name, size in self.named_sizes:
            if isinstance(size, tuple) and len(size) != self.num_layers:
                raise ValueError(
                    f"{name}={list(size)} has a size for each of {len(size)} layers, and num_layers={self.num_layers}."
                )
        check_size("hidden_size", dict(self.named_sizes).get("hidden_size"))
        check_rate("dropout", self.dropout)
        check_rate("recurrent_dropout", self.recurrent_dropout)
        self._check_named_sizes()
        self._check_sizes_of_upper_layers()

    def _check_named_sizes(self) -> None:
        cell = self.cell
        needed = [size for size in cell.sizes() if size != "input_size" and not cell.counts_steps(size)]
        for size in needed:
            value = dict(self.named_sizes).get(size)
            if value is None:
                how = "proj_size=…" if size == "proj_size" else f"sizes={{{size!r}: …}}"
                raise ValueError(f"The cell {cell.name} needs a value of {size}: give {how}.")
            check_size(size, value)
        for size, _ in self.named_sizes:
            if size not in needed and size != "hidden_size":
                raise ValueError(f"The cell {cell.name} has no size {size!r}. {nearest(size, needed)}")

    def _check_sizes_of_upper_layers(self) -> None:
        """Refuses arrays of a size that differs from layer to layer where a call has one for all layers."""
        specs: list[InputSpec | StateSpec] = [*self.cell.inputs[1:]]
        specs += [] if self.by_layer else self.cell.states
        every = [self.layer_sizes(layer) for layer in range(self.num_layers)]
        for spec in specs:
            if self.cell.counts_steps(spec.size):
                continue
            found = [resolve(spec.size, sizes) for sizes in every]
            if len(set(found)) > 1 and spec.size == "input_size":
                raise ValueError(
                    f"{spec.name} of {self.cell.name} has the input's size, which is {found[0]} in the first "
                    f"layer and {found[1]} above it: give it a size of its own, or num_layers=1."
                )
            if len(set(found)) > 1:
                raise ValueError(
                    f"{spec.name} of {self.cell.name} has the size {spec.size}, which differs from layer to layer "
                    f"({found}): give it a size of its own."
                )
        for layer, sizes in enumerate(every[1:], 1) if self.residual and self.by_layer else ():
            given = self._output_size(layer) * self.directions
            if given != sizes["input_size"]:
                raise ValueError(
                    f"residual=True adds what a layer reads to what it gives: l{layer} reads {sizes['input_size']} "
                    f"units and gives {given}. Give the layers equal sizes, or residual=False."
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

    @property
    def by_layer(self) -> bool:
        """Whether a size is given for each layer, so that the states are tuples of the layers' (`State`)."""
        return any(isinstance(size, tuple) for _, size in self.named_sizes)

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
        return self._output_size(self.num_layers - 1)

    def _output_size(self, layer: int) -> int:
        return resolve(self.cell.states[0].size, self.layer_sizes(layer))

    def layer_sizes(self, layer: int) -> dict[str, int]:
        """The sizes of one layer, the width of its input among them."""
        width = self.input_size if layer == 0 else self._output_size(layer - 1) * self.directions
        return {**dict(self.own_sizes(layer)), "input_size": width}

    def own_sizes(self, layer: int) -> tuple[tuple[str, int], ...]:
        """The sizes that the cell names in one layer, but for the input's, as pairs."""
        return tuple(
            (name, size[layer] if isinstance(size, tuple) else size) for name, size in self.named_sizes
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of one layer's parameters, in torch.nn's order."""
        return tuple(self.parameter_shapes(0))

    def parameter_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of one layer's parameters."""
        return parameter_shapes(self.graph, self.layer_sizes(layer))

    def stored_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """As `parameter_shapes`, as a module keeps them: of weights with heads their blocks alone."""
        return stored_shapes(self.graph, self.layer_sizes(layer))

    @cached_property
    def heads(self) -> Mapping[str, int]:
        """The heads of the weights that have any, by the weight's name in a layer."""
        return {f"weight_{slot}": heads for slot, heads in heads_of(self.graph).items()}

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
        """Units of each state in the first layer; 0 for an alignment, which is as wide as its memory has steps."""
        sizes = self.layer_sizes(0)
        return tuple(
            sizes.get(state.size, 0) if isinstance(state.size, str) else state.size
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

    def mode_graph(
        self,
        training: bool,
        emitted: tuple[str, ...] = (),
        reset: bool = False,
        taped: tuple[str, ...] | None = None,
        pushed: bool = False,
        skipped: bool = False,
        scaled: tuple[tuple[str, float], ...] = (),
    ) -> Graph:
        """The graph of a mode: with masks while training, with zoneout's expected value otherwise.

        Args:
            emitted: gates and states that are outputs too.
            reset: states may begin anew inside a sequence.
            taped: gates and states that a tape keeps; None: no tape records.
            pushed: the tape keeps gradients too.
            skipped: steps may be left out.
            scaled: gates and what they are multiplied by.
        """
        return variant(
            self.cell,
            bias=self.bias,
            recurrent_dropout=training and self.recurrent_dropout > 0,
            zoneout=self.zoneout,
            training=training,
            emitted=emitted,
            reset=reset,
            taped=taped,
            pushed=pushed,
            skipped=skipped,
            scaled=scaled,
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

    def initial_states(self, rows: int, like: Tensor, memory_steps: Mapping[str, int]) -> tuple[Any, ...]:
        """The cell's own start of each state: (L * directions, rows, size), or of each layer (directions, rows, size).

        Args:
            like: a tensor of their device and dtype.
            memory_steps: S of each memory by name.
        """
        steps = {f"{name}_steps": count for name, count in memory_steps.items()}

        def start(state: StateSpec, layer: int, count: int) -> Tensor:
            sizes = {**self.layer_sizes(layer), **steps}
            if state.size not in sizes and isinstance(state.size, str):
                raise ValueError(
                    f"The state {state.name} is an alignment: give memory_steps, the steps of its memory."
                )
            return like.new_full((count, rows, resolve(state.size, sizes)), state.init)

        states, ways = self.graph.states, self.directions
        if self.by_layer:
            return tuple(
                tuple(start(state, layer, ways) for layer in range(self.num_layers)) for state in states
            )
        return tuple(start(state, 0, self.num_layers * ways) for state in states)

    def state_of(self, state: State, layer: int, direction: int) -> Tensor:
        """(B, size) of one layer and direction, from a state of the stack."""
        part: Tensor = (
            state[layer][direction] if self.by_layer else state[layer * self.directions + direction]
        )
        return part

    def joined_states(self, states: Sequence[tuple[Tensor, ...]]) -> tuple[Any, ...]:
        """The states of the stack from those of each layer and direction, (B, size) each, in the order of `pairs`."""
        if len(states) == 1 and not self.by_layer:
            return tuple(state.unsqueeze(0) for state in states[0])
        by_state, ways = zip(*states, strict=True), self.directions
        if not self.by_layer:
            return tuple(torch.stack(parts) for parts in by_state)
        return tuple(
            tuple(torch.stack(parts[first : first + ways]) for first in range(0, len(parts), ways))
            for parts in by_state
        )


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
        return {**stack.layer_sizes(0), **dict(stack.named_sizes)}[self._name]

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
    for name in ("starts_at_zero", "simple", "heads"):
        getattr(stack, name)
    return stack


def suffix(layer: int, direction: int) -> str:
    """What the names of one layer's and direction's parameters end in."""
    return f"_l{layer}" + ("_reverse" if direction else "")


def check_size(label: str, size: Any) -> None:
    """Refuses what is no whole number, 1 or more, and no tuple of such numbers."""
    for each in size if isinstance(size, tuple) else (size,):
        if isinstance(each, bool) or not isinstance(each, int) or each < 1:
            of = f" in {list(size)}" if isinstance(size, tuple) else ""
            raise ValueError(f"{label}={each!r}{of}: it must be a whole number, 1 or more.")


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
