"""The pass `schedule`: the order in which a step's values are computed, for kernels that keep rows together.

A step falls into stages. Within a stage each block of units is computed by itself: first the matrix products
whose operands are complete, then the elementwise operations on them. What needs all units of a row (an operand
of a product, a sum over the units, a scalar gate, a query) ends a stage. Each stage has the row's scalars, then what it
does with its memories, then a kernel for each width.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from gatework.graph.node import Graph, Node, Width
from gatework.graph.ops import OPS


@dataclass(frozen=True)
class Accumulation:
    """Products that are summed in one accumulator.

    Attributes:
        node: the product that stands for the sum.
        terms: the products, each with a weight block and an operand.
    """

    node: int
    terms: tuple[int, ...]


@dataclass(frozen=True)
class Kernel:
    """What a stage computes for the units of one width.

    Attributes:
        width: of every value here.
        accumulations: matrix products, first of all.
        stores: values that others read: later stages, later steps, the caller.
        sums: reductions over the units that take their share here.
    """

    width: Width
    accumulations: tuple[Accumulation, ...]
    stores: tuple[int, ...]
    sums: tuple[int, ...]


@dataclass(frozen=True)
class Stage:
    """A part of the step that ends where all units of a row must be there.

    Attributes:
        scalars: values of width 1, in order, computed a row at a time before all else.
        attended: operations on memories, in order, a row at a time before the kernels.
        kernels: one for each width.
    """

    scalars: tuple[int, ...]
    attended: tuple[int, ...]
    kernels: tuple[Kernel, ...]


@dataclass(frozen=True)
class Schedule:
    """A step in stages.

    Attributes:
        alias_of: an `add` whose product is accumulated into another sum, to the argument that it aliases.
        stage_of: node to stage; None for what follows from the step's inputs by elementwise operations alone,
            and is computed wherever it is needed.
        stored: nodes that have a place in memory.
        recomputed: nodes computed again in later stages, from one stored value and what is the same for the row or
            the unit: that costs no more than storing them and reading them back.
    """

    graph: Graph
    stages: tuple[Stage, ...]
    alias_of: dict[int, int]
    stage_of: tuple[int | None, ...]
    stored: frozenset[int]
    recomputed: frozenset[int]


def schedule(graph: Graph) -> Schedule:
    """The stages of an expanded step graph, forward or backward."""
    nodes = graph.nodes
    outputs = {index for _, index in graph.outputs}
    uses = Counter(arg for node in nodes for arg in node.args)
    uses.update(outputs)
    stage_of = _stages(graph)
    _delay(graph, uses, stage_of)
    merged, alias_of = _merge(graph, uses, stage_of)
    count = 1 + max((stage for stage in stage_of if stage is not None), default=0)

    stored: set[int] = set(outputs)
    for index, node in enumerate(nodes):
        if OPS[node.op].sort == "attention":
            stored.add(index)
        for arg in node.args:
            source = stage_of[arg]
            if OPS[nodes[arg].op].sort == "leaf":
                continue
            reader = stage_of[index]
            if reader is not None and OPS[node.op].sort == "reduction":
                reader -= 1  # where it takes its shares
            if OPS[node.op].sort in ("matmul", "attention") or (
                source is not None
                and reader is not None
                and reader != source
                and OPS[nodes[arg].op].sort != "reduction"
                and index not in alias_of
            ):
                stored.add(arg)
    stored = {_storage_of(index, alias_of) for index in stored}
    recomputed = _recomputed(graph, stored, outputs, alias_of)
    stored -= recomputed

    stages = []
    for number in range(count):
        scalars: list[int] = []
        attended: list[int] = []
        accumulations: dict[Width, list[Accumulation]] = {}
        stores: dict[Width, list[int]] = {}
        sums: dict[Width, list[int]] = {}
        for index, node in enumerate(nodes):
            sort = OPS[node.op].sort
            if sort == "reduction":
                taken_at = stage_of[index]
                if taken_at is not None and taken_at - 1 == number:
                    width = next((nodes[a].width for a in node.args if nodes[a].width != 1), 1)
                    sums.setdefault(width, []).append(index)
                if taken_at == number and index in stored:  # read by the caller, or by a product of a scalar
                    scalars.append(index)
                continue
            stage = stage_of[index] if stage_of[index] is not None else 0
            if stage != number:
                continue
            if sort == "attention":
                attended.append(index)
            elif sort == "matmul":
                if index in merged:
                    accumulations.setdefault(node.width, []).append(Accumulation(index, merged[index]))
                if index in stored:
                    stores.setdefault(node.width, []).append(index)
            elif node.width == 1 and sort != "leaf" and stage_of[index] is not None:
                scalars.append(index)
            elif index in stored and index not in alias_of:
                stores.setdefault(node.width, []).append(index)
        widths = dict.fromkeys([*accumulations, *stores, *sums])
        kernels = tuple(
            Kernel(
                width,
                tuple(accumulations.get(width, ())),
                tuple(stores.get(width, ())),
                tuple(sums.get(width, ())),
            )
            for width in widths
        )
        stages.append(Stage(tuple(scalars), tuple(attended), kernels))
    return Schedule(graph, tuple(stages), alias_of, tuple(stage_of), frozenset(stored), recomputed)


_MOST_RECOMPUTED = 4  # operations


def _recomputed(
    graph: Graph, stored: set[int], outputs: set[int], alias_of: dict[int, int]
) -> frozenset[int]:
    """Which of the stored values are as cheaply computed again."""
    nodes = graph.nodes
    kept = {_storage_of(index, alias_of) for index in outputs}
    in_memory = [node for node in nodes if OPS[node.op].sort in ("matmul", "attention")]
    kept |= {_storage_of(arg, alias_of) for node in in_memory for arg in node.args}
    recomputed: set[int] = set()
    reads: list[frozenset[int]] = []  # what of a row's units a value is computed from,
    costs: list[int] = []  # and by how many operations
    for index, node in enumerate(nodes):
        sort = OPS[node.op].sort
        args = [_storage_of(arg, alias_of) for arg in node.args]
        read: frozenset[int] = frozenset((index,))
        cost = 0
        if node.width == 1 or node.op in ("vector", "bias", "constant", "size"):
            read = frozenset()
        elif sort in ("elementwise", "broadcast") and OPS[node.op].cost == "cheap":
            below = frozenset().union(*(reads[arg] for arg in args))
            operations = 1 + sum(costs[arg] for arg in args)
            at_hand = all(OPS[nodes[arg].op].sort == "leaf" or arg in stored - recomputed for arg in below)
            cheap = len(below) <= 1 and at_hand and operations <= _MOST_RECOMPUTED
            if index in stored and index not in kept and cheap:
                recomputed.add(index)
            if index not in stored or index in recomputed:
                read, cost = below, operations
        reads.append(read)
        costs.append(cost)
    for index in reversed(range(len(nodes))):  # and what stands between them and what they are computed from
        if index in recomputed:
            args = [_storage_of(arg, alias_of) for arg in nodes[index].args]
            recomputed.update(arg for arg in args if costs[arg])
    return frozenset(recomputed)


def _storage_of(index: int, alias_of: dict[int, int]) -> int:
    """The node whose accumulator holds a value: an aliasing `add` leads to its argument."""
    while index in alias_of:
        index = alias_of[index]
    return index


def _stages(graph: Graph) -> list[int | None]:
    """The stage in which each value is computed (a reduction: in which it is complete)."""
    stages: list[int | None] = []
    for node in graph.nodes:
        sort = OPS[node.op].sort
        args = [(graph.nodes[arg], stages[arg]) for arg in node.args]
        if sort == "leaf":
            stages.append(None)
        elif sort == "matmul":
            stages.append(_complete(*args[0]))
        elif sort == "attention":
            stages.append(max(_complete(arg, stage) for arg, stage in args))
        elif sort == "reduction":
            stages.append(max((stage or 0) for _, stage in args) + 1)
        else:
            needs = []
            for arg, stage in args:
                if stage is None:
                    continue
                scalar_product = OPS[arg.op].sort == "matmul" and arg.width == 1
                needs.append(stage + 1 if scalar_product else stage)
            stages.append(max(needs) if needs else None)
    return stages


def _complete(node: Node, stage: int | None) -> int:
    """The first stage that finds all units of a value there."""
    match OPS[node.op].sort:
        case "leaf":
            return 0
        case "attention":  # computed before the kernels of its stage
            return stage or 0
        case _:
            return (stage or 0) + 1


def _delay(graph: Graph, uses: Counter[int], stages: list[int | None]) -> None:
    """Products that are added to one of a later stage wait for it: then both are summed in one accumulator."""
    nodes = graph.nodes
    for index, node in enumerate(nodes):
        if node.op != "add" or node.width == 1:
            continue
        inner, products, waiting = [], [], list(node.args)
        while waiting:
            term = waiting.pop()
            if uses[term] != 1 or nodes[term].width == 1:
                continue
            if OPS[nodes[term].op].sort == "matmul":
                products.append(term)
            elif nodes[term].op == "add":
                inner.append(term)
                waiting += nodes[term].args
        if any(stages[product] == stages[index] for product in products):
            moved = set(products)
            for between in sorted(inner):
                if not moved.isdisjoint(nodes[between].args):
                    moved.add(between)
            for early in moved:
                stages[early] = stages[index]


def _merge(
    graph: Graph, uses: Counter[int], stage_of: list[int | None]
) -> tuple[dict[int, tuple[int, ...]], dict[int, int]]:
    """Products summed with one another in one accumulator, and the additions that this makes needless."""
    nodes = graph.nodes
    merged: dict[int, tuple[int, ...]] = {
        i: (i,) for i, node in enumerate(nodes) if OPS[node.op].sort == "matmul"
    }
    alias_of: dict[int, int] = {}

    def first_product(index: int) -> int | None:
        """The product at the bottom of a chain of additions whose parts nothing else reads."""
        while uses[index] == 1:
            node = nodes[index]
            if OPS[node.op].sort == "matmul":
                return index
            if node.op != "add":
                return None
            left, right = node.args
            if right in merged and uses[right] == 1 and index not in alias_of:
                return right
            index = left
        return None

    for index, node in enumerate(nodes):
        if node.op != "add":
            continue
        left, right = node.args
        if right not in merged or uses[right] != 1:
            continue
        other = first_product(left)
        if (
            other is None
            or other not in merged
            or stage_of[other] != stage_of[right]
            or nodes[other].width == 1
        ):
            continue
        merged[other] += merged.pop(right)
        alias_of[index] = left
    return merged, alias_of
