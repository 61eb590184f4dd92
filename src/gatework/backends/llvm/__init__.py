"""The backend `llvm`: a cell's own equations, compiled for the processor at hand.

In the order in which a call goes through it:

- `programs.py`: the step graph falls into what leaves the loop and what stays, and for training into forward and
  backward programs; `spans.py`: a batch falls into steps with the same rows, and these into chunks;
- `forward_backward.py` writes what a layer's pass does as a list of commands (`command_builder.py`), which
  `commands.py` calls with addresses; `attention_rows.py` brings memories into their order;
- `codegen/` writes LLVM IR: `lower.py` a scheduled step, over `placement.py` (what stands where), `addressing.py`,
  `matmul.py` (tiles of products), `elementwise.py`, `attention_code.py` and `mathematics.py`; `driver.py` what walks
  through a list, whose fields `command_layout.py` names; `softmax.py` logits; `target.py` the vector unit;
- `runtime/`: `native.py` compiles and keeps code on disk, `once.py` has the lock under which it does, `result_pool.py`
  keeps memory for results; threads are torch's own (`backends/threads.py`), `backends/teams.py` says for which work;
- `sequence.py` is a layer in torch's autograd, `stack.py` a whole stack in one call, `operator.py` that stack for
  torch.compile, `stream_step.py` a stream's step and `single_step.py` a search's; `dense/` has linear maps and
  softmaxes over them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache

import torch
from torch import Tensor

from gatework.backends.program import (
    ChainOperator,
    DenseBackend,
    Request,
    SequenceInput,
    SequenceOutput,
    StackCall,
    StackSnapshot,
    Stepper,
)
from gatework.backends.reasons import Reason
from gatework.graph import Graph
from gatework.graph.derive import operations_of_adjoint
from gatework.graph.expand import expand
from gatework.graph.lower_attention import attention_by_rows
from gatework.graph.ops import OPS
from gatework.graph.simplify import differentiated, simplify

name = "llvm"
ragged = True
gathers = True
plain_tensors = True
whole_stack = "one direction"


def refusal(graph: Graph, sizes: tuple[tuple[str, int], ...], request: Request) -> Reason | str | None:
    """Why the engine cannot run a graph for a call; None where it can."""
    if request.record:
        return Reason("keeps no gates")
    return request.obstacle or _not_lowered(graph)


_SAME_FOR_EVERY_ROW = ("vector", "bias", "constant", "size")


@lru_cache(maxsize=1024)
def _not_lowered(graph: Graph) -> str | None:
    """What of a graph the engine has no code for."""
    from gatework.backends.llvm.codegen.lower import SUPPORTED

    graph = attention_by_rows(graph)
    if any(node.op == "attention_weights" for node in graph.nodes):
        return "the engine has no location-sensitive score"
    for node in expand(graph).nodes:
        for op in (node.op, *operations_of_adjoint(node.op, node.attributes, len(node.args))):
            if OPS[op].code not in SUPPORTED:
                return f"the engine has no code for the operation {op}"
    for node in graph.nodes:
        sort = OPS[node.op].sort
        args = [graph.nodes[arg] for arg in node.args]
        if sort == "attention" and 1 in {node.width, *(arg.width for arg in args)}:
            return "the engine has no attention over single units"
        if sort in ("composite", "reduction") and len({graph.nodes[arg].width for arg in node.args}) > 1:
            return f"{node.op} over values of different widths"
    final = differentiated(
        simplify(expand(simplify(graph)))
    )  # stop_gradient(v) is v there, and so is 1.0 * v
    for node in final.nodes:
        if OPS[node.op].sort == "matmul" and final.nodes[node.args[0]].op in _SAME_FOR_EVERY_ROW:
            return "the engine has no product of what is the same for every row"
    return None


def run(
    graph: Graph, parameters: Mapping[str, Tensor], sequence: SequenceInput, *, record: bool = False
) -> SequenceOutput:
    """One layer over a batch; see `gatework.backends.program.Backend.run`."""
    from gatework.backends.llvm.sequence import run_sequence
    from gatework.backends.llvm.single_step import run_step

    result = run_step(graph, parameters, sequence) if sequence.memories else None
    if result is not None:
        return result
    return run_sequence(graph, parameters, sequence)


def run_stack(
    call: StackCall, x: Tensor, parameters: Sequence[Tensor], states: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A whole stack in one native call; see `gatework.backends.program.Backend.run_stack`."""
    return _run_stack()(call, x, parameters, states)


@cache
def _run_stack() -> Callable[..., tuple[Tensor, tuple[Tensor, ...]]]:
    from gatework.backends.llvm import stack

    return stack.run_stack


def step_operator(graph: Graph) -> None:
    """None: native code takes plain tensors only, so that a plan must look at them."""


def chain_operator() -> ChainOperator:
    """Layers as one operator of a compiled graph."""
    from gatework.backends.llvm.operator import chain

    return chain


def prepare_stepper(stack: StackSnapshot) -> Stepper:
    """A stack's step on weights packed once; see `gatework.backends.program.Backend.prepare_stepper`."""
    from gatework.backends.llvm import stream_step

    return stream_step.Stepper(stack)


def dense_backend() -> DenseBackend:
    """Linear maps and softmaxes over them."""
    from gatework.backends.llvm.dense import maps

    return maps


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor whose numbers are not set yet, in memory that is used again."""
    from gatework.backends.llvm.runtime import result_pool

    return result_pool.empty(shape, dtype)
