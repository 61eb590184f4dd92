"""Problems that need a long memory, or the tracking of a state: batches drawn by a seed.

A problem draws a batch and scores a network's outputs. Where the sources leave a choice, it stands here.
"""

from __future__ import annotations

import itertools
import math
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

LENGTHS = (40, 80, 160, 400)
"""Where state tracking is tested; it is trained at the first of them."""


@dataclass(frozen=True)
class Batch:
    """Examples of one length.

    Attributes:
        inputs: (T, B, inputs) in float32.
        targets: (S, B) classes, or (S, B) numbers, for the last S steps.
    """

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Problem(ABC):
    """What is to be learned.

    Attributes:
        name: `adding_200`: what it is called by, in flags and results.
        lag: steps between what is to be remembered and where it is needed.
        inputs, outputs: widths of the network's.
        layers, units: of the recurrent network that is to learn it.
        chance: the figure of who remembers nothing.
        solved: the figure from which on a training has nothing more to learn.
        better: whether a higher figure is better, or a lower one.
        source: who posed it.
    """

    name: str
    lag: int
    inputs: int = 0
    outputs: int = 0
    layers: int = 2
    units: int = 64
    chance: float = 0.0
    solved: float = 0.99
    better: Literal["higher", "lower"] = field(default="higher", init=False)
    source: str = field(default="", init=False)

    @abstractmethod
    def draw(self, rows: int, generator: torch.Generator) -> Batch:
        """Training, validation and test examples alike."""

    def draw_test(self, rows: int, generator: torch.Generator) -> Batch:
        """What is tested on; longer than the training examples where the problem says so."""
        return self.draw(rows, generator)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Of the outputs of the last S steps, (S, B, outputs)."""
        return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())

    def figure(self, outputs: Tensor, targets: Tensor) -> float:
        """What the problem is judged by: the share of right classes."""
        return (outputs.argmax(-1) == targets).float().mean().item()

    def test_figures(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Figures by name of the test examples."""
        return {self.name: self.figure(outputs, targets)}

    def skill(self, figure: float) -> float:
        """A figure between chance, 0, and perfect, 1."""
        perfect = 1.0 if self.better == "higher" else 0.0
        return min(1.0, max(0.0, (figure - self.chance) / (perfect - self.chance)))

    def is_solved(self, figure: float) -> bool:
        return figure >= self.solved if self.better == "higher" else figure <= self.solved


def _one_hot(symbols: Tensor, count: int) -> Tensor:
    return functional.one_hot(symbols, count).float()


def _randint(low: int, high: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(low, high, shape, generator=generator)


@dataclass(frozen=True)
class Adding(Problem):
    """The sum of the two numbers that a second row marks, one in each half (Hochreiter & Schmidhuber 1997, section 5.4,
    in the form of Le et al. 2015): mean squared error, 1/6 for who always says 1."""

    inputs: int = 2
    outputs: int = 1
    layers: int = 1
    chance: float = 1 / 6
    solved: float = 1e-3
    better: Literal["higher", "lower"] = field(default="lower", init=False)
    source: str = field(default="Hochreiter & Schmidhuber 1997; Le et al. 2015", init=False)

    def draw(self, rows: int, generator: torch.Generator) -> Batch:
        numbers = torch.rand(self.lag, rows, generator=generator)
        half = self.lag // 2
        first = _randint(0, half, (1, rows), generator)
        second = _randint(half, self.lag, (1, rows), generator)
        marks = torch.zeros(self.lag, rows).scatter_(0, torch.cat([first, second]), 1.0)
        return Batch(torch.stack([numbers, marks], -1), (numbers * marks).sum(0, keepdim=True))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.mse_loss(outputs.squeeze(-1), targets)

    def figure(self, outputs: Tensor, targets: Tensor) -> float:
        return self.loss(outputs, targets).item()


@dataclass(frozen=True)
class Copying(Problem):
    """Ten symbols of eight, said again after so many blanks (Hochreiter & Schmidhuber 1997; Arjovsky et al. 2016)."""

    inputs: int = 10
    outputs: int = 8
    units: int = 128
    chance: float = 1 / 8
    source: str = field(default="Hochreiter & Schmidhuber 1997; Arjovsky et al. 2016", init=False)

    def draw(self, rows: int, generator: torch.Generator) -> Batch:
        symbols = _randint(0, 8, (10, rows), generator)
        blanks = torch.full((self.lag + 10, rows), 8)
        blanks[self.lag - 1] = 9  # now
        return Batch(_one_hot(torch.cat([symbols, blanks]), 10), symbols)


@dataclass(frozen=True)
class TemporalOrder(Problem):
    """In which order two of X and Y stood among distractors (Hochreiter & Schmidhuber 1997, section 5.6, task 6a): the
    first in the second tenth of the steps, the second in the sixth."""

    inputs: int = 8  # B, E, a, b, c, d, X, Y
    outputs: int = 4
    chance: float = 1 / 4
    source: str = field(default="Hochreiter & Schmidhuber 1997, task 6a", init=False)

    def draw(self, rows: int, generator: torch.Generator) -> Batch:
        symbols = _randint(2, 6, (self.lag, rows), generator)
        symbols[0], symbols[-1] = 0, 1
        tenth = self.lag // 10
        which = _randint(0, 2, (2, rows), generator)
        places = torch.stack(
            [
                _randint(tenth, 2 * tenth, (rows,), generator),
                _randint(5 * tenth, 6 * tenth, (rows,), generator),
            ]
        )
        symbols.scatter_(0, places, 6 + which)
        return Batch(_one_hot(symbols, 8), (2 * which[0] + which[1])[None])


_REBER = (
    (("T", 1), ("P", 2)),
    (("S", 1), ("X", 3)),
    (("T", 2), ("V", 4)),
    (("X", 2), ("S", 5)),
    (("P", 3), ("V", 5)),
)
"""Reber's grammar without its B and E: from a state by a letter to the next; 5 ends."""
_LETTERS = "BEPSTVX"


def _reber(chooser: random.Random) -> str:
    state, letters = 0, "B"
    while state != 5:
        letter, state = _REBER[state][chooser.getrandbits(1)]
        letters += letter
    return letters + "E"


@dataclass(frozen=True)
class EmbeddedReber(Problem):
    """The last letter but one of a string of the embedded Reber grammar, which is the second again (Hochreiter &
    Schmidhuber 1997, section 5.1): between the two stand strings of Reber's grammar, one after another, and the outer
    letters come `lag` steps apart. The network predicts every next letter; judged is the one that needs the memory."""

    inputs: int = 7
    outputs: int = 7
    chance: float = 1 / 2
    source: str = field(default="Hochreiter & Schmidhuber 1997, section 5.1", init=False)

    def draw(self, rows: int, generator: torch.Generator) -> Batch:
        chooser = random.Random(int(_randint(0, 2**31, (1,), generator)))
        number = {letter: index for index, letter in enumerate(_LETTERS)}
        strings = torch.tensor([[number[letter] for letter in self._string(chooser)] for _ in range(rows)]).T
        return Batch(_one_hot(strings[:-1], 7), strings[1:])

    def _string(self, chooser: random.Random) -> str:
        outer, inner = chooser.choice("TP"), ""
        while len(inner) != self.lag - 1:  # drawn again where the strings do not fill it
            inner = "" if len(inner) > self.lag - 1 else inner + _reber(chooser)
        return f"B{outer}{inner}{outer}E"

    def figure(self, outputs: Tensor, targets: Tensor) -> float:
        letters = [_LETTERS.index(letter) for letter in "TP"]
        said = torch.tensor(letters)[outputs[-2, :, letters].argmax(-1)]
        return (said == targets[-2]).float().mean().item()


@dataclass(frozen=True)
class Permutations(Problem):
    """Which order of n things so many swaps of neighbours make, said at every step: the word problem of the symmetric
    group (Barrington 1989; Merrill et al. 2024, arXiv:2404.08819). Of two things it is parity. A step's letter is one
    of the n - 1 swaps, or none. Trained at 40 steps; the same 400 steps are tested at 40, 80, 160 and 400, as the share
    of right orders in the ten steps before.
    """

    things: int = 2
    solved: float = 0.9995
    source: str = field(default="Merrill et al. 2024", init=False)

    def draw(self, rows: int, generator: torch.Generator) -> Batch:
        return self._of_length(LENGTHS[0], rows, generator)

    def draw_test(self, rows: int, generator: torch.Generator) -> Batch:
        return self._of_length(LENGTHS[-1], rows, generator)

    def _of_length(self, steps: int, rows: int, generator: torch.Generator) -> Batch:
        letters = _randint(0, self.things, (steps, rows), generator)
        follows, order, said = _following(self.things), torch.zeros(rows, dtype=torch.long), []
        for letter in letters:
            order = follows[order, letter]
            said.append(order)
        return Batch(_one_hot(letters, self.things), torch.stack(said))

    def test_figures(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        return {
            f"{self.name}_{length}": self.figure(outputs[length - 10 : length], targets[length - 10 : length])
            for length in LENGTHS
        }


@cache
def _following(things: int) -> Tensor:
    """The number of the order that a letter makes of an order: (orders, letters). Letter 0 changes nothing, letter k
    swaps the things at k - 1 and k."""
    orders = list(itertools.permutations(range(things)))
    number = {order: index for index, order in enumerate(orders)}
    rows = []
    for order in orders:
        swapped = [order] + [
            (*order[: k - 1], order[k], order[k - 1], *order[k + 1 :]) for k in range(1, things)
        ]
        rows.append([number[each] for each in swapped])
    return torch.tensor(rows)


def _permutations(name: str, things: int, units: int) -> Permutations:
    count = math.factorial(things)
    return Permutations(name, LENGTHS[0], things, count, units=units, chance=1 / count, things=things)


PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        *(Adding(f"adding_{lag}", lag) for lag in (200, 1000, 5000)),
        *(Copying(f"copying_{lag}", lag) for lag in (100, 500)),
        TemporalOrder("temporal_order_200", 200),
        EmbeddedReber("reber_50", 50),
        _permutations("parity", 2, 64),
        _permutations("s3", 3, 64),
        _permutations("s5", 5, 128),
    )
}


def shown_names(problem: Problem) -> list[str]:
    """The names of the figures that a problem is tested by."""
    if isinstance(problem, Permutations):
        return [f"{problem.name}_{length}" for length in LENGTHS]
    return [problem.name]
