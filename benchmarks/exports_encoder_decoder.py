"""An encoder-decoder's export: sizes of its parts for each target, and a decoder step's time beside the network's own.

    python benchmarks/exports_encoder_decoder.py [--out benchmarks/results/exports_encoder_decoder.json]

The network has the sizes of `gatework demo`: characters, 128 units, attention over a source of 30 tokens. Its example
is built for each target and run, and must print the tokens that the network's own greedy search finds. A step is timed
for one row on this machine alone: the C function, ONNX Runtime on one thread, and the network's own step,
in turns; the best of each is told.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from exports import BUILT, run, seconds_of
from machine import machine

import gatework as gw
from gatework.cli.demos.dates import OPTIONS
from gatework.data import Tokenizer
from gatework.export.driver import onnx_parts
from gatework.export.exportable import export_task
from gatework.export.files import ExportOptions
from gatework.seq2seq import EncoderDecoder
from gatework.tasks.encoder_decoder.exported import exported_parts
from gatework.tasks.encoder_decoder.vocabulary import Vocabulary
from gatework.tasks.programs.translate import EncoderDecoder as JoinedParts

SOURCE = 30  # tokens
CLOCK = """
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>
#include "decoder.h"
#define STEPS 30
int main(void) {
    static float memory[STEPS * DECODER_MEMORY], keys[DECODER_MEMORY_KEYS(STEPS)];
    static float weights[STEPS], context[DECODER_MEMORY];
    static float state[DECODER_STATE], output[DECODER_OUTPUT], scratch[DECODER_SCRATCH(STEPS)];
    double best = 1e9;
    decoder_start(state);
    decoder_attend_memory(memory, STEPS, keys);
    for (int round = 0; round < 20; round++) {
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        for (int k = 0; k < 200; k++) decoder_step(1, memory, keys, STEPS, state, output, context, weights, scratch);
        clock_gettime(CLOCK_MONOTONIC, &b);
        double took = ((b.tv_sec - a.tv_sec) + (b.tv_nsec - a.tv_nsec) * 1e-9) / 200;
        if (took < best) best = took;
    }
    printf("%.9g\\n", best);
}
"""


def network() -> tuple[EncoderDecoder, tuple[Vocabulary, Vocabulary]]:
    """The demo's, with drawn weights."""
    torch.manual_seed(0)
    letters = "".join(map(chr, range(97, 97 + 120)))
    source, target = (Vocabulary(Tokenizer.train("character", [text])) for text in (letters, "0123456789-"))
    made = EncoderDecoder(
        gw.cells.get("gru"),
        gw.cells.get("bahdanau_gru"),
        source_vocabulary=source.size,
        target_vocabulary=target.size,
        embedding_size=OPTIONS["embedding_size"],
        hidden_size=OPTIONS["hidden_size"],
    ).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(3)
    return made, (source, target)


def greedy(model: EncoderDecoder, ids: list[int], ends: tuple[int, int]) -> list[int]:
    found: list[int] = []
    with torch.inference_mode():
        state = model.start(torch.tensor([[*ids, ends[0]]]).T, torch.tensor([len(ids) + 1]))
        for _ in range(2 * len(ids) + 22):
            _, best, state = model.best(torch.tensor([[ends[1], *found][-1]]), state, 1, ())
            if int(best) == ends[1]:
                break
            found.append(int(best))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, both = network()
    given = exported_parts(model, both, {})
    ends = both[0].boundary, both[1].boundary
    random = np.random.default_rng(0)
    sources = [random.integers(0, ends[0], size).tolist() for size in (SOURCE - 1, 7, 1)]
    text = "".join(" ".join(map(str, ids)) + "\n" for ids in sources)
    wanted = [greedy(model, ids, ends) for ids in sources]
    records: list[dict[str, Any]] = []
    best = dict.fromkeys(("c", "onnx", "network"), float("inf"))
    with tempfile.TemporaryDirectory() as base:
        for target, (compiler, emulator) in BUILT.items():
            if not shutil.which([*compiler, *emulator][0]):
                continue
            for weights in ("float32", "int8"):
                folder = Path(base) / f"{target}-{weights}"
                made = export_task(given, folder, "c", ExportOptions(target=target, weights=weights))  # type: ignore[arg-type]
                if target.startswith("thumb"):  # which processors it is for, that a Linux program is not
                    for file in folder.glob("*.o"):
                        run("arm-linux-gnueabihf-objcopy", "-R", ".ARM.attributes", file)
                run(*compiler, folder / "main.c", *folder.glob("*.o"), "-o", folder / "translate")
                printed = run(*emulator, folder / "translate", given=text)
                equal = [list(map(int, line.split())) for line in printed.splitlines()] == wanted
                if weights == "float32" and not equal:
                    raise SystemExit(f"{target} prints other tokens than the network's search finds")
                sizes = {name: getattr(made, name) for name in ("code_bytes", "data_bytes", "memory_bytes")}
                records.append({"target": target, "weights": weights, "same_tokens": equal, **sizes})
                print(json.dumps(records[-1]))
        folder = Path(base) / "native-float32"
        (folder / "clock.c").write_text(CLOCK)
        run("gcc", "-O2", folder / "clock.c", folder / "decoder.o", "-o", folder / "clock")
        onnx = export_task(given, Path(base) / "onnx", "onnx", ExportOptions()).folder
        ids, tokens = [*sources[0], ends[0]], torch.tensor([1])
        rows = JoinedParts(onnx_parts.from_folder(onnx), given.facts).start(ids)
        with torch.inference_mode():
            state = model.start(torch.tensor([ids]).T, torch.tensor([len(ids)]))
            for _ in range(5):
                best["c"] = min(best["c"], float(run(folder / "clock")))
                best["onnx"] = min(best["onnx"], seconds_of(lambda: rows.stream.step(tokens.numpy()), 50, 5))
                best["network"] = min(best["network"], seconds_of(lambda: model.step(tokens, state), 50, 5))
    print(json.dumps(best))
    result = {"machine": machine(), "source_tokens": SOURCE, "records": records, "step_seconds": best}
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
