"""Building a graph: expressions that record the operations done on them.

The same builder serves tracing (the user's equations), expansion (composite operations) and differentiation:
all three write new nodes by computing with `Expr`. Equal nodes are one node, so that what the equations
repeat is computed once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NoReturn

from gatework.errors import GateworkError
from gatework.graph.node import Attribute, Node, Width


class TraceError(GateworkError, TypeError):
    """What was written cannot be an equation. The message shows the wrong code and the right one.

    Args:
        what: the mistake, with the value received.
        wrong: code that has the mistake.
        right: code that does what was probably meant.
    """

    def __init__(self, what: str, wrong: str, right: str) -> None:
        self.what = what
        self.wrong = wrong
        self.right = right

        def indented(code: str) -> str:
            return "\n".join(f"        {line}" for line in code.splitlines())

        super().__init__(f"{what}\n    wrong:\n{indented(wrong)}\n    right:\n{indented(right)}")

    def __reduce__(self) -> tuple[type[TraceError], tuple[str, str, str]]:
        return type(self), (self.what, self.wrong, self.right)


class Builder:
    """A growing list of nodes, each of them once."""

    def __init__(self, nodes: tuple[Node, ...] = ()) -> None:
        self.nodes: list[Node] = list(nodes)
        self._known: dict[Node, int] = {node: index for index, node in enumerate(nodes)}

    def intern(self, node: Node) -> Expr:
        """The expression for a node, which is added if no equal one is there."""
        index = self._known.get(node)
        if index is None:
            index = len(self.nodes)
            self.nodes.append(node)
            self._known[node] = index
        return Expr(self, index)

    def leaf(self, op: str, width: Width, **attributes: Attribute) -> Expr:
        return self.intern(Node(op, (), tuple(sorted(attributes.items())), width))

    def constant(self, value: float) -> Expr:
        return self.leaf("constant", 1, value=float(value))

    def apply(self, op: str, *args: Expr, width: Width | None = None, **attributes: Any) -> Expr:
        """The expression for an operation; `width` defaults to the arguments' common one."""
        if width is None:
            width = self.common_width(args)
        node = Node(op, tuple(arg.index for arg in args), tuple(sorted(attributes.items())), width)
        return self.intern(node)

    def common_width(self, args: tuple[Expr, ...]) -> Width:
        width: Width = 1
        for arg in args:
            if arg.width == 1 or arg.width == width:
                continue
            if width != 1:
                raise TraceError(
                    f"Operands of different widths, {width} and {arg.width}, meet in one operation.",
                    "h + x                            # hidden_size and input_size",
                    'h + tanh(linear("embed", x))     # a linear map brings x to hidden_size',
                )
            width = arg.width
        return width

    def lift(self, value: object) -> Expr:
        """An operand as an expression: itself, or a constant for a number."""
        if isinstance(value, Expr):
            if value.builder is not self:
                raise TraceError(
                    "An operand belongs to another trace: it was kept from an earlier call.",
                    "saved = []\n@gw.cell\ndef cell(x, h):\n    saved.append(h)\n    return h + saved[0]",
                    "@gw.cell\ndef cell(x, h, previous):\n    return h + previous, h",
                )
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            number = getattr(value, "item", None)
            if number is None or getattr(value, "ndim", 1) != 0:
                raise TraceError(
                    f"An operand is {value!r} of type {type(value).__name__}: operands are expressions "
                    "of the step and Python numbers.",
                    "h * torch.ones(128)",
                    'h * vector("scale", init=1.0)    # learned\nh * 0.5                          # constant',
                )
            value = number()
        return self.constant(float(value))  # type: ignore[arg-type]


class Expr:
    """A value of the step that is not known yet: what the equations compute with."""

    __slots__ = ("builder", "index")
    __hash__ = None  # type: ignore[assignment]
    __array_ufunc__ = None  # numpy leaves the operators to us

    def __init__(self, builder: Builder, index: int) -> None:
        self.builder = builder
        self.index = index

    @property
    def node(self) -> Node:
        return self.builder.nodes[self.index]

    @property
    def width(self) -> Width:
        return self.node.width

    def __repr__(self) -> str:
        return f"<{self.node.op} of width {self.width}>"

    def _binary(self, op: str, other: object, *, swapped: bool = False) -> Expr:
        left, right = self, self.builder.lift(other)
        if self.node.op == "memory" or right.node.op == "memory":
            _refuse_memory()
        return self.builder.apply(op, right, left) if swapped else self.builder.apply(op, left, right)

    def __add__(self, other: object) -> Expr:
        return self._binary("add", other)

    def __radd__(self, other: object) -> Expr:
        return self._binary("add", other, swapped=True)

    def __sub__(self, other: object) -> Expr:
        return self._binary("sub", other)

    def __rsub__(self, other: object) -> Expr:
        return self._binary("sub", other, swapped=True)

    def __mul__(self, other: object) -> Expr:
        return self._binary("mul", other)

    def __rmul__(self, other: object) -> Expr:
        return self._binary("mul", other, swapped=True)

    def __truediv__(self, other: object) -> Expr:
        return self._binary("div", other)

    def __rtruediv__(self, other: object) -> Expr:
        return self._binary("div", other, swapped=True)

    def __neg__(self) -> Expr:
        return self.builder.apply("neg", self)

    def __pos__(self) -> Expr:
        return self

    def __abs__(self) -> Expr:
        return self.builder.apply("abs", self)

    def __pow__(self, exponent: object) -> Expr:
        if isinstance(exponent, bool) or not isinstance(exponent, int | float):
            raise TraceError(
                f"The exponent of a power is {exponent!r}: it must be a Python number.",
                "x ** h",
                "exp(h * log(x))                  # for x > 0",
            )
        return self.builder.apply("pow", self, exponent=float(exponent))

    def __rpow__(self, base: object) -> Expr:
        if isinstance(base, bool) or not isinstance(base, int | float) or base <= 0:
            raise TraceError(
                f"The base of a power is {base!r}: it must be an expression or a positive number.",
                "(-2) ** h",
                "2 ** h",
            )
        return self.builder.apply("exp", self * math.log(base))

    def __lt__(self, other: object) -> Expr:
        return self._binary("less", other)

    def __le__(self, other: object) -> Expr:
        return self._binary("less_equal", other)

    def __gt__(self, other: object) -> Expr:
        return self._binary("less", other, swapped=True)

    def __ge__(self, other: object) -> Expr:
        return self._binary("less_equal", other, swapped=True)

    def __eq__(self, other: object) -> Expr:  # type: ignore[override]
        return self._binary("equal", other)

    def __ne__(self, other: object) -> Expr:  # type: ignore[override]
        return 1.0 - self._binary("equal", other)

    def __bool__(self) -> NoReturn:
        raise TraceError(
            "A Python `if`, `while`, `and`, `or` or `not` asks for the truth of a value that is only known "
            "at run time, for every unit of every row.",
            "if h > 0:\n    h = a\nelse:\n    h = b",
            "h = where(h > 0, a, b)           # `and` is a product of comparisons, `not p` is 1 - p",
        )

    def __iter__(self) -> Iterator[Expr]:
        raise TraceError(
            "A value of the step is unpacked or iterated over: its units cannot be taken apart.",
            'i, f = linear("gates", x, h)',
            'i = linear("input", x, h)\nf = linear("forget", x, h)',
        )

    def __getitem__(self, key: object) -> NoReturn:
        raise TraceError(
            f"A value of the step is indexed with [{key!r}]: its units cannot be taken apart.",
            'gates = linear("gates", x, h)\ni = sigmoid(gates[:128])',
            'i = sigmoid(linear("input", x, h))',
        )

    def __float__(self) -> NoReturn:
        raise TraceError(
            "A Python or numpy function asks for the number behind a value that is only known at run time.",
            "math.tanh(h)",
            "from gatework import tanh\ntanh(h)",
        )

    __int__ = __float__
    __index__ = __float__
    __len__ = __float__

    def __matmul__(self, other: object) -> NoReturn:
        raise TraceError(
            "A matrix product is written with `@`: weights belong to a gate and have its name.",
            "h @ weight",
            'linear("candidate", x, h)',
        )

    __rmatmul__ = __matmul__

    @classmethod
    def __torch_function__(
        cls, func: object, types: object, args: object = (), kwargs: object = None
    ) -> NoReturn:
        raise TraceError(
            f"A torch function, {getattr(func, '__name__', func)}, is applied to a value of the step.",
            "torch.tanh(h)",
            "from gatework import tanh\ntanh(h)",
        )


def _refuse_memory() -> NoReturn:
    raise TraceError(
        "A memory takes part in arithmetic: it is a sequence, which only `attend` reads.",
        "h + memory",
        'h + attend("source", h, memory)',
    )
