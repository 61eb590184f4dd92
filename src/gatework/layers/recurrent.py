"""`Recurrent`: any cell over time, in stacks and in both directions.

The cell knows one step; this module owns time, lengths, directions, masks and states. The shapes and the
names of parameters are torch.nn's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gatework.backends import Choice, selection
from gatework.backends.storage import Storage
from gatework.cells import get
from gatework.graph import Cell
from gatework.layers.arguments import LayerArguments, Output, check_shapes
from gatework.layers.call_plan import (
    CallPlan,
    lone_step,
    plan_call,
    plan_compiled_call,
    request_of,
    stack_call,
)
from gatework.layers.fast_path import fast_path
from gatework.layers.layer_by_layer import run_layers
from gatework.layers.memory import Lengths, Memories, read_memories
from gatework.layers.parameters import (
    Initialisation,
    initialise,
    join_on_gpu,
    load_by_gate,
    store_layout,
    whole_weight,
)
from gatework.layers.stream import Stream
from gatework.layers.structure import FixedSize, LayerStack, State, shared, suffix, zoneout_rates
from gatework.layers.tape import RecordedLayer, recording, scales_of, skips_of, taped_names, tapes_of


class _OfStack:
    """An attribute of a layer that its `LayerStack` holds; setting it gives the layer another stack."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, layer: Recurrent | None, owner: type) -> Any:
        return self if layer is None else getattr(layer.stack, self._name)

    def __set__(self, layer: Recurrent, value: Any) -> None:
        layer.stack = shared(replace(layer.stack, **{self._name: value}))


class Recurrent(nn.Module):
    """A cell over time.

    Several threads may call a layer at once, as a service does: a call keeps nothing in it. Each thread has its own
    choice of a backend (`gatework.backend`), and threads that an executor starts begin with `auto`. A stream belongs
    to one thread at a time.

    Args:
        cell: a `gatework.Cell`, or the name of one of the catalogue.
        input_size: I, units of the input.
        hidden_size: H, units of the states that the cell does not annotate otherwise: a number, or a list of one for
            each layer. With a list each state of `hx`, and each final state, is a tuple of L tensors,
            (directions, B, H of the layer), since they have no common shape.
        num_layers: L, layers of the stack; each one reads the output of the one below. It follows from a list of sizes.
        bias: biases in the cell's linear maps.
        batch_first: input and output are (B, T, ·) instead of (T, B, ·). States are not affected.
        dropout: rate of dropout on the output of every layer but the last.
        bidirectional: a second network per layer reads each sequence from its own end; outputs are joined.
        proj_size: size of the states that the cell annotates with "proj_size", or a list of L.
        recurrent_dropout: rate of variational dropout: one mask a sequence on what enters the recurrent products
            (Gal & Ghahramani 2016).
        zoneout: rate at which units keep their previous state (Krueger et al. 2016): one for all states, or
            by state, `{"h": 0.05, "c": 0.5}`.
        residual: every layer but the first adds its input to its output (Wu et al. 2016, section 3.1); both must be of
            one size.
        init: `torch` draws as torch.nn does, in the same order; `keras` as Keras: Glorot, orthogonal, forget bias 1.
        forget_bias: start of the forget gate's bias; by default that of `init`.
        sizes: values of further sizes that the cell names, such as `memory_size`.

    Raises:
        ValueError: a size or rate out of range, or a size that the cell needs and nobody gave.
    """

    input_size = _OfStack()
    hidden_size = FixedSize("stack")
    num_layers = _OfStack()
    bias = _OfStack()
    batch_first = _OfStack()
    dropout = _OfStack()
    bidirectional = _OfStack()
    recurrent_dropout = _OfStack()
    residual = _OfStack()

    def __init__(
        self,
        cell: Cell | str,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int | Sequence[int] = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        recurrent_dropout: float = 0.0,
        zoneout: float | Mapping[str, float] = 0.0,
        residual: bool = False,
        init: Initialisation = "torch",
        forget_bias: float | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.cell = get(cell) if isinstance(cell, str) else cell
        if not isinstance(self.cell, Cell):
            raise TypeError(f"cell is {cell!r}: give a gatework.Cell or the name of one of the catalogue.")
        named: dict[str, Any] = {"hidden_size": hidden_size, **dict(sizes or {})}
        if proj_size:
            named["proj_size"] = proj_size
        own = {name: tuple(size) if isinstance(size, list | tuple) else size for name, size in named.items()}
        if num_layers == 1:
            num_layers = next((len(size) for size in own.values() if isinstance(size, tuple)), 1) or 1
        self.proj_size = own.get("proj_size", proj_size)
        self._zoneout = zoneout
        self.init = init
        self.forget_bias = forget_bias
        self.stack = shared(
            LayerStack(
                self.cell.graph,
                input_size,
                tuple(own.items()),
                num_layers,
                bidirectional,
                bias,
                batch_first,
                dropout,
                recurrent_dropout,
                zoneout_rates(self.cell.graph, zoneout),
                residual,
            )
        )
        for layer, direction in self.stack.pairs:
            for name, shape in self.stack.stored_shapes(layer).items():
                empty = torch.empty(shape, device=device, dtype=dtype)
                self.register_parameter(name + suffix(layer, direction), nn.Parameter(empty))
        self.reset_parameters()
        self.flatten_parameters()

    @property
    def zoneout(self) -> float | Mapping[str, float]:
        """As it was given; setting it gives the layer another stack."""
        return self._zoneout

    @zoneout.setter
    def zoneout(self, zoneout: float | Mapping[str, float]) -> None:
        self.stack = shared(replace(self.stack, zoneout=zoneout_rates(self.cell.graph, zoneout)))
        self._zoneout = zoneout

    @property
    def num_directions(self) -> int:
        return self.stack.directions

    @property
    def output_size(self) -> int:
        """Units of one direction's output, that of the top layer."""
        return self.stack.output_size

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """Parameters by layer and direction, as torch.nn lists them."""
        return [list(self._stored(*pair).values()) for pair in self.stack.pairs]

    def reset_parameters(self) -> None:
        """Draws every parameter anew by the layer's `init` and `forget_bias`."""
        for layer, direction in self.stack.pairs:
            sizes = self.stack.layer_sizes(layer)
            initialise(self.stack.graph, self._stored(layer, direction), sizes, self.init, self.forget_bias)

    def flatten_parameters(self) -> None:
        """Puts the parameters of a layer on a GPU side by side in memory, as cuDNN reads them without a copy.

        A layer that is made on a GPU or moved there has done so. On other devices, and for cells that cuDNN does not
        compute, it does nothing.
        """
        join_on_gpu(self.stack, self._parameters, self._weights)

    def _apply(self, *given: Any, **named: Any) -> Self:
        super()._apply(*given, **named)
        self.flatten_parameters()
        return self

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: State | None = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
        memory: Tensor | Mapping[str, Tensor] | Memories | None = None,
        memory_lengths: Lengths = None,
        inputs: Mapping[str, Tensor] | None = None,
        emit: Sequence[str] = (),
        reset: Tensor | None = None,
    ) -> tuple[Output, State]:
        """Runs the sequences through the stack.

        Args:
            input: (T, B, I), (B, T, I) if batch_first, (T, I) for one sequence, or a PackedSequence.
            hx: states before the first step, (L * directions, B, size) each: a tensor for a cell of one state,
                a tuple for several. Where layers have sizes of their own, a tuple of L tensors, (directions, B, size),
                for each state. By default the cell's own start.
            lengths: (B,) steps of each sequence, in any order, on any device, zeros allowed. Past its length
                a sequence's output is zero, and its final state is that at its last step.
            memory: (S, B, M), or (B, S, M) if batch_first, for a cell that attends; by name for several memories; or
                what `attend_to` made of it.
            memory_lengths: (B,) steps of each memory.
            inputs: further sequence inputs, shaped as `input`, and static vectors, (B, size), by name.
            emit: what to give beside the output at every step, (T, B, directions * size): gates and states of the top
                layer by name, such as the weights of an attention or an LSTM's "c"; those of another layer as a tape
                names them, "l0.c". They are differentiable, and zero past a sequence's length.
            reset: (T, B) booleans, (B, T) if batch_first, (T,) for one sequence: true where a row's sequence is cut
                before a step, as where another episode or document begins. The states before the step are those of the
                cell's start (`initial_state`), whatever they were, and no gradient flows across. The second direction
                is cut at the same places. What `hx` holds is for the first piece, which there is unless reset[0] is
                true; the final state is that of the last piece in each direction's own order. For a PackedSequence as
                for what `pad_packed_sequence` gives of it.

        Returns:
            The output, (T, B, directions * H), shaped as `input` (for a cell that emits, and with `emit`, a dict with
            the key `output` and one key for each further value), and the state after each sequence's last step,
            shaped as `hx`.

        Raises:
            ValueError: a shape or length that does not fit; the message has the one received. A gate or state that the
                cell does not have, a layer that the stack does not have.
        """
        if isinstance(emit, str):
            raise ValueError(f"emit={emit!r}: give a list of gates and states, emit=[{emit!r}].")
        stack, training = self.stack, self.training
        compiling = torch.compiler.is_compiling() and not torch.compiler.is_exporting()
        if lengths is None and memory is None and inputs is None and reset is None and not emit:
            if compiling:  # the decorator of what torch.compile holds as a constant imports all of dynamo
                from gatework.layers.compiled_path import compiled_path

                result = compiled_path(stack, self._weights, input, hx, training)
            else:
                own = list(map(self._parameters.get, stack.module_names))
                result = None if recording() else fast_path(stack, own, input, hx, training)
            if result is not None:
                return result
        if compiling:  # the graph breaks here, once; the decorator imports all of dynamo
            further = {"memory": memory, "memory_lengths": memory_lengths, "inputs": inputs, "emit": emit}
            uncompiled = torch.compiler.disable(type(self).forward)
            result = uncompiled(self, input, hx, lengths=lengths, reset=reset, **further)
            return result
        call = LayerArguments(stack, self._weights, input, hx, lengths, memory, memory_lengths, inputs, reset)
        return call.finish(*self._run(call, tuple(emit)))

    def _run(
        self, call: LayerArguments, emitted: tuple[str, ...]
    ) -> tuple[dict[str, Tensor], tuple[Any, ...]]:
        """A call whose arguments are checked, as its plan says."""
        stack, training, tapes = self.stack, self.training, tapes_of(self)
        parameters = self._flat_weights()
        check_shapes(stack, parameters)
        request = request_of(
            [*call.tensors, *parameters],
            rows=call.rows,
            one_step=lone_step(stack, call.steps),
            empty=call.empty,
            record=bool(tapes),
        )
        skips = skips_of(tapes, call.steps, call.rows)
        taped = taped_names(stack.graph, tapes)
        plan = plan_call(
            stack,
            request,
            training,
            emitted,
            bool(call.resets),
            taped,
            skipped=skips is not None,
            scaled=scales_of(tapes),
        )
        backend = plan.choice.backend
        if not backend.gathers:
            call.memories = call.memories.whole
        plain = call.ragged is None and request.autocast is None
        if plan.whole_stack and (plain or call.x.device.type in backend.ragged_stacks):
            return self._run_stack(plan, call, parameters)
        recorded: dict[str, RecordedLayer] = {}
        results = run_layers(stack, self._weights, plan, call, training, recorded if tapes else None, skips)
        for tape in tapes:
            tape.add(self, str(plan.choice), recorded)
        return results

    def _run_stack(
        self, plan: CallPlan, call: LayerArguments, parameters: list[Tensor]
    ) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        """The whole stack in one call of its backend."""
        x, states = call.x, call.states
        if plan.choice.backend.plain_tensors:
            states = () if call.at_zero else states
            x, states = x.contiguous(), tuple(state.contiguous() for state in states)
            parameters = [parameter.contiguous() for parameter in parameters]
        input_gradient: bool | None = None
        if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *states, *parameters)):
            input_gradient = x.requires_grad
        whole = stack_call(
            self.stack,
            plan.graph,
            self.training,
            x.dtype,
            call.steps,
            call.rows,
            bool(states),
            input_gradient,
        )
        run = plan.choice.backend.run_stack
        if call.ragged is None:
            output, final = run(whole, x, parameters, states)
        else:
            output, final = run(whole, x, parameters, states, call.ragged.pieces)
        return {"output": output}, final

    def attend_to(self, memory: Tensor | Mapping[str, Tensor], lengths: Lengths = None) -> Memories:
        """A memory checked, masked and projected once, for calls that read it step after step.

        It is a snapshot: what is written into the memory or into the layer's weights through `.data` later on may not
        be seen by them.

        Args:
            memory, lengths: as `memory` and `memory_lengths` of a call.
        """
        return read_memories(self.stack, self._weights, memory, lengths, kept=True)

    def initial_state(self, batch_size: int, memory_steps: Mapping[str, int] | None = None) -> State:
        """The states before the first step: the cell's start, in the shape of `hx`.

        Args:
            memory_steps: S of each memory by name, needed by a cell that carries an alignment.
        """
        like = next(self.parameters())
        states = self.stack.initial_states(batch_size, like, memory_steps or {})
        return states if len(states) > 1 else states[0]

    def stream(
        self,
        batch_size: int = 1,
        *,
        memory: Tensor | None = None,
        memory_lengths: Tensor | None = None,
        weights: Storage = "full",
    ) -> Stream:
        """A snapshot of the weights that runs a step at a time: the sequence call's numbers, without autograd.

        Args:
            batch_size: rows of every step.
            memory: (S, B, M), or (B, S, M) if batch_first, for a cell that attends.
            weights: how the weight matrices are kept. `full` as they are. `bf16` and `int8` take a half and a quarter
                of the memory and are quicker where reading the weights takes the time; a weight's error is at most
                2^-8 of itself, and 1/254 of its row's largest. With `int8` what a step multiplies with the weights is
                rounded to 16 bits besides: an input's or a state's error is at most 1/65534 of the largest magnitude
                among its units ((n + 1) / 33,800,000 where it has n > 515), and an infinite one makes its row NaN.
                Biases, states and sums stay in the layer's dtype; in float64 and on other backends than `llvm` the
                weights are rounded alike and kept whole, and inputs are not rounded.

        Raises:
            ValueError: the layer is bidirectional: its second direction starts at the end; weights that are rounded are
                infinite or NaN, or of a cell that attends.
        """
        return Stream(self.stack, self._weights, batch_size, memory, memory_lengths, weights)

    def explain(
        self,
        input: Tensor | None = None,
        *,
        compiled: bool | None = None,
        emit: Sequence[str] = (),
        reset: bool = False,
    ) -> Choice:
        """The backend that a call would take now, and why.

        Args:
            compiled: whether the call stands in a graph of torch.compile's; if left out, whether this layer itself is
                compiled (`layer.compile()`).
            emit: what the call gives beside the output.
            reset: whether the call has a `reset`.
        """
        like = input if input is not None else next(self.parameters())
        rows, steps = 1, 2  # of a call that nobody has described: a sequence
        if input is not None and input.dim() == 3:
            steps, rows = input.shape[1::-1] if self.batch_first else input.shape[:2]
        request = request_of(
            [like, *self._flat_weights()],
            rows=rows,
            one_step=lone_step(self.stack, steps),
            empty=input is not None and input.numel() == 0,
            record=bool(tapes_of(self)),
        )
        if compiled is None:
            compiled = self._compiled_call_impl is not None
        plan = None
        if compiled and not selection.named_somewhere and not emit and not reset:
            plan = plan_compiled_call(self.stack, request, self.training)
        taped = taped_names(self.stack.graph, tapes_of(self))
        return (plan or plan_call(self.stack, request, self.training, tuple(emit), reset, taped)).choice

    def extra_repr(self) -> str:
        sizes = {
            name: list(size) if isinstance(size, tuple) else size for name, size in self.stack.named_sizes
        }
        parts = [self.cell.name, str(self.input_size), str(sizes["hidden_size"])]
        defaults: dict[str, Any] = {
            "num_layers": self.num_layers if self.stack.by_layer else 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
            "proj_size": 0,
            "recurrent_dropout": 0.0,
            "zoneout": 0.0,
            "residual": False,
            "init": "torch",
            "forget_bias": None,
        }
        parts += [
            f"{key}={sizes.get(key, getattr(self, key))}"
            for key, value in defaults.items()
            if getattr(self, key) != value
        ]
        return ", ".join(parts)

    def _weights(self, layer: int, direction: int) -> dict[str, Tensor]:
        """One layer's parameters by their names without suffix, as kernels read them; read anew, so that
        parametrizations act."""
        stored, heads = self._stored(layer, direction), self.stack.heads
        return {name: whole_weight(name, value, heads) for name, value in stored.items()} if heads else stored

    def _stored(self, layer: int, direction: int) -> dict[str, Tensor]:
        """As `_weights`, as the module keeps them."""
        end = suffix(layer, direction)
        return {name: self._parameter(name + end) for name in self.stack.names}

    def _flat_weights(self) -> list[Tensor]:
        """Every parameter, layer by layer and direction by direction, as kernels read them."""
        if self.stack.heads:
            return [value for pair in self.stack.pairs for value in self._weights(*pair).values()]
        return [self._parameter(name) for name in self.stack.module_names]

    def _parameter(self, name: str) -> Tensor:
        value = self._parameters.get(name)  # without __getattr__; parametrized weights are not in it
        parameter: Tensor = getattr(self, name) if value is None else value
        return parameter

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        stack = self.stack
        for layer, direction in stack.pairs:
            end, sizes = suffix(layer, direction), stack.layer_sizes(layer)
            load_by_gate(state_dict, prefix, end, local_metadata, stack.graph, sizes)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        store_layout(destination, prefix, self.stack.graph)


def explain(
    layer: Recurrent,
    input: Tensor | None = None,
    *,
    compiled: bool | None = None,
    emit: Sequence[str] = (),
    reset: bool = False,
) -> Choice:
    """The backend that a call of a layer would take now, and why.

    Args:
        layer: a layer, or `torch.compile` of one.
        input: what the layer would be called with.
        compiled: whether the call stands in a graph of torch.compile's, such as that of a model around the layer; if
            left out, whether `layer` itself is compiled.
        emit: what the call gives beside the output.
        reset: whether the call has a `reset`.
    """
    own = getattr(layer, "_orig_mod", None)  # of what torch.compile gives for a module
    if own is not None:
        return explain(own, input, compiled=True if compiled is None else compiled, emit=emit, reset=reset)
    return layer.explain(input, compiled=compiled, emit=emit, reset=reset)
