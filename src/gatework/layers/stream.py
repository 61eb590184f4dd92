"""A layer a step at a time, on a snapshot of its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gatework.backends import SequenceInput, StackSnapshot, Stepper, torch_fused
from gatework.backends.admission import readable
from gatework.backends.storage import STORAGES, Storage, stored
from gatework.graph.node import resolve
from gatework.layers.arguments import check_shapes, check_states
from gatework.layers.call_plan import plan_call, request_of
from gatework.layers.memory import Memories, read_memories
from gatework.layers.resets import check_reset
from gatework.layers.state import map_state, reset_state
from gatework.layers.structure import LayerStack, State, Weights


class Stream:
    """Made by `layer.stream()`: evaluates the layer a step at a time, as in eval mode, without autograd.

    Later changes of the layer's weights do not reach it.
    """

    def __init__(
        self,
        stack: LayerStack,
        weights: Weights,
        batch_size: int = 1,
        memory: Tensor | Memories | None = None,
        memory_lengths: Tensor | None = None,
        storage: Storage = "full",
    ) -> None:
        if stack.bidirectional:
            raise ValueError(
                "A bidirectional layer has no stream: its second direction starts at the end of the sequence, which "
                "a stream has not seen. Use bidirectional=False, or the sequence call."
            )
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: it must be 1 or more.")
        if storage not in STORAGES:
            raise ValueError(f"weights={storage!r}: it must be one of {', '.join(map(repr, STORAGES))}.")
        if storage != "full" and stack.graph.inputs_of_kind("memory"):
            raise ValueError(
                f"weights={storage!r} is for cells that attend to nothing; {stack.graph.name} attends."
            )
        self.batch_size = batch_size
        self._parameters = [
            {name: value.detach().clone() for name, value in weights(layer, 0).items()}
            for layer in range(stack.num_layers)
        ]
        tensors = [value for layer in self._parameters for value in layer.values()]
        check_shapes(stack, tensors)
        self._storage = storage
        if storage != "full":
            self._parameters = [_stored(layer, storage) for layer in self._parameters]
            tensors = [value for layer in self._parameters for value in layer.values()]
        plan = plan_call(stack, request_of(tensors, rows=batch_size, one_step=False), training=False)
        self._graph, self._backend = plan.graph, plan.choice.backend
        self._stack, self._residual = stack, stack.residual
        self._x_shape = batch_size, stack.input_size
        self._extra = {
            spec.name: resolve(spec.size, stack.layer_sizes(0))
            for spec in self._graph.inputs[1:]
            if spec.kind != "memory"
        }
        if memory is not None and not self._graph.inputs_of_kind("memory"):
            raise ValueError(f"{stack.cell.name} attends to no memory: leave memory out.")
        with torch.no_grad():
            self._memories = read_memories(stack, weights, memory, memory_lengths, batch_size)
        like = tensors[0]
        self._native, self._dtype = self._backend.plain_tensors, like.dtype
        self._start = stack.initial_states(batch_size, like, self._memories.steps)
        self._states = self._start
        self._buffer = like.new_empty((batch_size, stack.output_size))
        self._stepper = None
        if not (stack.residual and stack.num_layers > 1):
            self._stepper = self._prepare_stepper()
        if self._stepper is not None:  # it has brought the weights into its own order
            self._parameters = []
        for layer in self._parameters:
            torch_fused.join_weights(self._graph, [layer], directions=1)
        # What a step reads, looked up once: a step takes microseconds.
        self._step_alone = self._stepper.step if self._stepper and not self._extra else None
        self._results = self._result(self._stepper.results if self._stepper else {"output": self._buffer})

    def _prepare_stepper(self) -> Stepper | None:
        """Of the whole stack, or of each layer where they have sizes of their own; None where the backend has none."""
        stack, every = self._stack, range(self._stack.num_layers)
        sizes = [stack.layer_sizes(layer) for layer in every]
        memories = [self._memories.of(layer) for layer in every]
        if not stack.by_layer:
            return self._backend.prepare_stepper(
                StackSnapshot(self._graph, self._parameters, sizes, self._start, memories, self._storage)
            )
        steppers = []
        for layer in every:
            start, part = tuple(state[layer] for state in self._start), slice(layer, layer + 1)
            steppers.append(
                self._backend.prepare_stepper(
                    StackSnapshot(
                        self._graph, self._parameters[part], sizes[part], start, memories[part], self._storage
                    )
                )
            )
        made = [stepper for stepper in steppers if stepper is not None]
        return _LayerByLayer(made) if len(made) == len(steppers) else None

    @property
    def state(self) -> State:
        """The states after the last step, (L, B, size) each: a copy, in the shape of the layer's `hx`."""
        return _as_state(self._stepper.states() if self._stepper else map_state(Tensor.clone, self._states))

    @state.setter
    def state(self, state: State) -> None:
        states = check_states(self._stack, state, self._start)
        if self._stepper:
            self._stepper.set_states(states)  # which copies them
        else:
            self._states = map_state(lambda value: value.detach().clone(), states)

    def reset(self) -> None:
        """Back to the cell's start."""
        if self._stepper:
            self._stepper.set_states(self._start)
        self._states = self._start

    def step(
        self, x: Tensor, inputs: Mapping[str, Tensor] | None = None, reset: Tensor | None = None
    ) -> Tensor | dict[str, Tensor]:
        """One step.

        Args:
            x: (B, I)
            inputs: further inputs, (B, size), by name.
            reset: (B,) booleans: true where a row is back at the cell's start before the step.

        Returns:
            (B, H); a dict with the key `output` for a cell that emits. The tensors are the stream's own, the same at
            every step, and the next step overwrites them: `stream.step(x).clone()` is a copy to keep.

        Raises:
            ValueError: a shape that does not fit.
            TypeError: another dtype than the weights', or a tensor that the engine cannot read.
        """
        if x.shape != self._x_shape:
            raise ValueError(f"x has shape {tuple(x.shape)}; expected {self._x_shape}.")
        if reset is not None:
            check_reset(reset, (self.batch_size,), "(B,)", self._buffer.device)
            if reset.any():
                self.state = reset_state(self.state, _as_state(self._start), reset)
        if self._native:
            x = readable("x", x, self._dtype)
        if self._step_alone is not None and not inputs:
            self._step_alone(x)
            return self._results
        further = dict(inputs or {})
        if {name: tuple(v.shape) for name, v in further.items()} != {
            name: (self.batch_size, size) for name, size in self._extra.items()
        }:
            expected = {name: (self.batch_size, size) for name, size in self._extra.items()}
            raise ValueError(
                f"inputs have shapes { ({n: tuple(v.shape) for n, v in further.items()}) }; expected {expected}."
            )
        if self._native:
            further = {name: readable(name, further[name], self._dtype) for name in self._extra}
        if self._stepper:
            self._stepper.step(x, *further.values())
            return self._results
        return self._step(x, further)

    @staticmethod
    def _result(results: dict[str, Tensor]) -> Tensor | dict[str, Tensor]:
        return results if len(results) > 1 else results["output"]

    @torch.inference_mode()
    def _step(self, x: Tensor, further: dict[str, Tensor]) -> Tensor | dict[str, Tensor]:
        """A step by the backend's sequence call."""
        kinds = {spec.name: spec.kind for spec in self._graph.inputs}
        sequence_inputs = {
            name: value.unsqueeze(0) for name, value in further.items() if kinds[name] == "input"
        }
        statics = {name: value for name, value in further.items() if kinds[name] == "static"}
        value = x.unsqueeze(0)
        states = []
        emits: dict[str, Tensor] = {}
        for number, parameters in enumerate(self._parameters):
            sequence = SequenceInput(
                {self._graph.inputs[0].name: value, **sequence_inputs},
                statics,
                tuple(self._stack.state_of(state, number, 0) for state in self._states),
                self._memories.of(number),
            )
            result = self._backend.run(self._graph, parameters, sequence)
            states.append(result.states)
            value = result.output + value if self._residual and number else result.output
            emits = result.emits
        self._states = self._stack.joined_states(states)
        self._buffer.copy_(value[0])
        return self._result({"output": self._buffer, **{name: value[0] for name, value in emits.items()}})


class _LayerByLayer:
    """Steppers of one layer each, for layers of sizes of their own; see `gatework.backends.program.Stepper`."""

    def __init__(self, steppers: Sequence[Stepper]) -> None:
        self._steppers = steppers
        self.results = steppers[-1].results

    def step(self, x: Tensor, *further: Tensor) -> None:
        for stepper in self._steppers:
            stepper.step(x, *further)
            x = stepper.results["output"]

    def states(self) -> tuple[Any, ...]:
        """Of each state a copy, a tuple of the layers' (1, B, size)."""
        return tuple(zip(*(stepper.states() for stepper in self._steppers), strict=True))

    def set_states(self, states: tuple[Any, ...]) -> None:
        """Goes on from other states, a tuple of the layers' (1, B, size) each."""
        for layer, stepper in enumerate(self._steppers):
            stepper.set_states(tuple(state[layer] for state in states))


def _as_state(states: tuple[Any, ...]) -> State:
    return states if len(states) > 1 else states[0]


def _stored(parameters: Mapping[str, Tensor], storage: Storage) -> dict[str, Tensor]:
    """A layer's parameters with its weight matrices as they are read back from a storage.

    Raises:
        ValueError: a weight is infinite or NaN, which has no place among whole multiples of a scale.
    """
    made = {}
    for name, value in parameters.items():
        if name.startswith("weight_"):
            if not value.isfinite().all():
                raise ValueError(f"weights={storage!r}: {name} has entries that are infinite or NaN.")
            value = stored(value, storage)
        made[name] = value
    return made
