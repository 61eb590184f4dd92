"""How a cell's weights are packed: declared once, here.

`weight_SLOT` stacks the blocks of a slot in the order in which the equations first use them, as torch.nn
does; `bias_SLOT` likewise. Learned vectors, normalisation gains and the parameters of scores keep names of
their own.
"""

from __future__ import annotations

from collections.abc import Mapping

from gatework.graph.node import Graph, InputSpec, StateSpec, resolve


def parameter_shapes(graph: Graph, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of one layer's parameters, in torch.nn's order: weights of `ih` and `hh`, their biases,
    then the other slots, then vectors.

    Raises:
        KeyError: a size that the graph names is not in `sizes`.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    slots = graph.slots()

    def weights(*names: str) -> None:
        for slot in names:
            rows = sum(resolve(block.rows, sizes) for block in slots[slot])
            shapes[f"weight_{slot}"] = (rows, resolve(slots[slot][0].columns, sizes))

    def biases(*names: str) -> None:
        for slot in names:
            if slots[slot][0].bias:
                shapes[f"bias_{slot}"] = shapes[f"weight_{slot}"][:1]

    first = [slot for slot in ("ih", "hh") if slot in slots]
    rest = [slot for slot in slots if slot not in first]
    weights(*first)
    biases(*first)
    weights(*rest)
    biases(*rest)
    for vector in graph.vectors:
        columns = () if vector.columns is None else (resolve(vector.columns, sizes),)
        shapes[vector.name] = (resolve(vector.size, sizes), *columns)
    return shapes


def stored_shapes(graph: Graph, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """As `parameter_shapes`, as a module keeps them: of a weight with heads the blocks on its diagonal alone, one after
    another, (rows, columns / heads).

    Raises:
        ValueError: units that cannot be shared out to the heads.
    """
    shapes = parameter_shapes(graph, sizes)
    for slot, heads in heads_of(graph).items():
        rows, columns = shapes[f"weight_{slot}"]
        if columns % heads:
            raise ValueError(
                f"{graph.name} has {heads} heads in weight_{slot}, and {columns} units cannot be shared out to them: "
                f"give a multiple of {heads}."
            )
        shapes[f"weight_{slot}"] = rows, columns // heads
    return shapes


def heads_of(graph: Graph) -> dict[str, int]:
    """The slots whose weights have heads, and how many."""
    return {slot: blocks[0].heads for slot, blocks in graph.slots().items() if blocks[0].heads > 1}


def gate_rows(graph: Graph, slot: str, sizes: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Gates of a slot to their rows, first and one past the last, in `weight_SLOT` and `bias_SLOT`."""
    rows: dict[str, tuple[int, int]] = {}
    start = 0
    for block in graph.slots()[slot]:
        stop = start + resolve(block.rows, sizes)
        rows[block.gate] = start, stop
        start = stop
    return rows


def named_sizes(graph: Graph, widths: Mapping[str, int], rows: Mapping[str, int]) -> dict[str, int]:
    """The sizes that a graph names, read off the tensors of a call.

    Args:
        widths: the last dimension of every input and state by name.
        rows: the first dimension of every parameter by name.
    """
    specs: tuple[InputSpec | StateSpec, ...] = (*graph.inputs, *graph.states)
    sizes = {spec.size: widths[spec.name] for spec in specs if isinstance(spec.size, str)}
    sizes |= {vector.size: rows[vector.name] for vector in graph.vectors if isinstance(vector.size, str)}
    for slot, blocks in graph.slots().items():
        unknown = {block.rows for block in blocks if isinstance(block.rows, str)} - sizes.keys()
        if len(unknown) == 1:
            named = unknown.pop()
            known = sum(resolve(block.rows, sizes) for block in blocks if block.rows != named)
            count = sum(block.rows == named for block in blocks)
            sizes[named] = (rows[f"weight_{slot}"] - known) // count
    return sizes


def layout_metadata(graph: Graph) -> dict[str, list[list[str]]]:
    """Slots to their [gate, rows] pairs: what is stored with the weights, so that loading goes by gate name."""
    return {slot: [[b.gate, str(b.rows)] for b in blocks] for slot, blocks in graph.slots().items()}
