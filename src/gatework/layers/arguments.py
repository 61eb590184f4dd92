"""The arguments of one call of a recurrent layer: checked, and brought to one shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gatework.backends.admission import has_memory
from gatework.errors import nearest
from gatework.graph.node import resolve
from gatework.layers.lengths import check_lengths
from gatework.layers.memory import Lengths, Memories, read_memories
from gatework.layers.ragged import Packed, pack_like, unpack
from gatework.layers.resets import check_reset, reset_masks
from gatework.layers.state import map_state
from gatework.layers.structure import LayerStack, State, Weights

Output = Tensor | PackedSequence | dict[str, Tensor] | dict[str, PackedSequence]


def check_is_tensor(name: str, state: Any) -> None:
    """Refuses a state in hx that is no tensor.

    Raises:
        TypeError: what it is instead.
    """
    if not isinstance(state, Tensor):
        raise TypeError(
            f"The state {name} in hx is {state!r}; it must be a tensor. Leave hx out for the cell's own start."
        )


def check_states(
    stack: LayerStack, hx: Any, expected: tuple[Any, ...], batched: bool = True
) -> tuple[Any, ...]:
    """The states in hx, each with a dimension of rows.

    Args:
        expected: states of the right shapes.
        batched: hx has a dimension of rows.

    Raises:
        TypeError: a state that is no tensor.
        ValueError: another number of states or layers, or another shape; the message has the one received.
    """
    names = [state.name for state in stack.graph.states]
    several = isinstance(hx, tuple | list) and (len(names) > 1 or not stack.by_layer)
    values = hx if several else (hx,)
    if len(values) != len(names):
        raise ValueError(
            f"hx has {len(values)} states; {stack.graph.name} has {len(names)}: ({', '.join(names)})."
        )

    def check(name: str, value: Any, initial: State) -> State:
        if isinstance(initial, tuple):
            if not isinstance(value, tuple | list) or len(value) != len(initial):
                got = (
                    f"{len(value)} values" if isinstance(value, tuple | list) else f"a {type(value).__name__}"
                )
                raise ValueError(
                    f"The state {name} in hx is {got}; where layers have sizes of their own it is a tuple of "
                    f"{len(initial)} tensors, one a layer."
                )
            return tuple(map(check, [f"{name} of l{layer}" for layer in range(len(initial))], value, initial))
        check_is_tensor(name, value)
        shape = tuple(initial.shape) if batched else (initial.shape[0], initial.shape[2])
        if tuple(value.shape) != shape:
            raise ValueError(f"The state {name} in hx has shape {tuple(value.shape)}; expected {shape}.")
        checked: Tensor = value if batched else value.unsqueeze(1)
        return checked

    return tuple(map(check, names, values, expected))


class LayerArguments:
    """The arguments of one forward call, checked and brought to (T, B, ·), or packed where lengths differ."""

    def __init__(
        self,
        stack: LayerStack,
        weights: Weights,
        input: Tensor | PackedSequence,
        hx: State | None,
        lengths: Tensor | Sequence[int] | None,
        memory: Tensor | Mapping[str, Tensor] | Memories | None,
        memory_lengths: Lengths,
        inputs: Mapping[str, Tensor] | None,
        reset: Tensor | None,
    ) -> None:
        self.stack = stack
        self.packed = input if isinstance(input, PackedSequence) else None
        self.batched = True
        if self.packed is not None:
            if lengths is not None:
                raise ValueError(
                    "lengths are given beside a PackedSequence, which has its own: leave them out."
                )
            x, lengths = unpack(self.packed)
        else:
            x = self._time_major(input, "input")
        if x.shape[-1] != stack.input_size:
            raise ValueError(
                f"The input has shape {tuple(_shape(input))} and {x.shape[-1]} units; the layer's input_size is "
                f"{stack.input_size}."
            )
        self.x: Tensor = x
        check_dtypes(x, weights(0, 0).items())
        steps, rows = x.shape[:2]
        self.steps, self.rows = steps, rows
        self.memories = read_memories(stack, weights, memory, memory_lengths, rows)
        self.at_zero = hx is None and stack.starts_at_zero
        self.states = self._states(hx, rows)
        self.sequence_inputs, self.statics = self._further(inputs or {}, steps, rows)
        check_dtypes(x, self._named_states())
        check_dtypes(x, [*self.sequence_inputs.items(), *self.statics.items(), *self.memories.values.items()])
        self.ragged: Packed | None = None
        if lengths is not None:
            lengths = check_lengths(lengths, steps, rows)
        self.resets = () if reset is None else self._resets(reset, steps, rows, lengths)
        if lengths is not None:
            self._pack(lengths)

    def _time_major(self, value: Tensor | PackedSequence, label: str) -> Tensor:
        if not isinstance(value, Tensor):
            raise TypeError(
                f"The {label} is a {type(value).__name__}; it must be a tensor or a PackedSequence."
            )
        if value.dim() not in (2, 3):
            raise ValueError(
                f"The {label} has shape {tuple(value.shape)}; it must have 2 (one sequence) or 3 dimensions."
            )
        if value.dim() == 2:
            self.batched = False
            return value.unsqueeze(1)
        return value.transpose(0, 1) if self.stack.batch_first else value

    def _states(self, hx: State | None, rows: int) -> tuple[Any, ...]:
        expected = self.stack.initial_states(rows, self.x, self.memories.steps)
        return expected if hx is None else check_states(self.stack, hx, expected, self.batched)

    def _named_states(self) -> list[tuple[str, Tensor]]:
        """Every tensor of the states, with the name of its state."""
        found: list[tuple[str, Tensor]] = []
        for spec, state in zip(self.stack.graph.states, self.states, strict=True):
            found += [(spec.name, part) for part in (state if isinstance(state, tuple) else (state,))]
        return found

    def _further(
        self, inputs: Mapping[str, Tensor], steps: int, rows: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        sequence_inputs: dict[str, Tensor] = {}
        statics: dict[str, Tensor] = {}
        specs = {spec.name: spec for spec in self.stack.graph.inputs[1:] if spec.kind != "memory"}
        for name in inputs:
            if name not in specs:
                known = nearest(name, specs) if specs else "It has none."
                raise ValueError(f"{self.stack.cell.name} has no further input {name!r}. {known}")
        for name, spec in specs.items():
            if name not in inputs:
                raise ValueError(f"{self.stack.cell.name} reads {name!r}: give inputs={{{name!r}: …}}.")
            value = inputs[name]
            size = resolve(spec.size, self.stack.layer_sizes(0))
            if spec.kind == "input":
                value = self._time_major(value, name)
                expected: tuple[int, ...] = (steps, rows, size)
            else:
                value = value if self.batched else value.unsqueeze(0)
                expected = (rows, size)
            if tuple(value.shape) != expected:
                raise ValueError(
                    f"The input {name} has shape {tuple(inputs[name].shape)}; expected {expected}."
                )
            (sequence_inputs if spec.kind == "input" else statics)[name] = value
        return sequence_inputs, statics

    def _resets(self, reset: Tensor, steps: int, rows: int, lengths: Tensor | None) -> tuple[Tensor, ...]:
        """A mask for each direction, (T, B, 1)."""
        turned = self.batched and self.stack.batch_first
        shape: tuple[int, ...] = (rows, steps) if turned else (steps, rows)
        axes = "(B, T)" if turned else "(T, B)"
        if not self.batched:
            axes, shape = "(T,)", (steps,)
        check_reset(reset, shape, axes, self.x.device)
        reset = reset.t() if turned else reset.reshape(steps, rows)
        return reset_masks(reset, self.x, self.stack.directions, lengths)

    def _pack(self, lengths: Tensor) -> None:
        ragged = Packed.of(lengths, self.x.shape[0], self.x.device)
        if ragged.dense:
            return
        self.ragged = ragged
        self.x = ragged.pack(self.x)
        self.states = map_state(ragged.sorted, self.states)
        self.sequence_inputs = {name: ragged.pack(value) for name, value in self.sequence_inputs.items()}
        self.resets = tuple(ragged.pack(mask) for mask in self.resets)
        self.statics = {name: ragged.sorted(value, 0) for name, value in self.statics.items()}
        self.memories = self.memories.rows(ragged.sorted)

    @property
    def tensors(self) -> list[Tensor]:
        """Every tensor that the call reads beside the layer's parameters, its input first."""
        keys = [key for each in self.memories.keys for key in each.values()]
        memories = self.memories.values.values()
        return [
            self.x,
            *(state for _, state in self._named_states()),
            *self.sequence_inputs.values(),
            *self.resets,
            *self.statics.values(),
            *memories,
            *keys,
        ]

    @property
    def empty(self) -> bool:
        """Whether there is no step to run."""
        return self.x.numel() == 0

    def reversed(self, value: Tensor) -> Tensor:
        """Steps of each row in reverse order."""
        return value.flip(0) if self.ragged is None else self.ragged.reversed(value)

    @staticmethod
    def unchanged(value: Tensor) -> Tensor:
        """What `reversed` is for the forward direction."""
        return value

    def as_given(self, value: Tensor) -> Tensor:
        """What has steps, as (T, B, size) in the caller's rows."""
        return value if self.ragged is None else self.ragged.unpack(value)

    def finish(self, outputs: dict[str, Tensor], states: tuple[Any, ...]) -> tuple[Output, State]:
        """Outputs and states in the shape in which the caller gave theirs."""
        shaped: dict[str, Any] = {}
        for name, value in outputs.items():
            value = self.as_given(value)
            if self.packed is not None:
                shaped[name] = pack_like(value, self.packed)
            elif not self.batched:
                shaped[name] = value.squeeze(1)
            else:
                shaped[name] = value.transpose(0, 1) if self.stack.batch_first else value
        if self.ragged is not None:
            states = map_state(self.ragged.unsorted, states)
        if not self.batched:
            states = map_state(lambda state: state.squeeze(1), states)
        output = shaped if len(shaped) > 1 else shaped["output"]
        return output, states if len(states) > 1 else states[0]


def check_dtypes(x: Tensor, others: Iterable[tuple[str, Tensor]]) -> None:
    """Refuses what torch's operators would refuse by the name of an operator, or compute in another dtype.

    Args:
        x: the input.
        others: names and tensors that must have its dtype, where autocast does not give them one.

    Raises:
        ValueError: an input of whole numbers, or tensors of different dtypes.
    """
    if not x.is_floating_point():
        raise ValueError(
            f"The input is {x.dtype}; a recurrent layer reads floating-point numbers. Look token numbers up in an "
            "nn.Embedding first, or convert the input: x.float()."
        )
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):  # the device meta has none
        return
    for name, value in others:
        if value.dtype != x.dtype:
            raise ValueError(
                f"The input is {x.dtype} and {name} is {value.dtype}: give both the same dtype, for instance by "
                f"layer.to({x.dtype}) or x.to({value.dtype}), or run under torch.autocast."
            )


def check_shapes(stack: LayerStack, parameters: Sequence[Tensor]) -> None:
    """Refuses parameters that somebody has given other shapes than the layer's sizes say.

    Args:
        parameters: of all layers, in the order of `stack.module_names`.

    Raises:
        ValueError: a parameter of another shape, or without memory, named.
    """
    for name, parameter, expected in zip(stack.module_names, parameters, stack.module_shapes, strict=True):
        if parameter.shape != expected:
            raise ValueError(
                f"The parameter {name} has shape {tuple(parameter.shape)}; a layer of these sizes has {expected}."
            )
        if type(parameter) is nn.Parameter and parameter.device.type == "cpu" and not has_memory(parameter):
            raise ValueError(
                f"The parameter {name} has no memory: its storage was resized to 0, as FSDP does with weights that "
                "are not in use. Call the module that FSDP wraps."
            )


def _shape(value: Tensor | PackedSequence) -> torch.Size:
    return value.data.shape if isinstance(value, PackedSequence) else value.shape
