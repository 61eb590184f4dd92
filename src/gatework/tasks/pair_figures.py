"""Likelihood; BLEU, chrF and exact match, as sacrebleu computes them, with the signatures that say how; how many
different things are said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gatework.errors import MissingExtraError

__all__ = ["corpus_figures", "distinct", "likelihood_figures", "signatures"]


def _metrics(tokenize: str) -> tuple[Any, Any]:
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ModuleNotFoundError as error:
        raise MissingExtraError("sacrebleu", "tasks") from error
    return BLEU(tokenize=tokenize, force=True), CHRF()


def corpus_figures(outputs: Sequence[str], references: Sequence[str], tokenize: str) -> dict[str, float]:
    """bleu and chrf (0 to 100), exact_match (a share).

    Args:
        tokenize: sacrebleu's tokenizer for BLEU; `none` takes the texts as tokens with spaces between them.
    """
    bleu, chrf = _metrics(tokenize)
    same = sum(
        output.strip() == reference.strip() for output, reference in zip(outputs, references, strict=True)
    )
    return {
        "bleu": float(bleu.corpus_score(list(outputs), [list(references)]).score),
        "chrf": float(chrf.corpus_score(list(outputs), [list(references)]).score),
        "exact_match": same / len(references),
    }


def signatures(tokenize: str) -> dict[str, str]:
    """How bleu and chrf are computed, in sacrebleu's words."""
    found = {}
    for name, metric in zip(("bleu", "chrf"), _metrics(tokenize), strict=True):
        scored = metric.corpus_score(["a"], [["a"]])  # a signature is known once something was scored
        found[name] = f"{scored.name}|{metric.get_signature()}"
    return found


def likelihood_figures(total: float, count: int) -> dict[str, float]:
    """loss (nats a token) and perplexity, of a loss summed over so many tokens."""
    loss = total / count
    return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}


def distinct(outputs: Sequence[str], n: int) -> float:
    """The share of different n-grams of words among all n-grams of the outputs (Li et al. 2016)."""
    grams: list[tuple[str, ...]] = []
    for output in outputs:
        words = output.split()
        grams += [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0
