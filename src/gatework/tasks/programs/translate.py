"""Translates texts, or replies to them, by an exported encoder-decoder: a line in, a line out.

    python translate.py < texts.txt
    python translate.py --beam 5 --alternatives 3 < texts.txt

It needs NumPy, and ONNX Runtime for an export to ONNX.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gatework.tasks.programs.open_parts import open_parts
from gatework.tasks.programs.search import Array, Hypothesis, beam_search
from gatework.tasks.programs.tokens import Tokens


class EncoderDecoder:
    """The network: its parts, joined.

    Args:
        parts: what runs them, of `onnx_parts` or `c_parts`.
        facts: of `model.json`.
    """

    def __init__(self, parts: Any, facts: Mapping[str, Any]) -> None:
        self.parts, self.facts = parts, facts

    def start(self, source: Sequence[int]) -> DecoderRows:
        """The decoder before its first step, after the encoder has read a source's ids."""
        given, states = self.parts.sequence("encoder", np.array(source))
        summary = {name: states[name][None] for name in self.parts.facts["bridge"]["reads"]}
        made = self.parts.map("bridge", summary)
        memory, static = self.facts["memory"], self.facts["summary"]
        stream = self.parts.stream(
            "decoder",
            {memory: given["output"]} if memory else {},
            {static: made.pop(static)[0]} if static else {},
        )
        for name, value in made.items():
            stream.set(name, value)
        upper = self.parts.stream("upper") if "upper" in self.parts.facts else None
        return DecoderRows(self.parts, self.facts, stream, upper)


class DecoderRows:
    """A decoder's rows of states: what `search.Decoder` asks for."""

    def __init__(self, parts: Any, facts: Mapping[str, Any], stream: Any, upper: Any | None) -> None:
        self.parts, self.facts, self.stream, self.upper = parts, facts, stream, upper

    def step(self, tokens: Array) -> tuple[Array, Array | None]:
        """Log-probabilities, (N, V), and the step's attention weights, (N, S)."""
        made = self.stream.step(tokens)
        logits = made["output"]
        if self.upper is not None:
            above = self.upper.step(self.stream.get(self.facts["decoder_output"]))["output"]
            logits = self.parts.map("readout", {"below": logits, "above": above})["output"]
        largest = logits.max(axis=1, keepdims=True)
        total = np.log(np.exp((logits - largest).astype(np.float64)).sum(axis=1, keepdims=True))
        return logits - largest - total, made.get(self.facts["alignment"])

    def select(self, index: Array) -> None:
        """Row n becomes row index[n] of those before."""
        self.stream.select(index)
        if self.upper is not None:
            self.upper.select(index)


class Translator:
    """From text to text.

    Args:
        tokenizers: of the source and of the target.
    """

    def __init__(self, network: EncoderDecoder, tokenizers: tuple[Tokens, Tokens]) -> None:
        self.network, self.tokenizers = network, tokenizers

    def translate(self, text: str | Sequence[str], **settings: Any) -> list[tuple[str, Hypothesis]]:
        """The outputs, best first, as text and as tokens.

        Args:
            text: or the turns of a conversation so far, where the network is a chat bot's.
            settings: of `beam_search`; by default a beam of 5.
        """
        facts = self.network.facts
        own, target = self.tokenizers
        source = self.source_text(text)
        if not source.strip():  # nothing is answered with nothing
            return [("", Hypothesis((), 0.0, 0.0, None))]
        ids, pieces = own.encode(source)
        ids = [*ids, len(own.tokens)]  # the boundary, which begins and ends every sequence
        end = len(target.tokens)
        banned = [] if facts["alignment"] or target.unknown is None else [target.unknown]
        chosen = {"beam": 5, "length": 2 * len(ids) + 20, "banned": banned, **settings}
        found = beam_search(self.network.start(ids), end, end=end, **chosen)
        return [(self.text_of(hypothesis, pieces), hypothesis) for hypothesis in found]

    def source_text(self, text: str | Sequence[str]) -> str:
        """The text that the network reads: of turns the last ones, each marked with who spoke."""
        turns = self.network.facts.get("turns")
        if turns is None:
            return text if isinstance(text, str) else " ".join(text)
        talk = [text] if isinstance(text, str) else text
        last = [" ".join(turn.split()) for turn in talk[-turns["most"] :]]
        if not last or not last[-1]:  # nothing was said to reply to
            return ""
        marks = [turns["marks"][(len(last) - place) % 2 == 0] for place in range(len(last))]
        return "\n".join(mark + turn for mark, turn in zip(marks, last, strict=True) if turn)

    def text_of(self, hypothesis: Hypothesis, pieces: Sequence[str]) -> str:
        """An output's text. An unknown token is the source's piece that its step attends to most."""
        target, weights = self.tokenizers[1], hypothesis.alignment
        tokens = [token for token in hypothesis.tokens if token != len(target.tokens)]
        instead = {}
        visible = np.array([bool(piece.strip()) for piece in pieces])
        if weights is not None and visible.any():
            for place, token in enumerate(tokens):
                if token == target.unknown:
                    own = np.where(visible, weights[place, : len(pieces)], -1.0)
                    instead[place] = pieces[int(own.argmax())]
        return target.decode(tokens, instead)


def load(folder: Path) -> Translator:
    """The translator of an export's folder."""
    facts = json.loads((folder / "model.json").read_text("utf-8"))
    tokenizers = [
        Tokens(json.loads((folder / own["file"]).read_text("utf-8")), own["kind"], own["lowercase"])
        for own in facts["tokenizers"]
    ]
    network = EncoderDecoder(open_parts(folder), facts)
    return Translator(network, (tokenizers[0], tokenizers[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--beam", type=int, default=5, help="hypotheses of the search; 1: greedy")
    parser.add_argument("--length-penalty", type=float, default=1.0)
    parser.add_argument("--alternatives", type=int, default=1, help="outputs of a text, with their scores")
    given = parser.parse_args()
    translator = load(Path(__file__).resolve().parent)
    settings = {name: getattr(given, name) for name in ("beam", "length_penalty", "alternatives")}
    for line in sys.stdin:
        for output, hypothesis in translator.translate(line.rstrip("\n"), **settings):
            print(f"{hypothesis.score:.4f}\t{output}" if given.alternatives > 1 else output, flush=True)


if __name__ == "__main__":
    main()
