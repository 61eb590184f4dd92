"""Typed names of the arrays that a step reads and writes.

A user's names and those that passes and the engine make are of different kinds, so that no name of a cell can meet
one of theirs.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

Kind = Literal[
    # what a cell declares
    "input",  # one vector a step, (T, B, size)
    "static",  # one vector for the whole sequence, (B, size)
    "memory",  # a sequence to attend to, (S, B, size)
    "state",  # what a step hands to the next one; among a graph's outputs, its new value
    "emit",  # a value that is given beside the output
    # what a pass hands to another graph
    "hoisted",  # computed outside the loop, from inputs alone
    "saved",  # computed by the forward step, read by the backward one
    "old",  # a state before the step, read by the backward step
    "new",  # a state after the step, read by the backward step
    # gradients, by what they are gradients of
    "input_gradient",
    "static_gradient",
    "memory_gradient",  # one of its parts, which `slot` numbers
    "state_gradient",
    "emit_gradient",
    "output_gradient",  # of the first state, at every step
    "hoisted_gradient",
    "weight_gradient",  # of the block of a gate (`name`) in a slot
    "bias_gradient",
    "vector_gradient",
    # what the backward step writes at every step, to be summed over steps and rows
    "weight_flow",  # gradient of the product with a block; `operand` is what it is multiplied with
    "operand",
    "bias_flow",
    "vector_flow",
    "static_flow",
    "memory_weights",  # of a memory's steps; `memory_values` is what they weigh
    "memory_values",
    # arrays of a call
    "parameter",  # `weight_SLOT`, `bias_SLOT` or a learned vector
    "parameter_gradient",
    "history",  # a state before the first step and after every one
    "final",  # a state after each row's last step
    "output",  # a copy of the first state after every step, for the caller
    "final_gradient",
    "hoisted_input_gradient",  # of an input, by the program outside the loop; added to that by the loop
    "lengths",  # steps that exist of each row's memory
    "attended_rows",  # which row of the memories each row of the call reads
    "kept",  # all that training keeps for backward, in one array
    "handed_on",  # what a single step's backward makes for the gradients of its weights, in one array
    # arrays of a program
    "bias",
    "vector",
    "packed",  # weight blocks, as products read them
    "scale",  # of each row of packed blocks of whole numbers
    "scratch",
    "sum",  # parts of a reduction over the units
    "scalar",  # a row's own number
    # memory of the engine's own
    "workspace",  # needed only during the call
    "unit",  # a single 1
]

CELL_KINDS = ("input", "static", "memory")
"""Of the inputs that a cell may declare."""

_GRADIENTS: dict[Kind, Kind] = {
    "input": "input_gradient",
    "static": "static_gradient",
    "memory": "memory_gradient",
    "state": "state_gradient",
    "emit": "emit_gradient",
    "hoisted": "hoisted_gradient",
    "parameter": "parameter_gradient",
    "final": "final_gradient",
}


class ArrayKey(NamedTuple):
    """The name of an array.

    Attributes:
        kind: what sort of array it is; the same name in another kind is another array.
        name: a cell's name for it, a gate, or a number that a pass gives.
        slot: of a weight block or a bias; the number of a part of a memory's gradient.
    """

    kind: Kind
    name: str
    slot: str = ""

    @property
    def gradient(self) -> ArrayKey:
        """The key of its gradient."""
        return ArrayKey(_GRADIENTS[self.kind], self.name, self.slot)

    def __str__(self) -> str:
        """As a graph is printed: `hoisted_0`, `state_gradient_h`."""
        return "_".join(part for part in (self.kind, self.slot, self.name) if part)


KINDS: tuple[str, ...] = get_args(Kind)
