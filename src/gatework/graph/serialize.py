"""Graphs as JSON, and back. What is read is checked before it is believed, and can name no code."""

from __future__ import annotations

import json
from typing import Any, cast

from gatework.graph.keys import ArrayKey, Kind
from gatework.graph.node import Block, Graph, InputSpec, Node, StateSpec, VectorSpec, Width
from gatework.graph.ops import OPS
from gatework.graph.verify import GraphError, verify

FORMAT_VERSION = 1
_OPERATIONS = {row.file_name or op: op for op, row in OPS.items()}
_LONGEST = 4_000_000  # characters; the largest cell of the catalogue needs some ten thousand


def to_json(graph: Graph) -> str:
    """A graph as JSON, one node a line."""
    plain: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "name": graph.name,
        "doc": graph.doc,
        "options": dict(graph.options),
        "inputs": [[spec.name, spec.kind, spec.size] for spec in graph.inputs],
        "states": [[state.name, state.size, state.init] for state in graph.states],
        "blocks": [
            [b.slot, b.gate, b.rows, b.columns, b.bias, *([b.heads] if b.heads > 1 else [])]
            for b in graph.blocks
        ],
        "vectors": [[v.name, v.size, v.init, v.columns] for v in graph.vectors],
        "nodes": [
            [OPS[node.op].file_name or node.op, list(node.args), dict(node.attributes), node.width]
            for node in graph.nodes
        ],
        "outputs": [[f"{key.kind}:{key.name}", index] for key, index in graph.outputs],
        "gates": [list(pair) for pair in graph.gates],
    }
    lines = []
    for key, value in plain.items():
        if isinstance(value, list) and value:
            rows = ",\n".join(f"    {json.dumps(row)}" for row in value)
            lines.append(f"  {json.dumps(key)}: [\n{rows}\n  ]")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def from_json(text: str) -> Graph:
    """The verified graph in a JSON text.

    Raises:
        GraphError: the text is no JSON, has another format, or describes no legal graph.
    """
    if len(text) > _LONGEST:
        raise GraphError(f"A graph of {len(text)} characters: the limit is {_LONGEST}.")
    try:
        plain = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise GraphError(f"The graph is no JSON: {error}") from None
    if not isinstance(plain, dict):
        raise GraphError(f"The graph is a JSON {type(plain).__name__}, and should be an object.")
    version = plain.get("format_version")
    if version != FORMAT_VERSION:
        raise GraphError(
            f"The graph has format version {version!r}; this version of Gatework reads {FORMAT_VERSION}."
        )
    try:
        graph = Graph(
            name=plain["name"],
            nodes=tuple(
                Node(_OPERATIONS.get(op, op), tuple(args), tuple(sorted(attributes.items())), width)
                for op, args, attributes, width in plain["nodes"]
            ),
            inputs=tuple(InputSpec(*row) for row in plain["inputs"]),
            states=tuple(StateSpec(*row) for row in plain["states"]),
            blocks=tuple(Block(*row) for row in plain["blocks"]),
            vectors=tuple(_vector(*row) for row in plain["vectors"]),
            outputs=tuple((_output(text), index) for text, index in plain["outputs"]),
            gates=tuple((name, index) for name, index in plain["gates"]),
            doc=str(plain["doc"]),
            options=tuple((str(name), str(value)) for name, value in plain["options"].items()),
        )
        hash(graph)
        verify(graph, forward=True)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, GraphError):
            raise
        raise GraphError(f"The graph lacks a part or has one of another shape: {error!r}.") from None
    return graph


def _vector(name: str, size: Width, start: Any, columns: Width | None) -> VectorSpec:
    """A learned vector; JSON has a list for the pair that its first values are drawn between."""
    return VectorSpec(name, size, tuple(start) if isinstance(start, list) else start, columns)


def _output(text: str) -> ArrayKey:
    """The key of an output from its text, `state:NAME` or `emit:NAME`."""
    kind, _, name = text.partition(":")
    if kind not in ("state", "emit"):
        raise GraphError(f"{text!r} is no output of a forward step")
    return ArrayKey(cast(Kind, kind), name)
