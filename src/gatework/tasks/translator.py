"""The translator: pairs of texts in, a translation for every source out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from gatework.baselines import Copy
from gatework.data import Pair
from gatework.metrics.text import corpus_figures, signatures
from gatework.tasks.pair_task import PairTask
from gatework.tasks.translation_options import (
    SourceText,
    Translation,
    TranslationSettings,
    TranslatorOptions,
)

__all__ = ["Translator"]


class Translator(PairTask):
    """An encoder-decoder with attention over pairs of texts (Bahdanau et al. 2014).

    >>> model = Translator(epochs=10).fit(["train.en", "train.de"], valid=["dev.en", "dev.de"], out="runs/en-de")
    >>> model.predict("How are you?", beam=5)[0]["output"]

    The options are the fields of `TranslatorOptions`, the settings of `predict` those of `TranslationSettings`.
    Data is a table with the columns `source` and `target`, or two parallel text files. Without validation data
    5 % of the pairs are held back, drawn by the seed.
    """

    name: ClassVar[str] = "translator"
    Options = TranslatorOptions
    Settings = TranslationSettings
    Input = SourceText
    Output = Translation
    columns: ClassVar[tuple[str, ...]] = ("source", "target")

    options_: TranslatorOptions

    def _quick_figures(self) -> dict[str, float]:
        """Of greedy translations of some of the validation data."""
        if self.options_.select_by == "loss":
            return {}
        some = self._valid[: self.options_.validation_sentences]
        settings = self._read_settings({"beam": 1})
        outputs = self._answering().texts([pair.source for pair in some], settings)
        figures = corpus_figures(outputs, [pair.target for pair in some], self.options_.bleu_tokenizer)
        return {**figures, "objective": -figures["bleu"]}

    def _figures(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        tokenize = self.options_.bleu_tokenizer
        sources, references = [pair.source for pair in pairs], [pair.target for pair in pairs]
        outputs = self._answering().texts(sources, self._read_settings({}))
        model = {**self._likelihood(pairs), **corpus_figures(outputs, references, tokenize)}
        copy = corpus_figures(Copy().predict(sources), references, tokenize)
        return {
            "model": model,
            "baseline": copy,
            "baselines": {"copy": copy},
            "examples": len(pairs),
            "signatures": signatures(tokenize),
        }
