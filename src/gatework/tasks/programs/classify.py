"""Classifies texts or sequences of numbers by an exported classifier: a line in, a line of JSON out.

    python classify.py < texts.txt

A line is a text, or, for a classifier of numbers, a JSON list of numbers or of rows of numbers, one a step. It needs
NumPy, and ONNX Runtime for an export to ONNX.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gatework.data.sequence_statistics import sequence_statistics
from gatework.data.text_features import text_features
from gatework.data.word_spans import word_spans
from gatework.tasks.programs.open_parts import open_parts
from gatework.tasks.programs.tables import Array, Tables
from gatework.tasks.programs.tokens import Tokens
from gatework.tasks.programs.words import Words


class Classifier:
    """The network: its parts, joined.

    Args:
        parts: what runs them, of `onnx_parts` or `c_parts`.
        facts: of `model.json`.
        tokenizer: where the tokens are byte pairs.
    """

    def __init__(
        self, parts: Any, facts: Mapping[str, Any], tables: Tables, tokenizer: Tokens | None = None
    ) -> None:
        self.parts, self.facts, self.tables, self.tokenizer = parts, facts, tables, tokenizer
        self.words = Words(parts, facts["encoder"], tables) if facts["encoder"] else None

    def scores(self, given: Any) -> Array:
        """The scores of the labels, (K,), calibrated, of a text or of the rows of a sequence."""
        facts = self.facts
        states, side = self._read_text(given) if self.words is not None else self._read_numbers(given)
        scores: Array = self.parts.map("scores", {"pooled": self._pooled(states)[None]})["output"][0] + side
        return scores / facts["temperature"] + np.array(facts["bias"] or 0.0)

    def _read_text(self, text: str) -> tuple[Array, Array | float]:
        tokens = self._cut(self._tokens(text)) or [""]  # a text without a token is one of an unknown token
        states, side = self.words.states(tokens), 0.0  # type: ignore[union-attr]
        if not self.facts["side_rows"]:
            return states, side
        features = text_features(self._cut([text[a:b] for a, b in word_spans(text)]), self.facts["side_rows"])
        total = self.tables.rows("side", features).sum(0)
        return states, total * (self.facts["side_scale"] / max(len(features), 1) ** 0.5)

    def _read_numbers(self, given: Any) -> tuple[Array, Array | float]:
        values = np.asarray(given, np.float64)
        values = values[:, None] if values.ndim == 1 else values
        read = self._scaled(values, "steps").astype(np.float32)
        states: Array = self.parts.sequence("layers", read)[0]["output"]
        if not self.facts["statistics"]:
            return states, 0.0
        statistics = self._scaled(sequence_statistics(values), "statistics")
        return states, self.tables["side"] @ statistics

    def _scaled(self, values: Array, what: str) -> Array:
        means, deviations, farthest = self.facts[what]
        return np.clip((values - np.array(means)) / np.array(deviations), -farthest, farthest)

    def _tokens(self, text: str) -> list[str]:
        kind = self.facts["tokens"]
        if kind == "word":
            return [text[a:b] for a, b in word_spans(text)]
        return list(text) if self.tokenizer is None else self.tokenizer.written(text)

    def _cut(self, tokens: list[str]) -> list[str]:
        """Of a long text the first and the last tokens."""
        most = self.facts["most"]
        half = most // 2
        return tokens if len(tokens) <= most else [*tokens[: most - half], *tokens[len(tokens) - half :]]

    def _pooled(self, states: Array) -> Array:
        ways = []
        for name in self.facts["pooling"]:
            if name == "attention":
                scores = self.parts.map("attention", {"state": states})["output"][:, 0]
                weights = np.exp(scores - scores.max())
                ways.append(weights @ states / weights.sum())
            elif name == "last":
                half = states.shape[1] // 2
                both = self.facts["directions"] == 2
                ways.append(np.concatenate([states[-1, :half], states[0, half:]]) if both else states[-1])
            else:
                ways.append(states.max(0) if name == "max" else states.mean(0))
        return np.concatenate(ways)

    def classify(self, given: Any) -> dict[str, Any]:
        """What is said of a text, or of the steps of a sequence.

        Returns:
            `output`, the `probability` of the likeliest label, and the `probabilities` of all.
        """
        facts, scores = self.facts, self.scores(given).astype(np.float64)
        powers = np.exp(scores - scores.max())
        shares = 1 / (1 + np.exp(-scores)) if facts["several"] else powers / powers.sum()
        order = np.argsort(-shares, kind="stable")
        found: Any = facts["labels"][order[0]]
        if facts["several"]:
            given_all = shares >= np.array(facts["thresholds"] or 0.5)
            found = [facts["labels"][label] for label in order if given_all[label]]
        return {
            "output": found,
            "probability": float(shares[order[0]]),
            "probabilities": dict(zip(facts["labels"], shares.tolist(), strict=True)),
        }


def load(folder: Path) -> Classifier:
    """The classifier of an export's folder."""
    facts = json.loads((folder / "model.json").read_text("utf-8"))
    tables = Tables((folder / "tables.bin").read_bytes(), facts["tables"])
    tokenizer = None
    if facts["tokens"] == "bpe":
        file = json.loads((folder / "tokenizer.json").read_text("utf-8"))
        tokenizer = Tokens(file, "bpe", facts["tokenizer_lowercase"])
    return Classifier(open_parts(folder), facts, tables, tokenizer)


def main() -> None:
    classifier = load(Path(__file__).resolve().parent)
    for line in sys.stdin:
        given = line.rstrip("\n") if classifier.words is not None else json.loads(line)
        print(json.dumps(classifier.classify(given), ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
