"""Tags the words of texts by an exported tagger: a text a line in, a line of JSON out.

    python tag.py < texts.txt

It needs NumPy, and ONNX Runtime for an export to ONNX.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gatework.data.text_features import text_features
from gatework.data.word_features import feature_rows, token_features
from gatework.data.word_spans import word_spans
from gatework.tasks.programs.chain import best_path, log_partition, marginals
from gatework.tasks.programs.open_parts import open_parts
from gatework.tasks.programs.tables import Array, Tables
from gatework.tasks.programs.words import Words


class Tagger:
    """The network: its parts, joined.

    Args:
        parts: what runs them, of `onnx_parts` or `c_parts`.
        facts: of `model.json`.
    """

    def __init__(self, parts: Any, facts: Mapping[str, Any], tables: Tables) -> None:
        self.parts, self.facts, self.tables = parts, facts, tables
        self.words = Words(parts, facts["encoder"], tables)

    def scores(self, words: Sequence[str]) -> tuple[Array, Array]:
        """The scores of tags, (T, K), given the likeliest label, and of labels, (L,), which both are log-probabilities
        but for a constant."""
        facts, states = self.facts, self.words.states(words)
        steps = [self.parts.map("emission", {"state": state[None]}) for state in states]
        emissions = (
            np.stack([step["tags"][0] for step in steps]) if steps else np.zeros((0, len(facts["tags"])))
        )
        if facts["side_rows"]:
            rows = feature_rows(token_features(words, ahead=facts["ahead"]), facts["side_rows"])
            emissions = emissions + np.array([self.tables.rows("side", own).sum(0) for own in rows]).reshape(
                emissions.shape
            )
        labels = np.zeros(0)
        if facts["labels"]:
            attention = np.array([step["attention"][0, 0] for step in steps])
            chain, of_labels = self._own_chain(), self.tables["tags_of_labels"]
            sums = [log_partition(emissions + added, *chain) for added in of_labels.astype(np.float64)]
            labels = self._labels(words, states, emissions, attention) + sums
            emissions = emissions + of_labels[labels.argmax()]
        return emissions / facts["temperatures"][0], labels / facts["temperatures"][1]

    def _own_chain(self) -> list[Array]:
        """The learned scores of tags beside each other, of a first and of a last one; 0 of a softmax a word."""
        names, count = ("moves", "start", "end"), len(self.facts["tags"])
        if "moves" in self.tables:
            return [self.tables[name] for name in names]
        return [np.zeros((count, count) if name == "moves" else count) for name in names]

    def _labels(self, words: Sequence[str], states: Array, emissions: Array, attention: Array) -> Array:
        scores = self.tables["label_bias"]
        if words:
            likeliest = softmax(emissions).max(0)
            read = {"mean": softmax(attention) @ states, "highest": states.max(0), "likeliest": likeliest}
            scores = self.parts.map("label", {name: value[None] for name, value in read.items()})["output"][0]
        if self.facts["side_rows"]:
            features = text_features(words, self.facts["side_rows"])
            scores = scores + self.tables.rows("text_side", features).sum(0) / max(len(features), 1) ** 0.5
        return scores

    def tag(self, text: str | Sequence[str]) -> dict[str, Any]:
        """What is said of a text, or of a list of words: `output`, a tag for each of its `tokens`, `probabilities` of
        the tags, and a `label` with its `label_probability` where there are any."""
        words = [text[a:b] for a, b in word_spans(text)] if isinstance(text, str) else list(text)
        emissions, labels = self.scores(words)
        facts = self.facts
        allowed = [np.array(facts["allowed"][name], bool) for name in ("moves", "start", "end")]
        own = [part / facts["temperatures"][0] for part in self._own_chain()]
        moves, start, end = (np.where(a, s, -np.inf) for a, s in zip(allowed, own, strict=True))
        chain = emissions.astype(np.float64), moves, start, end
        path = best_path(*chain)
        shares = marginals(*chain)
        record: dict[str, Any] = {
            "output": [facts["tags"][tag] for tag in path],
            "tokens": words,
            "probabilities": [float(shares[step, tag]) for step, tag in enumerate(path)],
        }
        if facts["labels"]:
            of_labels = softmax(labels)
            record["label"] = facts["labels"][int(of_labels.argmax())]
            record["label_probability"] = float(of_labels.max())
        return record


def softmax(scores: Array) -> Array:
    """Along the last axis."""
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def load(folder: Path) -> Tagger:
    """The tagger of an export's folder."""
    facts = json.loads((folder / "model.json").read_text("utf-8"))
    tables = Tables((folder / "tables.bin").read_bytes(), facts["tables"])
    return Tagger(open_parts(folder), facts, tables)


def main() -> None:
    tagger = load(Path(__file__).resolve().parent)
    for line in sys.stdin:
        print(json.dumps(tagger.tag(line.rstrip("\n")), ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
