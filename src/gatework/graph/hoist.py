"""The pass `hoist`: what needs no state leaves the loop over time.

A step falls into two graphs. The hoisted one holds the products of inputs alone and what is computed from them;
it runs once, over all steps as rows. The loop reads its results as further inputs of the kind `hoisted`, 0, 1, …
Both are ordinary step graphs, so that derivatives and schedules need no notion of hoisting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gatework.graph.keys import ArrayKey
from gatework.graph.node import Graph, InputSpec, Node
from gatework.graph.ops import depends_on_step
from gatework.graph.rewrite import drop_dead


@dataclass(frozen=True)
class SplitStep:
    """A step in two parts.

    Attributes:
        hoisted: its outputs, of the kind `hoisted`, are computed from inputs and parameters; None where nothing leaves.
        loop: the step, with an input of the same key for each of them.
    """

    hoisted: Graph | None
    loop: Graph


def hoist(graph: Graph) -> SplitStep:
    """Takes the products of inputs alone out of an expanded step graph."""
    needs_state = depends_on_step(graph.nodes)
    has_product: list[bool] = []
    for node in graph.nodes:
        has_product.append(node.op == "gate_matmul" or any(has_product[arg] for arg in node.args))
    leaves = [has_product[i] and not needs_state[i] for i in range(len(graph.nodes))]
    read = {arg for i, node in enumerate(graph.nodes) if not leaves[i] for arg in node.args}
    read |= {index for _, index in graph.outputs + graph.gates}
    boundary = [i for i in sorted(read) if leaves[i]]
    if not boundary:
        return SplitStep(None, graph)
    keys = {index: ArrayKey("hoisted", str(number)) for number, index in enumerate(boundary)}
    hoisted = replace(
        graph,
        name=f"{graph.name}_hoisted",
        states=(),
        outputs=tuple((keys[index], index) for index in boundary),
        gates=(),
    )
    nodes = [
        Node("array", (), (("kind", "hoisted"), ("name", keys[i].name)), node.width) if i in keys else node
        for i, node in enumerate(graph.nodes)
    ]
    inputs = graph.inputs + tuple(InputSpec(keys[i].name, "hoisted", graph.nodes[i].width) for i in boundary)
    loop = replace(graph, name=f"{graph.name}_loop", nodes=tuple(nodes), inputs=inputs)
    return SplitStep(drop_dead(hoisted), drop_dead(loop))
