"""The translator: pairs of texts in, a translation for every source out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, RootModel

from gatework.baselines import Baseline, Copy
from gatework.data import read_pairs
from gatework.metrics.figure import Figure
from gatework.metrics.text import corpus_figures, scorers, signatures
from gatework.tasks.encoder_decoder.options import EncoderDecoderOptions, SearchRecord, SearchSettings
from gatework.tasks.encoder_decoder.task import EncoderDecoderTask
from gatework.tasks.example_task import Example

__all__ = ["SourceText", "Translation", "TranslationSettings", "Translator", "TranslatorOptions"]


class TranslatorOptions(EncoderDecoderOptions):
    """How a translator is made and trained."""

    bleu_tokenize: Literal["13a", "intl", "char", "zh", "ja-mecab", "none"] | None = Field(
        None, description="sacrebleu's tokenizer for BLEU (none given: 13a, or none where tokens are words)"
    )
    select_by: Literal["bleu", "chrf", "exact_match", "loss"] = Field(
        "bleu",
        description="the figure of the validations that picks the checkpoint and is compared with `target`",
    )
    validation_sentences: int = Field(
        500, ge=1, description="of the validation data are translated each time"
    )

    @property
    def bleu_tokenizer(self) -> str:
        """sacrebleu's name of it."""
        return self.bleu_tokenize or ("none" if self.tokenizer == "word" else "13a")


class TranslationSettings(SearchSettings):
    """How a text is translated."""


class SourceText(RootModel[str]):
    """One input of `predict`: the text to translate."""


class Translation(SearchRecord):
    """One output of `predict`: the translation is its `output`."""

    input: str


class Translator(EncoderDecoderTask):
    """An encoder-decoder with attention over pairs of texts (Bahdanau et al. 2014).

    >>> model = Translator(epochs=10).fit(["train.en", "train.de"], valid=["dev.en", "dev.de"], out="runs/en-de")
    >>> model.predict("How are you?", beam=5)[0]["output"]

    The options are the fields of `TranslatorOptions`, the settings of `predict` those of `TranslationSettings`.
    Data is a table with the columns `source` and `target`, or two parallel text files. Without validation data
    5 % of the pairs are held back, drawn by `split_seed`.
    """

    name: ClassVar[str] = "translator"
    Options = TranslatorOptions
    Settings = TranslationSettings
    Input = SourceText
    Output = Translation
    columns: ClassVar[tuple[str, ...]] = ("source", "target")
    input_columns = (("source",),)

    options_: TranslatorOptions

    def _check_packages(self) -> None:
        super()._check_packages()
        scorers(self.options_.bleu_tokenizer)

    def _read(self, data: Any, columns: Mapping[str, str]) -> list[Example]:
        return self._with_text(Example(*pair) for pair in read_pairs(data, columns))

    def _quick_figures(self, examples: Sequence[Example]) -> dict[str, float]:
        """Of greedy translations of some of the validation data."""
        if self.options_.select_by == "loss":
            return {}
        some = examples[: self.options_.validation_sentences]
        records = self._records([each.input for each in some], self.settings(beam=1))
        return self._score([record["output"] for record in records], [each.output for each in some])

    def _quick_search(self) -> str:
        return "" if self.options_.select_by == "loss" else self._search_words(self.settings(beam=1))

    def _picks_checkpoint(self) -> Figure:
        name = self.options_.select_by
        return Figure(name, higher=name != "loss")

    def _score(self, outputs: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        return corpus_figures(outputs, references, self.options_.bleu_tokenizer)

    def _baselines(self) -> Mapping[str, Baseline]:
        return {"copy": Copy()}

    def _remarks(self, outputs: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        return {"signatures": signatures(self.options_.bleu_tokenizer)}
