"""Figures of texts: BLEU, chrF and exact match, how different outputs are from one another, and likelihood."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from gatework.errors import InputError, MissingExtraError

__all__ = [
    "bits_per_character",
    "corpus_figures",
    "distinct",
    "diversity_figures",
    "likelihood_figures",
    "most_common_share",
    "scorers",
    "signatures",
]

_LARGEST_EXPONENT = 700.0  # of a float


def corpus_figures(outputs: Sequence[str], references: Sequence[str], tokenize: str) -> dict[str, float]:
    """bleu and chrf (0 to 100, as sacrebleu computes them: Post 2018), exact_match (a share).

    Args:
        outputs: a text an example; at least one.
        references: as many texts.
        tokenize: sacrebleu's tokenizer for BLEU; `none` takes the texts as tokens with spaces between them.

    Raises:
        MissingExtraError, InputError: as `scorers`.
    """
    bleu, chrf = scorers(tokenize)
    equal = sum(
        output.strip() == reference.strip() for output, reference in zip(outputs, references, strict=True)
    )
    return {
        # Rounding leaves a perfect score a little above 100.
        "bleu": min(float(bleu.corpus_score(list(outputs), [list(references)]).score), 100.0),
        "chrf": min(float(chrf.corpus_score(list(outputs), [list(references)]).score), 100.0),
        "exact_match": equal / len(references),
    }


def signatures(tokenize: str) -> dict[str, str]:
    """How bleu and chrf are computed, in sacrebleu's words.

    Raises:
        MissingExtraError, InputError: as `scorers`.
    """
    described = {}
    for name, scorer in zip(("bleu", "chrf"), scorers(tokenize), strict=True):
        score = scorer.corpus_score(["a"], [["a"]])  # a signature is known once something was scored
        described[name] = f"{score.name}|{scorer.get_signature()}"
    return described


def distinct(outputs: Sequence[str], n: int) -> float:
    """The share of different n-grams of words among all n-grams of the outputs (Li et al. 2016)."""
    grams: list[tuple[str, ...]] = []
    for output in outputs:
        words = output.split()
        grams += [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def most_common_share(outputs: Sequence[str]) -> float:
    """The share of the outputs that are the most frequent one. At least one output."""
    ((_, count),) = Counter(outputs).most_common(1)
    return count / len(outputs)


def diversity_figures(outputs: Sequence[str]) -> dict[str, float]:
    """How different the outputs are from one another: distinct_1, distinct_2, most_common_share."""
    return {
        "distinct_1": distinct(outputs, 1),
        "distinct_2": distinct(outputs, 2),
        "most_common_share": most_common_share(outputs),
    }


def likelihood_figures(total: float, count: int) -> dict[str, float]:
    """loss (nats a token) and perplexity.

    Args:
        total: the loss in nats, summed over the tokens.
        count: of the tokens, at least 1.
    """
    loss = total / count
    return {"loss": loss, "perplexity": math.exp(min(loss, _LARGEST_EXPONENT))}


def bits_per_character(total: float, characters: int) -> float:
    """A summed loss in nats as bits a character of the text."""
    return total / math.log(2) / characters


def scorers(tokenize: str) -> tuple[Any, Any]:
    """sacrebleu's BLEU, with this tokenizer, and chrF.

    Raises:
        MissingExtraError: sacrebleu is not installed.
        InputError: the tokenizer needs a package that is not installed.
    """
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ModuleNotFoundError as error:
        raise MissingExtraError("sacrebleu", "tasks") from error
    try:
        return BLEU(tokenize=tokenize, force=True), CHRF()
    except (ImportError, RuntimeError) as error:
        what = f"sacrebleu's tokenizer {tokenize} needs a package that is not installed"
        fix = f"Install it (pip install 'sacrebleu[{tokenize[:2]}]'), or take another bleu_tokenize."
        raise InputError("option bleu_tokenize", what, fix) from error
