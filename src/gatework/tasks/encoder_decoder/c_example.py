"""The example in C of an exported encoder-decoder: a greedy search, from ids to ids."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from string import Template
from typing import Any

from gatework.export.maps import VectorMap
from gatework.export.native.layout import interface
from gatework.export.network import Network, Part

__all__ = ["c_example"]

_TEXT = Template("""\
/* The likeliest translation of token numbers, found greedily: a line of the source's in, a line of the target's out.

   cc -O2 main.c $objects -o translate

   The numbers are those of the tokenizers' files; the token that ends a source or a target is left out. */
#include <stdio.h>
#include <stdlib.h>
$includes

#define MOST 512  /* tokens of a source, with the one that ends it */
#define SOURCE_END $source_end
#define TARGET_END $target_end  /* it begins the target, too */

static size_t source[MOST];
static float encoded[MOST * ENCODER_OUTPUT];
static float encoder_state[ENCODER_STATE], encoder_scratch[$encoder_scratch];
static float bridge_scratch[BRIDGE_SCRATCH];
static float decoder_state[$decoder_state], decoder_scratch[$decoder_scratch], logits[$logits];
$arrays

/* Reads a line of numbers: how many; -1 at the end of the input. */
static long read_line(void) {
    long count = 0;
    for (;;) {
        int next = getchar();
        if (next == EOF) return count ? count : -1;
        if (next == '\\n') return count;
        if (next == ' ') continue;
        ungetc(next, stdin);
        if (count == MOST - 1 || scanf("%zu", source + count) != 1 || source[count] >= ENCODER_TOKENS) {
            fprintf(stderr, "give at most %d token numbers a line, from 0 to %d\\n", MOST - 1, ENCODER_TOKENS - 1);
            exit(1);
        }
        count++;
    }
}

int main(void) {
    for (long count = read_line(); count >= 0; count = read_line()) {
        size_t steps = (size_t)count, token = TARGET_END;
        source[steps++] = SOURCE_END;
        encoder_start(encoder_state);
        encoder_sequence(source, steps, encoder_state, encoded, encoder_scratch);
        decoder_start(decoder_state$steps);
        bridge_map($bridge, bridge_scratch);
$begin
        for (size_t length = 0; length < 2 * steps + 20; length++) {
            decoder_step($step);
$above
            size_t best = 0;
            for (size_t k = 1; k < $logits; k++)
                if (${known}logits[k] > logits[best]) best = k;
            token = best;
            if (token == TARGET_END) break;
            printf("%zu ", token);
        }
        printf("\\n");
        fflush(stdout);
    }
    return 0;
}
""")


def c_example(
    parts: Sequence[Part], facts: Mapping[str, Any], ends: tuple[int, int], unknown: int | None
) -> str:
    """main.c of an encoder-decoder.

    Args:
        ends: the tokens that end a source and a target; the latter begins it, too.
        unknown: the token that is never taken where nothing can stand for it; None where there is none.

    Raises:
        TypeError: the parts are not those of an encoder-decoder.
    """
    by_name = {part.name: part for part in parts}
    bridge, decoder, encoder = by_name["bridge"], by_name["decoder"], by_name["encoder"]
    if not (isinstance(bridge, VectorMap) and isinstance(decoder, Network) and isinstance(encoder, Network)):
        raise TypeError("the bridge of an encoder-decoder is a map, its encoder and its decoder are networks")
    takes, memory, summary, upper = (
        interface(decoder, 1),
        facts["memory"],
        facts["summary"],
        "upper" in by_name,
    )
    arrays, begin, above = [], [], []
    step = ["token", *([summary] if summary else [])]
    if memory:
        keys = f"DECODER_{memory.upper()}_KEYS(MOST)"
        arrays.append(f"static float keys[{keys}];")
        step += ["encoded", "keys", "steps"]
        if takes.keys_width(memory):
            begin.append(f"        decoder_attend_{memory}(encoded, steps, keys);")
    if summary:
        arrays.append(f"static float {summary}[BRIDGE_{summary.upper()}];")
    own = "logits" if not upper else "below"
    step += ["decoder_state", own]
    for name, units, _ in takes.emits:
        arrays.append(f"static float {name}_out[{'MOST' if units is None else units}];")
        step.append(f"{name}_out")
    if upper:
        arrays += [
            "static float below[DECODER_OUTPUT], above[UPPER_OUTPUT];",
            "static float upper_state[UPPER_STATE], upper_scratch[UPPER_SCRATCH], readout_scratch[READOUT_SCRATCH];",
        ]
        begin.append("        upper_start(upper_state);")
        above = [
            f"            upper_step({_state('decoder', facts['decoder_output'])}, upper_state, above, upper_scratch);",
            "            readout_map(below, above, logits, readout_scratch);",
        ]
    given = [summary if name == summary else _state("decoder", name) for name in bridge.gives]
    counted = "(MOST)" if takes.state.by_steps else ""
    banned = unknown is not None and not facts["alignment"]
    return _TEXT.substitute(
        objects=" ".join(f"{name}.o" for name in by_name),
        includes="\n".join(f'#include "{name}.h"' for name in by_name),
        source_end=ends[0],
        target_end=ends[1],
        encoder_scratch="ENCODER_SEQUENCE_SCRATCH(MOST)"
        if encoder.stack.bidirectional
        else "ENCODER_SCRATCH",
        decoder_state=f"DECODER_STATE{counted}",
        decoder_scratch=f"DECODER_SCRATCH{'(MOST)' if memory else ''}",
        logits="READOUT_OUTPUT" if upper else "DECODER_OUTPUT",
        arrays="\n".join(arrays),
        steps=", steps" if takes.state.by_steps else "",
        bridge=", ".join([*(_state("encoder", name) for name in bridge.reads), *given]),
        begin="\n".join(begin),
        step=", ".join([*step, "decoder_scratch"]),
        above="\n".join(above),
        known=f"k != {unknown} && " if banned else "",
    )


def _state(part: str, name: str) -> str:
    """The address of a state, `h_l0_reverse`, in the array of all states."""
    found = re.fullmatch(r"(.+)_(l\d+(?:_reverse)?)", name)
    if found is None:
        raise ValueError(f"{name} is no name of a state of a layer")
    return f"{part}_state + {part.upper()}_STATE_{found[2].upper()}_{found[1].upper()}"
