"""The reference backend: torch operations in a Python loop over the steps.

It runs every graph on every device and in every dtype, and torch differentiates it any number of times.
Nodes that need no state are computed once, for all steps together; the products of one slot with one operand
are one product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from operator import attrgetter

import torch
import torch.nn.functional as F
from torch import Tensor

from gatework.backends import attention_reference, teams
from gatework.backends.program import MemoryValue, Request, SequenceInput, SequenceOutput, StackSnapshot
from gatework.graph import Graph, GraphError, Node
from gatework.graph.node import Attribute, Width, resolve
from gatework.graph.ops import OPS, depends_on_step
from gatework.graph.parameters import gate_rows, named_sizes

name = "eager"
ragged = False
gathers = False
plain_tensors = False
whole_stack = "none"
both_directions = False
ragged_stacks = ()


def refusal(graph: Graph, sizes: tuple[tuple[str, int], ...], request: Request) -> None:
    """None: the reference runs everything."""


def step_operator(graph: Graph) -> None:
    """None: a step is a sequence of one step."""


def cell_step() -> None:
    """None: a plan looks for another way."""


def chain_operator() -> None:
    """None: torch.compile would see each of torch's operators, in a loop over the steps."""


def dense_backend() -> None:
    """None: linear maps are torch's."""


def prepare_stepper(stack: StackSnapshot) -> None:
    """None: the reference runs a sequence of one step for every step."""


@lru_cache(maxsize=256)
def _function(op: str) -> Callable[..., Tensor] | None:
    """The torch function of an operation's arguments and attributes, as its row of the table names it; None where
    the evaluator computes it from more than these."""
    named = OPS[op].eager
    return attrgetter(named)(torch) if isinstance(named, str) else named


_Cache = dict[tuple[object, ...], tuple[Tensor, ...]]
"""What several nodes share: one product for the gates of a slot, one normalisation for its parts."""


@dataclass(frozen=True)
class _Plan:
    """What can be known of a graph before there are numbers.

    Attributes:
        once: nodes that need no state, in order: computed for all steps together.
        every_step: the other nodes but the states and memories themselves, in order.
        groups: product nodes to the gates of the same slot and operand, which are one product.
        biased: product nodes whose bias is added by the product itself.
        alias_of: additions of such a bias to what they add it to.
        functions: of each node, what is called with its arguments and then its attributes, None where the evaluator
            knows more.
    """

    once: tuple[int, ...]
    every_step: tuple[int, ...]
    groups: dict[int, tuple[int, ...]]
    biased: frozenset[int]
    alias_of: dict[int, int]
    functions: tuple[tuple[Callable[..., Tensor], tuple[Attribute, ...]] | None, ...]


@lru_cache(maxsize=256)
def _plan(graph: Graph) -> _Plan:
    nodes = graph.nodes
    needs_state = depends_on_step(nodes)
    uses = Counter(arg for node in nodes for arg in node.args)
    uses.update(index for _, index in graph.outputs + graph.gates)
    biased: set[int] = set()
    alias_of: dict[int, int] = {}
    for index, node in enumerate(nodes):
        product = _product_of_bias(graph, node, uses)
        if product is not None:
            biased.add(product)
            alias_of[index] = node.args[0]
    groups: dict[int, tuple[int, ...]] = {}
    by_operand: dict[tuple[str, int, bool], list[int]] = {}
    for index, node in enumerate(nodes):
        if node.op == "gate_matmul":
            by_operand.setdefault((node.text("slot"), node.args[0], index in biased), []).append(index)
    for members in by_operand.values():
        for index in members:
            groups[index] = tuple(members)
    order = range(len(nodes))
    return _Plan(
        once=tuple(i for i in order if not needs_state[i]),
        every_step=tuple(i for i in order if needs_state[i] and nodes[i].args),
        groups=groups,
        biased=frozenset(biased),
        alias_of=alias_of,
        functions=tuple(_applied(node) for node in nodes),
    )


def _applied(node: Node) -> tuple[Callable[..., Tensor], tuple[Attribute, ...]] | None:
    function = _function(node.op)
    return None if function is None else (function, tuple(value for _, value in node.attributes))


def _product_of_bias(graph: Graph, node: Node, uses: Counter[int]) -> int | None:
    """The product to which an addition adds the bias of its own gate, where nothing else sees the sum without it."""
    if node.op != "add" or graph.nodes[node.args[1]].op != "bias" or uses[node.args[1]] != 1:
        return None
    bias = graph.nodes[node.args[1]]
    index = node.args[0]
    while uses[index] == 1:
        found = graph.nodes[index]
        if found.op == "add":
            left, right = found.args
            if _is_product_of(graph.nodes[right], bias) and uses[right] == 1:
                return right
            index = left
            continue
        return index if _is_product_of(found, bias) else None
    return None


def _is_product_of(node: Node, bias: Node) -> bool:
    return node.op == "gate_matmul" and node["slot"] == bias["slot"] and node["gate"] == bias["gate"]


class _Evaluator:
    """The values of a graph's nodes: those computed once, then those of the step at hand."""

    def __init__(self, graph: Graph, parameters: Mapping[str, Tensor], sequence: SequenceInput) -> None:
        self.graph = graph
        self.plan = _plan(graph)
        self.parameters = parameters
        self.sequence = sequence
        self.like = next(iter(sequence.inputs.values()))
        self.memories = {name: memory.whole() for name, memory in sequence.memories.items()}
        self.sizes = _sizes(graph, parameters, sequence)
        self.rows = {slot: gate_rows(graph, slot, self.sizes) for slot in graph.slots()}
        self.values: list[Tensor] = [self.like] * len(graph.nodes)
        cache: _Cache = {}
        for index in self.plan.once:
            self.values[index] = self.compute(index, cache)

    def step(self, values: list[Tensor]) -> None:
        """Fills in the nodes of one step; `values` holds the inputs and states already."""
        cache: _Cache = {}
        self.values = values
        for index in self.plan.every_step:
            values[index] = self.compute(index, cache)

    def compute(self, index: int, cache: _Cache) -> Tensor:
        node = self.graph.nodes[index]
        if index in self.plan.alias_of:
            return self.values[self.plan.alias_of[index]]
        args = [self.values[arg] for arg in node.args]
        applied = self.plan.functions[index]
        if applied is not None:
            function, attributes = applied
            return function(*args, *attributes)
        match node.op:
            case "constant":
                return self.like.new_full((), node.number("value"))
            case "input":
                return self.sequence.inputs[node.text("name")]
            case "static":
                return self.sequence.statics[node.text("name")]
            case "bias":
                first, last = self.rows[node.text("slot")][node.text("gate")]
                return self.parameters[f"bias_{node['slot']}"][first:last]
            case "vector":
                return self.parameters[node.text("name")]
            case "size":
                of: Width = node["of"]  # type: ignore[assignment]
                return self.like.new_full((), resolve(of, self.sizes))
            case "gate_matmul":
                return self.product(index, cache)
            case "gate_matmul_transposed":
                first, last = self.rows[node.text("slot")][node.text("gate")]
                return args[0] @ self.parameters[f"weight_{node['slot']}"][first:last]
            case "broadcast":
                width = node.width
                return args[0].expand(
                    *args[0].shape[:-1], width if isinstance(width, int) else self.sizes[width]
                )
            case "layer_norm":
                key = ("normal", *node.args)
                if key not in cache:
                    leading = max((arg.shape[:-1] for arg in args), key=len)  # (), (B,) or (T, B)
                    joined = torch.cat([arg.expand(*leading, arg.shape[-1]) for arg in args], dim=-1)
                    normal = F.layer_norm(joined, joined.shape[-1:], eps=node.number("epsilon"))
                    cache[key] = normal.split([arg.shape[-1] for arg in args], dim=-1)
                return cache[key][int(node.number("index"))]
            case "attention_weights":
                return self.align(node, args)
            case "attention_context":
                return attention_reference.attention_context(args[0], self.memory(node.args[1]).values)
            case "dot_score":
                return attention_reference.dot_score(self.query(args[0]), self.memory(node.args[1]).values)
            case "additive_score":
                return attention_reference.additive_score(args[0], self.memory(node.args[1]).values, args[2])
            case "location_score":
                query, _, energy, previous, _ = args
                keys, kernel = (self.memory(node.args[place]).values for place in (1, 4))
                keys = keys + attention_reference.location(previous, kernel[:, 0])
                return attention_reference.additive_score(query, keys, energy)
            case "masked_softmax":
                return attention_reference.alignment(args[0], self.memory(node.args[1]).mask)
            case _:
                raise GraphError(f"the table of operations has no torch function for {node.op}")

    def product(self, index: int, cache: _Cache) -> Tensor:
        """A gate's product: its share of the one product of all gates of its slot and operand."""
        members = self.plan.groups[index]
        key = ("gate_matmul", *members)
        if key not in cache:
            node = self.graph.nodes[index]
            slot = node.text("slot")
            rows = [self.rows[slot][self.graph.nodes[member].text("gate")] for member in members]
            weight = _rows(self.parameters[f"weight_{slot}"], rows)
            bias = _rows(self.parameters[f"bias_{slot}"], rows) if index in self.plan.biased else None
            product = F.linear(self.values[node.args[0]], weight, bias)
            cache[key] = product.split([last - first for first, last in rows], dim=-1)
        return cache[key][members.index(index)]

    def query(self, value: Tensor) -> Tensor:
        """(B, Q), also of a query that depends on parameters alone."""
        return _filled(value, self.like.shape[1])

    def memory(self, index: int) -> MemoryValue:
        return self.memories[self.graph.nodes[index].text("name")]

    def align(self, node: Node, args: list[Tensor]) -> Tensor:
        """Weights over the steps of a memory, (B, S); exactly 0 past its length."""
        label, score = node.text("name"), node.text("score")
        memory = self.memory(node.args[1])
        previous = args[2] if score == "location" else None
        scores = attention_reference.scores(
            score, label, self.parameters, self.query(args[0]), memory.keys[label], previous
        )
        return attention_reference.alignment(scores, memory.mask)


def _rows(packed: Tensor, rows: list[tuple[int, int]]) -> Tensor:
    """Some rows of a packed weight or bias: a view where they are adjacent."""
    adjacent = all(before[1] == after[0] for before, after in pairwise(rows))
    if adjacent:
        return packed[rows[0][0] : rows[-1][1]]
    return torch.cat([packed[first:last] for first, last in rows])


def _sizes(graph: Graph, parameters: Mapping[str, Tensor], sequence: SequenceInput) -> dict[str, int]:
    """The named sizes of a call."""
    given = {**sequence.inputs, **sequence.statics}
    given |= {name: memory.values for name, memory in sequence.memories.items()}
    given |= {state.name: value for state, value in zip(graph.states, sequence.states, strict=True)}
    widths = {name: value.shape[-1] for name, value in given.items()}
    sizes = named_sizes(graph, widths, {name: value.shape[0] for name, value in parameters.items()})
    steps = {f"{name}_steps": memory.values.shape[0] for name, memory in sequence.memories.items()}
    return sizes | steps


def run(graph: Graph, parameters: Mapping[str, Tensor], sequence: SequenceInput) -> SequenceOutput:
    """One layer over a dense batch; see `gatework.backends.program.Backend.run`."""
    weights = sum(value.numel() for value in parameters.values())
    with teams.by_size("product", weights * sequence.rows):  # of one step
        return _run(graph, parameters, sequence)


def _run(graph: Graph, parameters: Mapping[str, Tensor], sequence: SequenceInput) -> SequenceOutput:
    evaluator = _Evaluator(graph, parameters, sequence)
    plan = evaluator.plan
    fixed = list(evaluator.values)
    over_time = _over_time(graph, plan, fixed)
    next_states = graph.next_states()
    state_leaves = [
        (index, [state.name for state in graph.states].index(node.text("name")))
        for index, node in enumerate(graph.nodes)
        if node.op == "state"
    ]
    emitted = graph.emits()
    states = sequence.states
    outputs: list[Tensor] = []
    emits: dict[str, list[Tensor]] = {name: [] for name in emitted}
    rows = evaluator.like.shape[1]
    for t in range(sequence.steps):
        values = list(fixed)
        for index, steps in over_time:
            values[index] = steps[t]
        for index, position in state_leaves:
            values[index] = states[position]
        evaluator.step(values)
        states = tuple(_filled(values[index], rows) for index in next_states)
        outputs.append(states[0])
        for name, index in emitted.items():
            emits[name].append(_filled(values[index], rows))

    def stack(values: list[Tensor], index: int) -> Tensor:
        return _stack(values, evaluator.like, rows, resolve(graph.nodes[index].width, evaluator.sizes))

    return SequenceOutput(
        output=stack(outputs, next_states[0]),
        emits={name: stack(values, emitted[name]) for name, values in emits.items()},
        states=states,
    )


def _over_time(graph: Graph, plan: _Plan, fixed: list[Tensor]) -> list[tuple[int, tuple[Tensor, ...]]]:
    """The nodes computed for all steps together that the steps read, split into steps."""
    timed = [False] * len(graph.nodes)
    for index in plan.once:
        node = graph.nodes[index]
        timed[index] = node.op == "input" or any(timed[arg] for arg in node.args)
    read = {arg for index in plan.every_step for arg in graph.nodes[index].args}
    read |= {plan.alias_of[index] for index in plan.every_step if index in plan.alias_of}
    read |= {index for _, index in graph.outputs + graph.gates}
    return [(index, fixed[index].unbind(0)) for index in plan.once if timed[index] and index in read]


def _filled(value: Tensor, rows: int) -> Tensor:
    """A value with its row dimension: one that depends on parameters alone is the same for every row."""
    if value.dim() == 2:
        return value
    return value.expand(rows, value.shape[-1] if value.dim() == 1 else 1)


def _stack(values: list[Tensor], like: Tensor, rows: int, units: int) -> Tensor:
    """(T, B, units), also where there is no step."""
    return torch.stack(values) if values else like.new_empty((0, rows, units))
