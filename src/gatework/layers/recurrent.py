"""`Recurrent`: any cell over time, in stacks and in both directions.

The cell knows one step; this module owns time, lengths, directions, masks and states. The shapes and the
names of parameters are torch.nn's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gatework.backends import Choice, SequenceInput, SequenceOutput, choose, run_pieces, torch_fused
from gatework.cells import get
from gatework.errors import nearest
from gatework.graph import Cell, Graph
from gatework.graph.node import resolve
from gatework.graph.parameters import parameter_shapes
from gatework.graph.variants import variant
from gatework.layers.call import Call, Output, State
from gatework.layers.dropout import dropout
from gatework.layers.masks import sequence_masks, step_masks
from gatework.layers.memory import Lengths, Memories, read_memories
from gatework.layers.parameters import Initialisation, initialise, load_by_gate, store_layout
from gatework.layers.quick import describe, plain_sizes, quick, traced
from gatework.layers.stream import Stream
from gatework.layers.tape import RecordedLayer, Tape, tapes_of


class Recurrent(nn.Module):
    """A cell over time.

    Args:
        cell: a `gatework.Cell`, or the name of one of the catalogue.
        input_size: I, units of the input.
        hidden_size: H, units of the states that the cell does not annotate otherwise.
        num_layers: L, layers of the stack; each one reads the output of the one below.
        bias: biases in the cell's linear maps.
        batch_first: input and output are (B, T, ·) instead of (T, B, ·). States are not affected.
        dropout: rate of dropout on the output of every layer but the last.
        bidirectional: a second network per layer reads each sequence from its own end; outputs are joined.
        proj_size: size of the states that the cell annotates with "proj_size".
        recurrent_dropout: rate of variational dropout: one mask a sequence on what enters the recurrent products
            (Gal & Ghahramani 2016).
        zoneout: rate at which units keep their previous state (Krueger et al. 2016): one for all states, or
            by state, `{"h": 0.05, "c": 0.5}`.
        residual: every layer but the first adds its input to its output (Wu et al. 2016, section 3.1).
        init: `torch` draws as torch.nn does, in the same order; `keras` as Keras: Glorot, orthogonal, forget bias 1.
        forget_bias: start of the forget gate's bias; by default that of `init`.
        sizes: values of further sizes that the cell names, such as `memory_size`.

    Raises:
        ValueError: a size or rate out of range, or a size that the cell needs and nobody gave.
    """

    def __init__(
        self,
        cell: Cell | str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
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
        for label, size in (
            ("input_size", input_size),
            ("hidden_size", hidden_size),
            ("num_layers", num_layers),
        ):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ValueError(f"{label}={size!r}: it must be a whole number, 1 or more.")
        for label, rate in (("dropout", dropout), ("recurrent_dropout", recurrent_dropout)):
            _check_rate(label, rate)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self.recurrent_dropout = float(recurrent_dropout)
        self.zoneout = zoneout
        self.residual = residual
        self.init = init
        self.forget_bias = forget_bias
        self._zoneout = _zoneout_rates(self.cell.graph, zoneout)
        self._sizes = {"hidden_size": hidden_size, **dict(sizes or {})}
        if proj_size:
            self._sizes["proj_size"] = proj_size
        self._check_sizes()
        self._graph = variant(self.cell.graph, bias=bias)
        self.output_size = resolve(self._graph.states[0].size, self._sizes)
        self._names = tuple(parameter_shapes(self._graph, self._layer_sizes(0)))
        self._plain = plain_sizes(self)
        self._described = describe(self)
        for layer in range(num_layers):
            shapes = parameter_shapes(self._graph, self._layer_sizes(layer))
            for direction in range(self.num_directions):
                for name, shape in shapes.items():
                    empty = torch.empty(shape, device=device, dtype=dtype)
                    self.register_parameter(name + _suffix(layer, direction), nn.Parameter(empty))
        self.reset_parameters()

    @property
    def num_directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """Parameters by layer and direction, as torch.nn lists them."""
        return [
            list(self._parameters_of(layer, direction).values())
            for layer in range(self.num_layers)
            for direction in range(self.num_directions)
        ]

    def reset_parameters(self) -> None:
        """Draws every parameter anew by the layer's `init` and `forget_bias`."""
        for layer in range(self.num_layers):
            for direction in range(self.num_directions):
                initialise(
                    self._graph,
                    self._parameters_of(layer, direction),
                    self._layer_sizes(layer),
                    self.init,
                    self.forget_bias,
                )

    def flatten_parameters(self) -> None:
        """Does nothing: parameters are taken as they are at every call. torch.nn's layers have it for cuDNN."""

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
    ) -> tuple[Output, State]:
        """Runs the sequences through the stack.

        Args:
            input: (T, B, I), (B, T, I) if batch_first, (T, I) for one sequence, or a PackedSequence.
            hx: states before the first step, (L * directions, B, size) each: a tensor for a cell of one state,
                a tuple for several. By default the cell's own start.
            lengths: (B,) steps of each sequence, in any order, on any device, zeros allowed. Past its length
                a sequence's output is zero, and its final state is that at its last step.
            memory: (S, B, M), or (B, S, M) if batch_first, for a cell that attends; by name for several memories; or
                what `attend_to` made of it.
            memory_lengths: (B,) steps of each memory.
            inputs: further input streams, shaped as `input`, and static vectors, (B, size), by name.
            emit: gates of the top layer to give beside the output, such as the weights of an attention.

        Returns:
            The output, (T, B, directions * H), shaped as `input` (for a cell that emits a dict with the key
            `output` and one key for each emitted value), and the state after each sequence's last step, shaped
            as `hx`.

        Raises:
            ValueError: a shape or length that does not fit; the message has the one received. A gate that the cell
                does not have.
        """
        if isinstance(emit, str):
            raise ValueError(f"emit={emit!r}: give a list of gates, emit=[{emit!r}].")
        short = lengths is None and memory is None and inputs is None and not emit
        if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
            result = traced(self, input, hx) if short else None
            if result is not None:
                return result
            given = {"memory": memory, "memory_lengths": memory_lengths, "inputs": inputs, "emit": emit}
            return self._untraced(input, hx, lengths=lengths, **given)
        result = quick(self, input, hx) if short else None
        if result is not None:
            return result
        call = Call(self, input, hx, lengths, memory, memory_lengths, inputs)
        return call.finish(*self._run(call, tuple(emit)))

    def attend_to(self, memory: Tensor | Mapping[str, Tensor], lengths: Lengths = None) -> Memories:
        """A memory checked, masked and projected once, for calls that read it step after step.

        It is a snapshot: what is written into the memory or into the layer's weights through `.data` later on may not
        be seen by them.

        Args:
            memory, lengths: as `memory` and `memory_lengths` of a call.
        """
        return read_memories(self, memory, lengths, kept=True)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _untraced(self, *args: Any, **given: Any) -> tuple[Output, State]:
        """A call that torch.compile leaves to Python: its graph breaks here, once."""
        return self.forward(*args, **given)

    def _run(self, call: Call, emitted: tuple[str, ...]) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        tapes = tapes_of(self)
        graph = self._mode_graph(emitted)
        choice = choose(
            graph,
            self._sizes,
            record=bool(tapes),
            like=call.x,
            empty=call.empty,
            rows=call.rows,
            one_step=call.steps == 1,
            tensors=(*call.further, *chain(*self.all_weights)),
        )
        if choice.name != "llvm":
            call.memories = call.memories.whole
        if choice.name == "torch" and call.ragged is None and not (self.residual and self.num_layers > 1):
            return self._run_fused_stack(graph, call)
        recorded: dict[str, RecordedLayer] = {}
        x = call.x
        finals: list[tuple[Tensor, ...]] = []
        streams: dict[str, Tensor] = {}
        for layer in range(self.num_layers):
            results = []
            for direction in range(self.num_directions):
                result = self._run_layer(graph, choice, call, x, layer, direction, recorded, tapes)
                results.append(result)
                finals.append(result.states)
            joined = (
                torch.cat([result.output for result in results], dim=-1)
                if self.bidirectional
                else results[0].output
            )
            if self.residual and layer > 0:
                joined = joined + x
            streams = {
                name: torch.cat([result.emits[name] for result in results], dim=-1)
                for name in results[0].emits
            }
            x = joined
            if self.dropout and layer < self.num_layers - 1:
                x = dropout(x, self.dropout, self.training)
        for tape in tapes:
            kept = {
                name: replace(
                    entry, values={key: value for key, value in entry.values.items() if tape.wants(key)}
                )
                for name, entry in recorded.items()
            }
            tape.add(self, str(choice), kept)
        if len(finals) == 1:
            return {"output": x, **streams}, tuple(state.unsqueeze(0) for state in finals[0])
        return {"output": x, **streams}, tuple(torch.stack(states) for states in zip(*finals, strict=True))

    def _run_layer(
        self,
        graph: Graph,
        choice: Choice,
        call: Call,
        x: Tensor,
        layer: int,
        direction: int,
        recorded: dict[str, RecordedLayer],
        tapes: tuple[Tape, ...],
    ) -> SequenceOutput:
        turn = call.turned if direction else call.as_is
        masks = sequence_masks(graph, x, call.rows, self.recurrent_dropout, self._sizes)
        streams = {
            graph.inputs[0].name: x,
            **call.streams,
            **step_masks(graph, x, dict(self._zoneout), self._sizes),
        }
        sequence = SequenceInput(
            inputs={name: turn(value) for name, value in streams.items()},
            statics={**call.statics, **masks},
            states=tuple(state[layer * self.num_directions + direction] for state in call.states),
            memories=call.memories.of(layer * self.num_directions + direction),
            pieces=None if call.ragged is None else call.ragged.pieces,
        )
        run = partial(choice.backend.run, graph, self._parameters_of(layer, direction), record=bool(tapes))
        cut = call.ragged is not None and not choice.backend.ragged
        result = run_pieces(run, sequence) if cut else run(sequence)
        if tapes:
            for step in result.step_states:
                if step.requires_grad:
                    step.retain_grad()

            def align(value: Tensor) -> Tensor:
                return call.as_given(turn(value))

            recorded[_suffix(layer, direction)[1:]] = RecordedLayer(
                {name: align(value) for name, value in result.gates.items()},
                result.step_states,
                result.output.shape,
                graph.states[0].name,
                align,
            )
        if not direction:
            return result
        return SequenceOutput(
            turn(result.output), {name: turn(value) for name, value in result.emits.items()}, result.states
        )

    def _run_fused_stack(self, graph: Graph, call: Call) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        kind = torch_fused.fused_kind(graph)
        assert kind is not None
        weights = [
            weight
            for layer in range(self.num_layers)
            for direction in range(self.num_directions)
            for weight in torch_fused.flat_weights(graph, self._parameters_of(layer, direction))
        ]
        output, states = torch_fused.run_stack(
            kind,
            call.x,
            call.states,
            weights,
            bias=self.bias,
            layers=self.num_layers,
            dropout=self.dropout,
            training=self.training,
            bidirectional=self.bidirectional,
        )
        return {"output": output}, states

    def _mode_graph(self, emitted: tuple[str, ...] = ()) -> Graph:
        """The graph of the present mode: with masks while training, with zoneout's expected value otherwise."""
        return variant(
            self.cell.graph,
            bias=self.bias,
            recurrent_dropout=self.training and self.recurrent_dropout > 0,
            zoneout=self._zoneout,
            training=self.training,
            emitted=emitted,
        )

    def initial_state(self, batch_size: int, memory_steps: Mapping[str, int] | None = None) -> State:
        """The states before the first step: the cell's start, (L * directions, batch_size, size) each.

        Args:
            memory_steps: S of each memory by name, needed by a cell that carries an alignment.
        """
        like = next(self.parameters())
        states = self._initial_states(batch_size, like, memory_steps or {})
        return states if len(states) > 1 else states[0]

    def _initial_states(self, rows: int, like: Tensor, memory_steps: Mapping[str, int]) -> tuple[Tensor, ...]:
        count = self.num_layers * self.num_directions
        sizes = {**self._sizes, **{f"{name}_steps": steps for name, steps in memory_steps.items()}}
        states = []
        for state in self._graph.states:
            if state.size not in sizes and isinstance(state.size, str):
                raise ValueError(
                    f"The state {state.name} is an alignment: give memory_steps, the steps of its memory."
                )
            states.append(like.new_full((count, rows, resolve(state.size, sizes)), state.init))
        return tuple(states)

    def stream(
        self, batch_size: int = 1, *, memory: Tensor | None = None, memory_lengths: Tensor | None = None
    ) -> Stream:
        """A snapshot of the weights that runs a step at a time: the sequence call's numbers, without autograd.

        Args:
            batch_size: rows of every step.
            memory: (S, B, M), or (B, S, M) if batch_first, for a cell that attends.

        Raises:
            ValueError: the layer is bidirectional: its second direction starts at the end.
        """
        return Stream(self, batch_size, memory, memory_lengths)

    def explain(self, input: Tensor | None = None) -> Choice:
        """The backend that a call would take now, and why."""
        like = input if input is not None else next(self.parameters())
        rows, steps = 1, 2  # of a call that nobody has described: a sequence
        if input is not None and input.dim() == 3:
            steps, rows = input.shape[1::-1] if self.batch_first else input.shape[:2]
        return choose(
            self._mode_graph(),
            self._sizes,
            record=bool(tapes_of(self)),
            like=like,
            empty=input is not None and input.numel() == 0,
            rows=rows,
            one_step=steps == 1,
            tensors=tuple(chain(*self.all_weights)),
        )

    def extra_repr(self) -> str:
        parts = [self.cell.name, str(self.input_size), str(self.hidden_size)]
        defaults: dict[str, Any] = {
            "num_layers": 1,
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
            f"{key}={getattr(self, key)}" for key, value in defaults.items() if getattr(self, key) != value
        ]
        return ", ".join(parts)

    def _layer_sizes(self, layer: int) -> dict[str, int]:
        wide = self.input_size if layer == 0 else self.output_size * self.num_directions
        return {**self._sizes, "input_size": wide}

    def _parameters_of(self, layer: int, direction: int) -> dict[str, Tensor]:
        """One layer's parameters by their names without suffix; read anew, so that parametrizations act."""
        suffix = _suffix(layer, direction)
        own = self._parameters  # most are here, and a look at it is quicker than at the attribute
        found = {}
        for name in self._names:
            value = own.get(name + suffix)
            found[name] = getattr(self, name + suffix) if value is None else value
        return found

    def _check_sizes(self) -> None:
        graph = self.cell.graph
        needed = [size for size in graph.sizes() if size != "input_size" and not graph.counts_steps(size)]
        for size in needed:
            value = self._sizes.get(size)
            if value is None:
                how = "proj_size=…" if size == "proj_size" else f"sizes={{{size!r}: …}}"
                raise ValueError(f"The cell {graph.name} needs a value of {size}: give {how}.")
            if value < 1:
                raise ValueError(f"{size}={value}: it must be 1 or more.")
        for size in self._sizes:
            if size not in needed and size != "hidden_size":
                raise ValueError(f"The cell {graph.name} has no size {size!r}. {nearest(size, needed)}")

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        for layer in range(self.num_layers):
            for direction in range(self.num_directions):
                suffix, sizes = _suffix(layer, direction), self._layer_sizes(layer)
                load_by_gate(state_dict, prefix, suffix, local_metadata, self._graph, sizes)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        store_layout(destination, prefix, self._graph)


def _suffix(layer: int, direction: int) -> str:
    return f"_l{layer}" + ("_reverse" if direction else "")


def _check_rate(label: str, rate: float) -> None:
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise ValueError(f"{label}={rate!r}: it must be a number between 0 and 1.")


def _zoneout_rates(graph: Graph, zoneout: float | Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    names = [state.name for state in graph.states if not graph.counts_steps(state.size)]
    rates = dict(zoneout) if isinstance(zoneout, Mapping) else dict.fromkeys(names, zoneout)
    for name, rate in rates.items():
        if name not in names:
            raise ValueError(
                f"zoneout names a state {name!r} that {graph.name} does not have. {nearest(name, names)}"
            )
        _check_rate(f"zoneout of {name}", rate)
    return tuple((name, float(rate)) for name, rate in rates.items() if rate)


def explain(layer: Recurrent, input: Tensor | None = None) -> Choice:
    """The backend that a call of a layer would take now, and why.

    Args:
        input: what the layer would be called with.
    """
    return layer.explain(input)
