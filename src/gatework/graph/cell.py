"""A cell: its equations, and everything that is said of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

from gatework.errors import nearest
from gatework.graph import printing, serialize
from gatework.graph.builder import Expr, TraceError
from gatework.graph.language import ACTIVATIONS
from gatework.graph.node import Graph
from gatework.graph.tracer import current_tracer, trace
from gatework.graph.verify import verify


class Cell:
    """One step of a recurrent network, written as its equations.

    Made by `gatework.cell` from a function, or by `Cell.from_json` from a traced graph. A cell is immutable;
    it holds no weights: a layer (`gatework.Recurrent`) does.
    """

    def __init__(
        self,
        function: Callable[..., Any] | None,
        options: dict[str, Any] | None = None,
        graph: Graph | None = None,
    ) -> None:
        if (function is None) == (graph is None):
            raise TypeError(
                "A cell is made from a function or from a graph: use gatework.cell or Cell.from_json."
            )
        self._function = function
        self._options = dict(options or {})
        if graph is not None:
            self.graph = graph

    @cached_property
    def graph(self) -> Graph:
        """The traced and verified graph.

        Raises:
            TraceError: the function is no equation; the message shows the wrong code and the right one.
        """
        assert self._function is not None
        shown = {name: _show_option(value) for name, value in self.options.items()}
        graph = trace(self._function, self._options, shown)
        verify(graph)
        return graph

    @property
    def name(self) -> str:
        return self._function.__name__ if self._function is not None else self.graph.name

    @property
    def doc(self) -> str:
        """What the cell is, and its paper."""
        return (inspect.getdoc(self._function) or "") if self._function is not None else self.graph.doc

    @property
    def options(self) -> dict[str, Any]:
        """The keyword-only parameters of the function and their values; as text where only the graph is kept."""
        if self._function is None:
            return dict(self.graph.options)
        parameters = inspect.signature(self._function).parameters.values()
        known = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        return {**known, **self._options}

    def with_options(self, **options: Any) -> Cell:
        """The same cell with other values of its options.

        Raises:
            TypeError: the cell has no such option, or only its graph is kept.
        """
        if self._function is None:
            raise TypeError(
                f"The options of {self.name} were fixed when it was traced; only its graph is kept. "
                "Start from the function that gw.cell decorates."
            )
        known = self.options
        for name in options:
            if name not in known:
                hint = nearest(name, known) if known else "It has none."
                raise TypeError(f"The cell {self.name} has no option {name!r}. {hint}")
        return Cell(self._function, {**self._options, **options})

    def __call__(self, name: str, /, *operands: Any) -> Expr | tuple[Expr, ...]:
        """This cell inside another: `h1, c1 = lstm("first", x, h1, c1)`.

        Args:
            name: prefixes its gates, slots and vectors.
            operands: the input, the states, then the further inputs.

        Returns:
            The new states: one expression, or a tuple of several.
        """
        if not isinstance(name, str):
            raise TraceError(
                f"The cell {self.name} is called with {type(name).__name__} as its first argument: inside another "
                "cell it needs a name for its gates; on tensors it needs a layer.",
                f"h = {self.name}(x, h)",
                f'h = {self.name}("first", x, h)                        # inside a cell\n'
                f"layer = gw.Recurrent({self.name}, 128, 256)        # on tensors\noutput, state = layer(input)",
            )
        states = current_tracer().inline(self.graph, name, operands)
        return states if len(states) > 1 else states[0]

    def equations(self) -> str:
        """The equations as text, printed from the graph."""
        return printing.text(self.graph)

    def latex(self) -> str:
        """The equations as LaTeX, printed from the graph."""
        return printing.latex(self.graph)

    def describe(self) -> str:
        """Equations, inputs, states, gates, parameter count and paper, as `gatework cells NAME` prints them."""
        return printing.describe(self.graph)

    def to_json(self) -> str:
        """The graph as JSON: what a run keeps of the cell."""
        return serialize.to_json(self.graph)

    @classmethod
    def from_json(cls, text: str) -> Cell:
        """A cell from its JSON. The graph is verified; nothing in it can run code.

        Raises:
            GraphError: the text is no legal graph.
        """
        return cls(None, graph=serialize.from_json(text))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={_show_option(value)}" for name, value in self._options.items())
        return f"<cell {self.name}" + (f" with {options}>" if options else ">")

    def __copy__(self) -> Cell:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Cell:
        return self

    def __reduce__(self) -> tuple[Callable[[str], Cell], tuple[str]]:
        return Cell.from_json, (self.to_json(),)


def cell(function: Callable[..., Any]) -> Cell:
    """Makes a cell of a function of one step.

    The first parameter is the input, further ones are the states, returned in the same order; the first state
    is the output. Annotations declare the rest (`gw.State`, `gw.Input`, `gw.Static`, `gw.Memory`);
    keyword-only parameters are options. The function is traced when its graph is first needed.
    """
    if not callable(function):
        raise TypeError(f"gw.cell decorates a function of one step, and was given {function!r}.")
    return Cell(function)


def _show_option(value: Any) -> str:
    if isinstance(value, partial):
        keywords = ", ".join(f"{key}={val!r}" for key, val in value.keywords.items())
        return f"{_show_option(value.func)}({keywords})"
    name = getattr(value, "__name__", None)
    return name if name in ACTIVATIONS else repr(value)
