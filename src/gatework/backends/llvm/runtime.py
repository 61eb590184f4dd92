"""Calling native programs: argument arrays, packed weights, scratch memory, threads."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from gatework.backends.llvm import threads
from gatework.backends.llvm.layout import Factor, together
from gatework.backends.llvm.native import Native
from gatework.graph import Graph
from gatework.graph.layout import gate_rows
from gatework.graph.node import resolve

_RUN = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


def pack(blocks: list[Tensor], lanes: int, count: int) -> Tensor:
    """Weight blocks as tiles read them.

    Args:
        blocks: (K, units) each, of accumulations that are computed together.
        count: unit blocks of one product.

    Returns:
        (block groups, K, accumulations * count * lanes): for each number of the operand the units of all
        accumulations side by side, padded with zeros to whole registers.
    """
    depth, units = blocks[0].shape
    size = lanes * count
    whole = -(-units // size) * size
    packed = blocks[0].new_zeros((whole // size, depth, len(blocks), size))
    for position, block in enumerate(blocks):
        padded = block if whole == units else torch.nn.functional.pad(block, (0, whole - units))
        packed[:, :, position] = padded.reshape(depth, -1, size).transpose(0, 1)
    return packed


def run_program(
    program: Native,
    graph: Graph,
    arrays: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    sizes: Mapping[str, int],
    *,
    steps: int,
    rows: int,
    reverse: bool = False,
    masks: Mapping[str, int] | None = None,
) -> None:
    """Fills the argument arrays and calls a program.

    Args:
        graph: declares the blocks of the weights.
        arrays: `stream:…`, `state:…`, `static:…`, `vector:…` as the layout names them.
        weights: `weight_SLOT`, `bias_SLOT`.
        reverse: streams are read and written from their last step to their first.
        masks: of states: 1 for two alternating places; else a whole history.
    """
    layout = program.layout
    like = next(iter(arrays.values()))
    lanes = program.target.lanes(like.element_size())
    tensors = dict(arrays)
    numbers = {
        "steps": steps,
        "rows": rows,
        "begin": steps - 1 if reverse else 0,
        "direction": -1 if reverse else 1,
    }
    work = 0
    for label, groups in layout.groups.items():
        count = together(max(group.size for group in groups), resolve(groups[0].width, sizes), lanes)
        numbers[f"together:{label}"] = count
        for group in groups:
            for name, factors in zip(group.packed, group.factors, strict=True):
                tensors[name] = pack(
                    [_block(graph, factor, weights, sizes) for factor in factors], lanes, count
                )
                work += tensors[name].numel()
    for name in layout.pointers:
        kind, _, rest = name.partition(":")
        if kind == "bias":
            slot, gate = rest.split(":")
            first, last = gate_rows(graph, slot, sizes)[gate]
            tensors[name] = weights[f"bias_{slot}"][first:last]
        elif kind == "scratch":
            tensors[name] = like.new_empty((rows, resolve(layout.scratch[name], sizes)))
        elif kind == "sum":
            tensors[name] = like.new_empty((rows, -(-resolve(layout.scratch[name], sizes) // lanes)))
        elif kind == "scalar":
            tensors[name] = like.new_empty(rows)
    for name in layout.numbers:
        kind, _, rest = name.partition(":")
        if kind == "mask":
            numbers[name] = (masks or {}).get(rest, -1)
        elif kind == "size":
            numbers[name] = sizes[rest]
    kept = [tensors[name] for name in layout.pointers]
    for name, tensor in zip(layout.pointers, kept, strict=True):
        if not tensor.is_contiguous():
            raise ValueError(f"{name} is not contiguous: its program reads whole rows.")
    pointers = np.array([tensor.data_ptr() for tensor in kept], dtype=np.int64)
    values = np.array([numbers[name] for name in layout.numbers], dtype=np.int64)
    share = threads.count(rows, work * rows * steps) if program.task else 1
    if share == 1:
        _RUN(program.run)(pointers.ctypes.data, values.ctypes.data, 0, rows)
        return
    data = np.array([pointers.ctypes.data, values.ctypes.data, rows], dtype=np.int64)
    library = threads.openmp()
    assert library is not None
    library.GOMP_parallel(program.task, data.ctypes.data, share, 0)


def _block(graph: Graph, factor: Factor, weights: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Tensor:
    """(K, units)"""
    first, last = gate_rows(graph, factor.slot, sizes)[factor.gate]
    block = weights[f"weight_{factor.slot}"][first:last]
    return block if factor.transposed else block.t()
