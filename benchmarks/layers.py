"""One recurrent layer on the engine beside its peers: forward, training, ragged batches, single steps.

    python benchmarks/layers.py [--cells lstm,gru] [--shapes 32x100x128x128,…] [--peers torch,eager,jax,onnx,compiled]
                                [--suite short|full] [--random 20 --seed 1] [--isa avx512|avx2|sse2] [--seconds 0.5]
                                [--ragged] [--step] [--out FILE]

Shapes are BxTxIxH, in float32. `--random` measures shapes drawn by a seed instead of a suite. `--isa` holds the engine
and its peers to one instruction set that this machine has (but ONNX Runtime, which cannot be told). Every contestant is
first compared with the float64 reference; then all take turns, and a ratio is the peer's median time over the engine's.
"""

from __future__ import annotations

import argparse
import copy
import gc
import itertools
import math
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import isa
import numpy as np
import torch
from commands import write_report
from machine import machine
from peak import peak_gflops
from peers import PEERS, Absent, Contestant, engine, onnx_session, reference
from rich.console import Console
from rich.table import Table
from shapes import CLASSES, FULL, SHORT, Shape, drawn

import gatework as gw
from gatework.backends.llvm.codegen import target

OF_TORCH = ("lstm", "gru", "elman")
CELLS = (*OF_TORCH, "layer_norm_lstm", "peephole_lstm", "coupled_lstm", "minimal_gated_unit", "slstm")
TOLERANCE = 1e-3  # relative to the largest entry
_SLICE, _IDLE, _MOST_WAIT = (
    0.01,
    0.05,
    0.5,
)  # seconds; the share of a slice that an idle process may use; seconds

# (peer, cell) to ratios asked for: batch 1 forward and training, batch 8, batch 32 and more, worst single shape.
ASKED = ("1", "8", ">=32")
OWN = (20, 20, 8, 8, 3, 3.5, 2)
TARGETS: dict[tuple[str, str], Sequence[float]] = {
    ("torch", "lstm"): (2, 2, 1.4, 1.5, 1.2, 1.15, 0.95),
    ("torch", "gru"): (3, 8, 3, 4, 2.2, 2, 1.3),
    ("torch", "elman"): (3, 8, 2.5, 4, 2, 2, 1.2),
    **{("onnx", cell): (1.1, 0, 1.1, 0, 1.1, 0, 0.8) for cell in ("lstm", "gru")},
    **{("jax", cell): (2, 2, 2, 2, 2, 2, 1) for cell in ("lstm", "gru")},
    **{("eager", cell): OWN for cell in CELLS if cell not in OF_TORCH},
    **{("compiled", cell): (3, 3, 2, 2, 1.5, 1.5, 1) for cell in CELLS},
}


def check(contestant: Contestant, output: np.ndarray, gradient: np.ndarray) -> None:
    """Refuses a contestant with other numbers than the reference's."""
    pairs = [("output", contestant.forward(), output)]
    if contestant.training is not None:
        pairs.append(("gradient", contestant.training(), gradient))
    for label, got, expected in pairs:
        array = np.asarray(got.detach() if isinstance(got, torch.Tensor) else got)
        difference = np.abs(array - expected).max() / max(np.abs(expected).max(), 1e-12)
        if not difference <= TOLERANCE:  # NaN is refused too
            raise SystemExit(f"{contestant.name} is wrong: its {label} differs by {difference:.1e}")


def wait_until_idle() -> None:
    """Returns when this process uses no processor: ONNX Runtime's threads spin for some 50 ms after their work."""
    begin = time.perf_counter()
    used = _SLICE
    while used > _IDLE * _SLICE and time.perf_counter() - begin < _MOST_WAIT:
        before = time.process_time()
        time.sleep(_SLICE)
        used = time.process_time() - before


def timed(
    calls: dict[str, Callable[[], Any]],
    seconds: float,
    rounds: int = 5,
    idle: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Milliseconds of every call, in turns of shuffled order, until the time is used and every call has its rounds.

    Args:
        idle: before a sample, wait until the threads of the one before have stopped spinning; a call that is not timed
            then wakes this one's own. Where no threads take part there need not be a wait.
        clock: seconds; `time.process_time` leaves out, of one thread, the time that other processes had its core.
    """
    rest = wait_until_idle if idle else lambda: None
    times: dict[str, list[float]] = {name: [] for name in calls}
    repeat: dict[str, int] = {}
    for name, call in calls.items():
        rest()
        call()
        tries = []
        for _ in range(3):
            start = clock()
            call()
            tries.append(clock() - start)
        repeat[name] = max(1, math.ceil(3e-3 / min(tries)))
    begin, turn, shuffle = time.perf_counter(), 0, random.Random(0)
    least = 3 if sum(repeat.values()) == len(calls) else rounds
    while turn < least or (time.perf_counter() - begin < seconds and turn < 50):
        for name in shuffle.sample(list(calls), len(calls)):
            rest()
            calls[name]()
            start = clock()
            for _ in range(repeat[name]):
                calls[name]()
            times[name].append((clock() - start) * 1e3 / repeat[name])
        turn += 1
    return times


def measure(cell: str, shape: Shape, peers: Iterable[str], seconds: float) -> dict[str, Any]:
    """Times of one cell and shape, by mode and contestant."""
    rows, steps, width, hidden = shape
    torch.manual_seed(0)
    layer = gw.Recurrent(cell, width, hidden)
    x = torch.randn(steps, rows, width)
    witness = reference(copy.deepcopy(layer).double(), x.double())
    assert witness.training is not None
    output, gradient = witness.forward().numpy(), witness.training().numpy()
    contestants, absent = [engine(layer, x)], {}
    for peer in peers:
        if (peer == "eager" and cell in OF_TORCH) or (peer == "compiled" and shape[1] > 50):
            continue
        try:
            contestants.append(PEERS[peer](copy.deepcopy(layer), x))
        except Absent as reason:
            absent[peer] = str(reason)
    for contestant in contestants:
        check(contestant, output, gradient)
    found: dict[str, Any] = {"cell": cell, "shape": shape, "absent": absent}
    for mode in ("forward", "training"):
        calls = {c.name: getattr(c, mode) for c in contestants if getattr(c, mode) is not None}
        times = timed(calls, seconds)
        found[mode] = {
            name: {"median": statistics.median(own), "quartiles": statistics.quantiles(own, n=4)[::2]}
            for name, own in times.items()
        }
    return found


def ratios(results: Sequence[dict[str, Any]], peer: str, mode: str) -> dict[Shape, float]:
    """Shape to the peer's time over the engine's."""
    return {
        tuple(each["shape"]): each[mode][peer]["median"] / each[mode]["llvm"]["median"]
        for each in results
        if peer in each[mode]
    }


def geometric_mean(values: Iterable[float]) -> float:
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))


def summary(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Geometric means of each peer's ratios by batch class, and the worst shape, beside what is asked for."""
    rows = []
    for peer, cell in {(peer, each["cell"]): None for each in results for peer in each["forward"]}:
        if peer == "llvm":
            continue
        own = [each for each in results if each["cell"] == cell]
        asked = TARGETS.get((peer, cell))
        for number, mode in enumerate(("forward", "training")):
            found = ratios(own, peer, mode)
            for position, (label, holds) in enumerate(CLASSES.items()):
                values = [ratio for shape, ratio in found.items() if holds(shape[0])]
                if values:
                    target = asked[2 * position + number] if asked and label in ASKED else None
                    rows.append(_row(peer, cell, mode, f"batch {label}", geometric_mean(values), target))
            if found:
                worst = min(found, key=lambda shape: found[shape])
                label = "worst: " + "x".join(map(str, worst))
                rows.append(_row(peer, cell, mode, label, found[worst], asked[6] if asked else None))
    return rows


def _row(peer: str, cell: str, mode: str, of: str, ratio: float, target: float | None) -> dict[str, Any]:
    met = None if not target else ratio >= target
    return {"peer": peer, "cell": cell, "mode": mode, "of": of, "ratio": ratio, "target": target, "met": met}


def roofline(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The share of the arithmetic peak that the products alone reach, at batch 32 and more, hidden 256 to 512."""
    peak = peak_gflops("float32", target.host())
    shares = []
    for each in results:
        rows, steps, width, hidden = each["shape"]
        if rows < 32 or hidden not in (256, 512):
            continue
        gates = len([b for b in gw.cells.get(each["cell"]).graph.blocks if b.slot == "hh"])
        outer, loop = (2 * steps * rows * gates * hidden * size for size in (width, hidden))
        # Training: both products forward, the loop's backward, and the gradients of both weights.
        work = {"forward": outer + loop, "training": 2 * outer + 3 * loop}
        shares.append(
            {
                "cell": each["cell"],
                "shape": each["shape"],
                **{m: work[m] / each[m]["llvm"]["median"] / 1e6 / peak for m in work},
                "asked": "0.85, 0.78",
            }
        )
    return {"peak_gflops": peak, "shares": shares}


def ragged() -> list[dict[str, Any]]:
    """A ragged LSTM batch against its share of the padded cost, and against a PackedSequence on torch."""
    found = []
    for rows, steps, hidden in ((32, 1000, 128), (64, 1000, 256)):
        torch.manual_seed(0)
        ours, theirs = gw.LSTM(hidden, hidden), torch.nn.LSTM(hidden, hidden)
        theirs.load_state_dict(ours.state_dict())
        x, lengths = torch.randn(steps, rows, hidden), torch.randint(1, steps + 1, (rows,))
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        share = lengths.sum().item() / (steps * rows)

        def train(call: Callable[[], torch.Tensor]) -> Callable[[], None]:
            return lambda: call().sum().backward()

        calls: dict[str, Callable[[], torch.Tensor]] = {
            "padded": lambda ours=ours, x=x: ours(x)[0],
            "ragged": lambda ours=ours, x=x, lengths=lengths: ours(x, lengths=lengths)[0],
        }
        with torch.no_grad(), gw.backend("llvm"):
            mine = torch.nn.utils.rnn.pack_padded_sequence(calls["ragged"](), lengths, enforce_sorted=False)
            if not (mine.data - theirs(packed)[0].data).abs().max() <= TOLERANCE:
                raise SystemExit("the ragged batch is wrong: it differs from torch's PackedSequence")
        other = lambda theirs=theirs, packed=packed: theirs(packed)[0].data  # noqa: E731
        with gw.backend("llvm"):
            with torch.no_grad():
                forward = timed({**calls, "torch packed": other}, 3.0)
            training = timed({name: train(call) for name, call in calls.items()}, 3.0)
        start = time.perf_counter()
        train(other)()  # one round: it takes many seconds
        training["torch packed"] = [(time.perf_counter() - start) * 1e3]
        for mode, times, asked in (("forward", forward, 2.5), ("training", training, 50)):
            medians = {name: statistics.median(own) for name, own in times.items()}
            over = medians["ragged"] / medians["padded"] / share
            packed = medians["torch packed"] / medians["ragged"]
            entry: dict[str, Any] = {"B, T, H": f"{rows}, {steps}, {hidden}", "mode": mode, "share": share}
            entry |= medians | {"over share": over, "asked": 1.15 if rows >= 64 else 1.5}
            found.append(entry | {"times packed": packed, "asked of packed": asked})
    return found


def fresh_lengths(
    rows: int = 32, steps: int = 60, hidden: int = 64, seconds: float = 3.0
) -> list[dict[str, Any]]:
    """Ragged LSTM batches whose lengths are new at every call, as in training, beside lengths seen before."""
    torch.manual_seed(0)
    layer, x = gw.LSTM(hidden, hidden), torch.randn(steps, rows, hidden)

    def drawn() -> torch.Tensor:
        lengths = torch.randint(1, steps + 1, (rows,))
        lengths[0] = steps
        return lengths

    seen = [drawn() for _ in range(16)]
    turns = itertools.cycle(seen)
    calls: dict[str, Callable[[], torch.Tensor]] = {
        "seen": lambda: layer(x, lengths=next(turns))[0],
        "fresh": lambda: layer(x, lengths=drawn())[0],
    }
    found = []
    with gw.backend("llvm"):
        for lengths in seen:
            own = layer(x, lengths=lengths)[0]
            one = lengths.argmin()
            alone = layer(x[: lengths[one], one : one + 1])[0]
            if not torch.equal(own[: lengths[one], one], alone[:, 0]):
                raise SystemExit("the ragged batch is wrong: a row's numbers are not those of the row alone")
        with torch.no_grad():
            forward = timed(calls, seconds)
        training = timed(
            {name: lambda call=call: call().sum().backward() for name, call in calls.items()}, seconds
        )
    for mode, times in (("forward", forward), ("training", training)):
        medians = {name: statistics.median(own) for name, own in times.items()}
        over = medians["fresh"] / medians["seen"]
        found.append(
            {"B, T, H": f"{rows}, {steps}, {hidden}", "mode": mode, **medians, "over": over, "asked": 1.15}
        )
    return found


def one_step() -> list[dict[str, Any]]:
    """Microseconds of one step at batch 1 through Python, each contestant carrying its own state."""
    found = []
    for cell in ("lstm", "gru"):
        for hidden, asked in ((32, 0.5), (128, 0.5), (256, 0.8)):
            torch.manual_seed(0)
            layer, x = gw.Recurrent(cell, hidden, hidden), torch.randn(1, hidden)
            single = (torch.nn.LSTMCell if cell == "lstm" else torch.nn.GRUCell)(hidden, hidden)
            single.load_state_dict(
                {key.removesuffix("_l0"): value for key, value in layer.state_dict().items()}
            )
            session = onnx_session(layer, 1, 1, state=True)
            with gw.backend("llvm"):
                stream = layer.stream()
            count = len(layer.stack.graph.states)
            names = ["Y_h", "Y_c"][:count]
            kept = {"X": x.numpy()[None]} | {
                f"initial_{letter}": np.zeros((1, 1, hidden), np.float32) for letter in "hc"[:count]
            }
            carried: list[Any] = [(torch.zeros(1, hidden),) * 2 if cell == "lstm" else torch.zeros(1, hidden)]

            def onnx(session: Any = session, names: Any = names, kept: Any = kept) -> Any:
                states = session.run(names, kept)
                for letter, state in zip("hc", states, strict=False):
                    kept[f"initial_{letter}"] = state
                return states[0][0]

            def torch_cell(single: Any = single, x: Any = x, carried: Any = carried) -> Any:
                carried[0] = single(x, carried[0])
                return carried[0][0] if isinstance(carried[0], tuple) else carried[0]

            calls = {
                "llvm": lambda stream=stream, x=x: stream.step(x),
                "onnx": onnx,
                "torch cell": torch_cell,
            }
            with torch.no_grad():
                for _ in range(5):
                    steps = {name: torch.as_tensor(call()).clone() for name, call in calls.items()}
                for name, value in steps.items():
                    if not (value - steps["torch cell"]).abs().max() <= TOLERANCE:
                        raise SystemExit(f"{name} is wrong: its fifth step differs")
                times = timed(calls, 2.0)
            medians = {name: statistics.median(own) * 1e3 for name, own in times.items()}
            ratio = medians["llvm"] / medians["onnx"]
            found.append({"cell": cell, "hidden": hidden, **medians, "of onnx": ratio, "asked": asked})
    return found


def show(console: Console, title: str, rows: Sequence[dict[str, Any]]) -> None:
    """A table of dictionaries."""
    if not rows:
        return
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(table)


def shape_of(text: str) -> Shape:
    rows, steps, width, hidden = (int(part) for part in text.split("x"))
    return rows, steps, width, hidden


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", default="lstm,gru")
    parser.add_argument("--shapes")
    parser.add_argument("--peers", default="torch,eager,jax,onnx", help="compiled takes minutes a shape")
    parser.add_argument("--suite", choices=("short", "full"), default="short")
    parser.add_argument("--random", type=int, metavar="N", help="measure N shapes drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the shapes drawn at random")
    parser.add_argument("--isa", choices=isa.NAMES, help="instruction set; by default the widest")
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--ragged", action="store_true")
    parser.add_argument("--step", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    isa.start_at(options.isa)
    gc.disable()  # no collection falls into somebody's sample
    cells = CELLS if options.cells == "all" else options.cells.split(",")
    shapes = [shape_of(text) for text in options.shapes.split(",")] if options.shapes else SHORT
    if options.suite == "full" and not options.shapes:
        shapes = FULL
    if options.random:
        shapes = drawn(options.random, options.seed)
    console = Console()
    results = []
    for cell in cells:
        for shape in shapes:
            found = measure(cell, shape, options.peers.split(","), options.seconds)
            results.append(found)
            line = f"{cell} {'x'.join(map(str, shape))}:"
            for mode in ("forward", "training"):
                own = found[mode]["llvm"]["median"]
                others = (f"{n} {t['median'] / own:.2f}" for n, t in found[mode].items() if n != "llvm")
                line += f"  {mode} {own:.3f} ms, times as long: {', '.join(others)};"
            console.print(line, highlight=False, soft_wrap=True)
    here = machine()
    on = f"{here['cpu']} (family {here['family']}, model {here['model']}), {here['isa']}"
    report = {
        "machine": here,
        "drawn": {"shapes": options.random, "seed": options.seed} if options.random else None,
        "results": results,
        "summary": summary(results),
        "roofline": roofline(results),
        "ragged": ragged() if options.ragged else [],
        "fresh_lengths": fresh_lengths() if options.ragged else [],
        "step": one_step() if options.step else [],
    }
    show(console, f"Geometric means: the peer's time over the engine's, on {on}", report["summary"])
    show(
        console,
        f"Share of the peak, {report['roofline']['peak_gflops']:.0f} GFLOP/s, on {on}",
        report["roofline"]["shares"],
    )
    show(console, "Ragged batches (ms)", report["ragged"])
    show(console, "Ragged batches with new lengths at every call (ms)", report["fresh_lengths"])
    show(console, "One step (microseconds)", report["step"])
    if options.out:
        write_report(options.out, report)


if __name__ == "__main__":
    main()
