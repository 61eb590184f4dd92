"""The page of the figures, made from the committed results of the benchmarks.

    python docs/performance_page.py

`tests/test_documentation.py` fails where docs/performance.md is stale.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from performance_tables import percent, ratio, read, sources, table
from performance_tasks import memory, reasons, served, tasks

PAGE = Path(__file__).parent / "performance.md"
CELLS = {"lstm": "LSTM", "gru": "GRU", "elman": "RNN"}
SIZES = ("batch 1", "batch 8", "batch >=32")
MODES = ("forward", "training")
HEAD = """# How fast, and how good

<!-- Made by docs/performance_page.py from benchmarks/results. -->

Every figure here is read from a file of `benchmarks/results`; below each table stand the files, with machine, commit
and command. `benchmarks/README.md` says how each was measured: a result is checked before it is timed, and a peer takes
turns with ours in the same process.

**A ratio is the peer's time over ours**: above 1 ours is quicker, below 1 the peer is. Means of ratios are geometric.
Two ratios, `1.91 / 1.75`, are of the pass forward and of a training step.

In short: every cell is compiled for the processor, so that a GRU, an RNN and any cell of your own gain most. torch's
LSTM is itself one fused operator: beside it an LSTM gains at small batches and in training, and little or nothing at
large ones, where torch may be quicker (in bold). ONNX Runtime, which cannot train, is quicker than ours with an LSTM
forward over whole sequences, and slower step by step. On a GPU, LSTM, GRU and RNN layers run on cuDNN, and other cells
on a Python loop over the steps, which is slow.
"""


def summed(name: str, peer: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The summary of a result of the layers beside one peer: by cell, mode and rows of the batch."""
    rows = [row for row in read(name)["summary"] if row["peer"] == peer]
    return {
        (row["cell"], row["mode"], "worst" if row["of"].startswith("worst") else row["of"]): row
        for row in rows
    }


def beside(name: str, peer: str, modes: Sequence[str] = MODES) -> str:
    """Layers beside a peer: a row a cell, the means by batch and the worst single shape."""
    found = summed(name, peer)
    cells = list(dict.fromkeys(cell for cell, _, _ in found))
    columns = [size.replace(">=32", "32 and more") for size in SIZES] + [
        f"worst shape, {mode}" for mode in modes
    ]
    rows = []
    for cell in cells:
        means = [" / ".join(ratio(found[cell, mode, size]["ratio"]) for mode in modes) for size in SIZES]
        worst = [found[cell, mode, "worst"] for mode in modes]
        shapes = [f"{ratio(row['ratio'])} ({row['of'].removeprefix('worst: ')})" for row in worst]
        rows.append([CELLS.get(cell, f"`{cell}`"), *means, *shapes])
    return table(["", *columns], rows)


def layers() -> str:
    """Layers beside torch.nn and ONNX Runtime."""
    own = read("layers_compiled")["summary"]
    compiled = {row["mode"]: row["ratio"] for row in own if row["of"].startswith("batch")}
    names = ("layers_avx2", "layers_avx512", "layers_avx2_of_avx512")
    drawn = ("layers_random_avx2", "layers_random_avx512")
    return f"""
## Layers beside torch.nn

Seven usual shapes, 1 to 64 rows, 50 or 100 steps, 32 to 512 units, float32. A shape is rows × steps × inputs × units.

On an AMD EPYC, AVX2:

{beside("layers_avx2", "torch")}

On an Intel Xeon, AVX-512:

{beside("layers_avx512", "torch")}

On the same Xeon, both held to AVX2:

{beside("layers_avx2_of_avx512", "torch")}

{sources(*names)}

## Shapes drawn at random

Twenty shapes that no table of ours was made for. AVX2:

{beside(drawn[0], "torch")}

AVX-512:

{beside(drawn[1], "torch")}

{sources(*drawn)}

## Layers beside ONNX Runtime

It has no training, so that only the pass forward can be compared. AVX2:

{beside("layers_avx2", "onnx", ("forward",))}

AVX-512:

{beside("layers_avx512", "onnx", ("forward",))}

At random shapes, AVX2 and AVX-512:

{beside(drawn[0], "onnx", ("forward",))}

{beside(drawn[1], "onnx", ("forward",))}

The files are those above.

## Cells of your own

A cell that torch has no operator for is, in torch, a loop over the steps. These cells beside that loop:

{beside("layers_own", "eager")}

An LSTM's loop that `torch.compile` has compiled takes {compiled["forward"]:.2f} times our time forward, and
{compiled["training"]:.2f} times in training (the mean of 32x50x32x64 and 64x50x512x512).

{sources("layers_own", "layers_compiled")}
"""


def steps() -> str:
    """One step at a time, and the weights of a stream in fewer bits."""
    rows = [
        (
            kind,
            CELLS[row["cell"]],
            str(row["hidden"]),
            *(f"{row[name]:.1f}" for name in ("llvm", "onnx", "torch cell")),
        )
        for kind, name in (("AVX2", "layers_avx2"), ("AVX-512", "layers_avx512"))
        for row in read(name)["step"]
    ]
    streams = [
        (
            kind,
            str(row["threads"]),
            str(row["hidden"]),
            *(f"{row[name]:.0f}" for name in ("full", "bf16", "int8", "quantize_dynamic")),
        )
        for kind, name in (("AVX2", "stream_weights"), ("AVX-512", "stream_weights_avx512"))
        for row in read(name)["times"]
    ]
    words = {row["weights"]: row["perplexity"] for row in read("stream_weights")["perplexities"]}
    return f"""
## Streams: a step at a time

Microseconds for a step of one row; torch's is `LSTMCell` or `GRUCell`, ONNX Runtime's a session of one step:

{table(["", "cell", "units", "Gatework", "ONNX Runtime", "torch"], rows)}

{sources("layers_avx2", "layers_avx512")}

With weights in 16 or 8 bits, microseconds for a step of an LSTM, beside torch's dynamic quantisation to 8 bits:

{table(["", "threads", "units", "float32", "bfloat16", "8 bits", "torch, 8 bits"], streams)}

A word language model's perplexity is {words["full"]:.2f} in float32, {words["bf16"]:.2f} in bfloat16 and
{words["int8"]:.2f} in 8 bits.

{sources("stream_weights", "stream_weights_avx512")}
"""


def lengths() -> str:
    """Ragged batches, fixed costs and memory."""
    ragged = [
        (
            row["B, T, H"].replace(", ", "x"),
            row["mode"],
            percent(row["share"]),
            *(f"{row[name]:.0f}" for name in ("padded", "ragged", "torch packed")),
        )
        for row in read("layers")["ragged"]
    ]
    fixed = [
        (
            row["layer"],
            row["mode"],
            f"{row['gatework (us)']:.0f}",
            f"{row['torch (us)']:.0f}",
            ratio(row["torch over gatework"]),
        )
        for row in read("step_cost")["results"]
    ]
    peak = [
        (
            row["layer"],
            "x".join(str(row[name]) for name in ("rows", "steps", "hidden")),
            f"{row['llvm']:.0f}",
            f"{row['torch']:.0f}",
        )
        for row in read("layer_quality")["memory"]
    ]
    recording = [
        (
            row["cell"],
            "x".join(str(row[name]) for name in ("rows", "steps", "units")),
            f"{row['alone (ms)']:.2f}",
            f"{row['recorded (ms)']:.2f}",
            percent(row["cost (%)"] / 100),
        )
        for row in read("recording")["results"]
    ]
    return f"""
## Sequences of different lengths

An LSTM; milliseconds for a batch of which a share of the steps is data, padded or with its lengths, beside torch's
packed sequences:

{table(["rows x steps x units", "", "data", "padded", "with lengths", "torch, packed"], ragged)}

{sources("layers")}

## Fixed costs and memory

Microseconds for a layer with next to no arithmetic:

{table(["", "", "Gatework", "torch", "ratio"], fixed)}

MiB that a training step takes at most:

{table(["", "rows x steps x units", "Gatework", "torch"], peak)}

{sources("step_cost", "layer_quality")}

## Recording

Milliseconds of a forward pass of training, alone and while `gw.record` keeps every gate and state, by the processor's
time. What training keeps anyway costs nothing more; what is left is about half a millisecond a call, whatever its size:

{table(["", "rows x steps x units", "alone", "recorded", "more"], recording)}

{sources("recording")}
"""


def models() -> str:
    """Models as people write them, before and after gw.replace."""
    kinds = (("AVX2", "models_avx2"), ("AVX-512", "models_avx512"))
    columns, rows = [""], {}
    for kind, name in kinds:
        for threads in (1, 2):
            columns.append(f"{kind}, {threads} thread{'s' if threads > 1 else ''}")
            for row in read(name)["summary"]:
                if row["threads"] == threads:
                    rows.setdefault(row["model"], []).append(" / ".join(ratio(row[mode]) for mode in MODES))
    return f"""
## Whole models, before and after `gw.replace`

Models as people write them in plain torch, forward / training:

{table(columns, [(model, *cells) for model, cells in rows.items()])}

Models that call a cell step by step from Python, and decoders with attention written by hand, gain little or nothing.

{sources(*(name for _, name in kinds))}
"""


def trainings() -> str:
    """What a task takes beside the same network with torch's layers."""
    rows = []

    def add(what: str, found: dict[str, Any]) -> None:
        rows.append((what, f"{found['ours_ms']:.0f}", f"{found['theirs_ms']:.0f}", ratio(found["ratio"])))

    for cell in ("lstm", "gru"):
        for part in ("training", "prediction"):
            add(f"classifier, {CELLS[cell]}, {part}", read("classification_speed")[cell][part])
            add(f"tagger, {CELLS[cell]}, {part}", read("tagging_speed")[cell][part])
        add(f"reader, {CELLS[cell]}, training", read("reading_speed")[cell])
        add(f"transcriber, {CELLS[cell]} of 128, training", read("speech_speed")["results"][f"{cell}_128"])
        add(
            f"synthesizer, {CELLS[cell]} of 128, training",
            read("speech_synthesis_speed")["results"][f"{cell}_128"],
        )
    add("tagger's CRF", read("tagging_speed")["crf"])
    for segment, found in read("forecasting_speed")["training"]["gru"].items():
        add(f"forecaster, GRU, {segment}, training", found["network"])
    speed = read("translation_speed")["results"]
    for part in ("training", "decoder", "greedy", "beam"):
        given = speed[part]
        rows.append(
            (
                f"translator, {part}",
                f"{1000 * given['gatework']:.0f}",
                f"{1000 * given['torch']:.0f}",
                ratio(given["ratios"]["torch"]),
            )
        )
    loop = read("loop_overhead")["shapes"]
    share = ", ".join(f"{percent(found['ratio'] - 1)} ({shape})" for shape, found in loop.items())
    kills = read("kill_resume")
    names = (
        "classification_speed",
        "tagging_speed",
        "reading_speed",
        "speech_speed",
        "speech_synthesis_speed",
    )
    return f"""
## Tasks beside the same network with torch's layers

Milliseconds for the same batches, with the same weights:

{table(["", "Gatework", "torch", "ratio"], sorted(rows))}

The training loop takes longer than a bare loop of torch by {share}. Of {kills["kills"]} trainings that were killed
at a random moment and taken up again, {kills["equal"]} ended with the weights of one that was left alone.

{sources(*names, "forecasting_speed", "translation_speed", "loop_overhead", "kill_resume")}
"""


def page() -> str:
    """The whole page."""
    parts = (layers, steps, lengths, models, trainings, tasks, memory, reasons, served)
    return HEAD + "".join(part() for part in parts)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
