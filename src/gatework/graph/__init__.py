"""Equations to expression graphs: tracing, passes, derivatives, the verifier, printing, JSON."""

from gatework.graph.builder import Expr, TraceError
from gatework.graph.cell import Cell, cell
from gatework.graph.node import Block, Graph, InputSpec, Node, StateSpec, VectorSpec
from gatework.graph.passes import PASS_NAMES, lower, show
from gatework.graph.tracer import Input, Memory, State, Static
from gatework.graph.verify import GraphError, verify

__all__ = [
    "PASS_NAMES",
    "Block",
    "Cell",
    "Expr",
    "Graph",
    "GraphError",
    "Input",
    "InputSpec",
    "Memory",
    "Node",
    "State",
    "StateSpec",
    "Static",
    "TraceError",
    "VectorSpec",
    "cell",
    "lower",
    "show",
    "verify",
]
