"""The backend `llvm`: a cell's own equations, compiled for the processor at hand.

In the order in which a call goes through it:

- `gatework.backends.compiled` writes what a layer's pass does as a list of commands, and is a layer in torch's
  autograd;
- `machine.py` is the machine that it asks: `encoder.py` turns commands into rows of numbers, which `native_list.py`
  calls with addresses of tensors;
- `codegen/` writes LLVM IR: `lower.py` a scheduled step, over `placement.py` (what stands where), `addressing.py`,
  `product_code.py`, `elementwise.py`, `attention_code.py` and `mathematics.py`, with `builder.py`; `matmul.py` tiles of
  products, `packing.py` weights in the tiles' order, `unpacked.py` products with weights that are not; `driver.py` what
  walks through a list, whose fields `command_layout.py` names; `outer.py` products of whole matrices; `softmax.py`
  logits; `target.py` the vector unit;
- `runtime/`: `native.py` compiles and keeps code on disk, `result_pool.py` keeps memory for results; threads are
  torch's own (`backends/threads.py`), `backends/teams.py` says for which work;
- `operator.py` is a stack for torch.compile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache

import torch
from torch import Tensor

from gatework.backends.compiled.refusal import not_lowered
from gatework.backends.program import (
    CellStep,
    ChainOperator,
    DenseBackend,
    Piece,
    Request,
    SequenceInput,
    SequenceOutput,
    StackCall,
    StackSnapshot,
    Stepper,
)
from gatework.backends.reasons import Reason
from gatework.graph import Graph

name = "llvm"
ragged = True
gathers = True
plain_tensors = True
whole_stack = "one direction"
both_directions = True
ragged_stacks = ()


def refusal(graph: Graph, sizes: tuple[tuple[str, int], ...], request: Request) -> Reason | str | None:
    """Why the engine cannot run a graph for a call; None where it can."""
    return request.obstacle or _not_lowered(graph)


@lru_cache(maxsize=1024)
def _not_lowered(graph: Graph) -> str | None:
    """What of a graph the engine has no code for."""
    from gatework.backends.llvm import machine

    return not_lowered(graph, machine.host().supports)


def run(graph: Graph, parameters: Mapping[str, Tensor], sequence: SequenceInput) -> SequenceOutput:
    """One layer over a batch; see `gatework.backends.program.Backend.run`."""
    from gatework.backends.compiled.sequence import run_sequence
    from gatework.backends.compiled.single_step import run_step
    from gatework.backends.llvm import machine

    host = machine.host()
    result = run_step(host, graph, parameters, sequence) if sequence.memories else None
    if result is not None:
        return result
    return run_sequence(host, graph, parameters, sequence)


def run_both(
    graph: Graph,
    parameters: Sequence[Mapping[str, Tensor]],
    x: Tensor,
    states: Sequence[tuple[Tensor, ...]],
    pieces: tuple[Piece, ...],
    turned: Tensor,
) -> tuple[Tensor, Sequence[tuple[Tensor, ...]]]:
    """Both directions of a packed layer; see `gatework.backends.program.Backend.run_both`."""
    from gatework.backends.compiled import both_directions
    from gatework.backends.llvm import machine

    return both_directions.run_both(machine.host(), graph, parameters, x, states, pieces, turned)


def run_stack(
    call: StackCall,
    x: Tensor,
    parameters: Sequence[Tensor],
    states: tuple[Tensor, ...],
    pieces: None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A whole stack over a dense batch in one native call; see `gatework.backends.program.Backend.run_stack`."""
    return _run_stack()(call, x, parameters, states)


@cache
def _run_stack() -> Callable[..., tuple[Tensor, tuple[Tensor, ...]]]:
    from gatework.backends.compiled import stack
    from gatework.backends.llvm import machine

    return lambda *args: stack.run_stack(machine.host(), *args)


def step_operator(graph: Graph) -> None:
    """None: native code takes plain tensors only, so that a plan must look at them."""


def cell_step() -> CellStep:
    """One step on plain tensors; see `gatework.backends.program.Backend.cell_step`."""
    return _run_cell()


@cache
def _run_cell() -> CellStep:
    from gatework.backends.compiled import cell_step
    from gatework.backends.llvm import machine

    return lambda *args: cell_step.run_cell(machine.host(), *args)


def chain_operator() -> ChainOperator:
    """Layers as one operator of a compiled graph."""
    from gatework.backends.llvm.operator import chain

    return chain


def prepare_stepper(stack: StackSnapshot) -> Stepper:
    """A stack's step on weights packed once; see `gatework.backends.program.Backend.prepare_stepper`."""
    from gatework.backends.compiled import stream_step
    from gatework.backends.llvm import machine

    return stream_step.Stepper(machine.host(), stack)


def dense_backend() -> DenseBackend:
    """Linear maps and softmaxes over them."""
    return _dense()()


@cache
def _dense() -> Callable[[], DenseBackend]:
    from gatework.backends.compiled.dense.maps import Maps
    from gatework.backends.llvm import machine

    return lambda: Maps(machine.host())


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor whose numbers are not set yet, in memory that is used again."""
    from gatework.backends.llvm.runtime import result_pool

    return result_pool.empty(shape, dtype)
