"""What tasks of pairs share: reading them, the encoder-decoder and its run, outputs and scores."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from pydantic import BaseModel

from gatework.data import Packed, Pair, Tokenizer, read_pairs
from gatework.errors import InputError
from gatework.graph import Cell
from gatework.metrics.text import likelihood_figures
from gatework.seq2seq import EncoderDecoder
from gatework.tasks.answering import Answering
from gatework.tasks.base import Task
from gatework.tasks.kept_cell import choose_cell, read_cell
from gatework.tasks.options import inherited_options
from gatework.tasks.pair_options import STRUCTURE, PairOptions, SearchSettings
from gatework.tasks.pair_problem import Side, make_batch, packed_pairs, pair_loss, pair_problem
from gatework.training import Problem, RunFolder, TrainingOptions

__all__ = ["PairTask"]

CELLS = {"cell": "cell.json", "decoder_cell": "decoder_cell.json"}
TOKENIZERS = ("source_tokenizer.json", "target_tokenizer.json")
SHARED_TOKENIZER = "tokenizer.json"
HELD_BACK = 0.05
BYTE_PAIRS = 4000
MUCH_UNKNOWN = 0.1
NETWORK_OPTIONS = (
    "embedding_size",
    "hidden_size",
    "decoder_layers",
    "bidirectional",
    "tie_weights",
    "dropout",
    "label_smoothing",
)


class PairTask(Task):
    """A task that answers a text with a text, by an encoder-decoder with attention (Bahdanau et al. 2014).

    Attributes:
        network_: the `EncoderDecoder`.
        sides_: the tokens of the source and of the target.
    """

    Options: ClassVar[type[TrainingOptions]] = PairOptions
    Settings: ClassVar[type[BaseModel]] = SearchSettings

    options_: PairOptions
    network_: EncoderDecoder
    sides_: tuple[Side, Side]

    # The lifecycle's parts

    def _defaults(self, given: Mapping[str, Any], parent: Self | None) -> dict[str, Any]:
        if parent is None:
            return {}
        return inherited_options(parent.options_, STRUCTURE, given)

    def _prepare(
        self, run: RunFolder, data: Any, valid: Any, columns: Mapping[str, str], parent: Self | None
    ) -> Problem:
        options = self.options_
        train = self._read(data, columns)
        if valid is None:
            train, held = self._hold_back(train)
        else:
            held = self._read(valid, columns)
        cells, self.sides_ = self._processes.first(
            lambda: (self._choose_cells(run, parent), self._learn_sides(run, train, parent)),
            lambda: ({option: read_cell(run, file) for option, file in CELLS.items()}, _read_sides(run)),
        )
        torch.manual_seed(options.seed)
        self.network_ = self._build_network(cells["cell"], cells["decoder_cell"])
        if parent is not None:
            self.network_.load_state_dict(parent.network_.state_dict())
        examples, held_examples = self._examples(train), self._examples(held, keep_long=True)
        self._sources.note("training", examples.sha256())
        self._sources.note("validation", held_examples.sha256())
        self._seen = max((length for (length,) in examples.lengths("source")), default=1)
        run.write_json("data.json", {"longest_source": self._seen})
        self._valid = held
        self._learn(train)
        self._warn_of_unknown(held)
        return pair_problem(
            self.network_,
            examples,
            held_examples,
            self.sides_,
            batch_tokens=options.batch_tokens,
            sampling=options.scheduled_sampling,
            seed=options.seed,
            validation=self._quick_figures,
        )

    def _choose_cells(self, run: RunFolder, parent: Self | None) -> dict[str, Cell]:
        cells = {}
        for option, file in CELLS.items():
            named = option in self.options.model_fields_set
            cells[option] = choose_cell(
                run,
                file,
                getattr(self.options if named else self.options_, option),
                option=option,
                named=named,
                parent=None if parent is None else parent._cells()[option],
            )
            run.write_text(file, cells[option].to_json())
        return cells

    def _learn_sides(self, run: RunFolder, train: Sequence[Pair], parent: Self | None) -> tuple[Side, Side]:
        if (run.path / TOKENIZERS[0]).exists() or (run.path / SHARED_TOKENIZER).exists():
            return _read_sides(run)
        sides = self._make_sides(train) if parent is None else parent.sides_
        self._write_sides(run, sides)
        return sides

    def _read(self, data: Any, columns: Mapping[str, str]) -> list[Pair]:
        """The pairs with text on both sides; what is left out is said."""
        kept: list[Pair] = []
        empty: list[Pair] = []
        for pair in self._pairs(data, columns):
            (kept if pair.source.strip() and pair.target.strip() else empty).append(pair)
        if empty:
            self._say(f"{len(empty):,} pairs with an empty side are left out, the first at {empty[0].where}.")
        if not kept:
            raise InputError("data", "holds no pair with text on both sides", "Give pairs of texts")
        return kept

    def _learn(self, pairs: Sequence[Pair]) -> None:  # nothing more to learn is the usual case
        """What the task takes from its training pairs beside the network."""

    def _pairs(self, data: Any, columns: Mapping[str, str]) -> Iterable[Pair]:
        """The pairs of the data, whatever is in them."""
        return read_pairs(data, columns)

    def _hold_back(self, pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
        if len(pairs) < 2:
            raise InputError(
                "data", f"holds {len(pairs)} pair, and one must be held back", "Give more, or --valid"
            )
        order = list(range(len(pairs)))
        random.Random(self.options_.seed).shuffle(order)
        count = max(1, round(HELD_BACK * len(pairs)))
        self._say(f"No validation data: {HELD_BACK:.0%} of the pairs are held back ({count:,}).")
        held = set(order[:count])
        train = [pair for number, pair in enumerate(pairs) if number not in held]
        return train, [pair for number, pair in enumerate(pairs) if number in held]

    def _make_sides(self, pairs: Sequence[Pair]) -> tuple[Side, Side]:
        options = self.options_

        def learn(texts: Iterable[str]) -> Side:
            size = options.vocabulary_size
            if size is None and options.tokenizer == "bpe":
                size = BYTE_PAIRS
            end = "" if options.tokenizer == "character" else "\n"
            return Side(
                Tokenizer.train(
                    options.tokenizer,
                    (text + end for text in texts),
                    vocabulary_size=size,
                    min_frequency=options.min_frequency,
                    lowercase=options.lowercase,
                )
            )

        if options.shared_vocabulary:
            side = learn(text for pair in pairs for text in (pair.source, pair.target))
            return side, side
        return learn(pair.source for pair in pairs), learn(pair.target for pair in pairs)

    def _write_sides(self, run: RunFolder, sides: tuple[Side, Side]) -> None:
        if self.options_.shared_vocabulary:
            run.write_text(SHARED_TOKENIZER, sides[0].tokenizer.to_json())
            return
        for file, side in zip(TOKENIZERS, sides, strict=True):
            run.write_text(file, side.tokenizer.to_json())

    def _build_network(self, cell: Cell, decoder_cell: Cell) -> EncoderDecoder:
        options = self.options_
        try:
            return EncoderDecoder(
                cell,
                decoder_cell,
                source_vocabulary=self.sides_[0].size,
                target_vocabulary=self.sides_[1].size,
                encoder_layers=options.num_layers,
                share_embeddings=options.shared_vocabulary,
                **{name: getattr(options, name) for name in NETWORK_OPTIONS},
            )
        except ValueError as error:
            what = f"{cell.name} and {decoder_cell.name}"
            raise InputError(
                f"cells {what}", str(error).rstrip("."), "Change the options or the cells."
            ) from error

    def _examples(self, pairs: Sequence[Pair], *, keep_long: bool = False) -> Packed:
        source, target = self.sides_
        most = self.options_.max_length
        encoded, long = [], []
        for pair in pairs:
            ids = source.encode(pair.source), target.encode(pair.target)
            if keep_long or max(map(len, ids)) <= most:
                encoded.append(ids)
            else:
                long.append(pair)
        if long:
            self._say(
                f"{len(long):,} pairs longer than max_length={most} tokens are left out, the first at {long[0].where}."
            )
        return packed_pairs(encoded)

    def _warn_of_unknown(self, pairs: Sequence[Pair]) -> None:
        for what, side, texts in zip(
            ("source", "target"),
            self.sides_,
            zip(*((p.source, p.target) for p in pairs), strict=True),
            strict=True,
        ):
            if side.unknown is None:
                continue
            ids = [id for text in texts for id in side.tokenizer.encode(text)]
            share = ids.count(side.unknown) / max(len(ids), 1)
            if share > MUCH_UNKNOWN:
                self._say(
                    f"warning: {share:.0%} of the validation {what}'s tokens are not in the vocabulary."
                )

    def _cells(self) -> dict[str, Cell]:
        return {"cell": self.network_.encoder.cell, "decoder_cell": self.network_.decoder.cell}

    def _restore(self, run: RunFolder) -> None:
        cells = {option: read_cell(run, file) for option, file in CELLS.items()}
        # From now on the cells are their graphs: training again must not run the file that the run names.
        self.options = self.options_ = self.options_.model_copy(update=cells)
        self.sides_ = _read_sides(run)
        self.network_ = self._build_network(**cells)
        run.read_model(self.network_)
        self.network_.eval()
        self._seen = int(run.read_json("data.json")["longest_source"])

    def _clear(self, run: RunFolder) -> None:
        del self._valid

    # Figures

    def _quick_figures(self) -> dict[str, float]:
        """What the training's validations look at beside the loss."""
        return {}

    def _validation_figures(self) -> dict[str, Any]:
        self.network_.eval()
        return self._figures(self._valid)

    def _evaluate(self, data: Any, columns: Mapping[str, str]) -> dict[str, Any]:
        return self._figures(self._read(data, columns))

    @abstractmethod
    def _figures(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        """What `evaluate` gives."""

    def _likelihood(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """loss and perplexity of the targets, a token."""
        examples = self._examples(pairs, keep_long=True)
        return likelihood_figures(*pair_loss(self.network_, examples, self.sides_)[:2])

    # Outputs

    def predict(self, inputs: Any, **settings: Any) -> list[dict[str, Any]]:
        """One record a text, `{"input", "output", "score", "log_probability", …}`; many are searched together.

        The settings are the fields of the class's `Settings`.
        """
        self._check_fitted()
        chosen = self._read_settings(settings)
        texts = [self._check_input(item) for item in ([inputs] if isinstance(inputs, str) else inputs)]
        return self._answering().records(texts, chosen)

    def score(self, pairs: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
        """How likely given outputs are.

        Returns:
            For each (source, target) `{"source", "target", "log_probability", "tokens"}`: in nats, of the whole
            target with its end.
        """
        self._check_fitted()
        records = []
        self.network_.eval()
        device = self.network_.target_embedding.weight.device
        for source, target in pairs:
            ids = self.sides_[0].encode(source), self.sides_[1].encode(target)
            batch = make_batch([ids], self.sides_)
            with torch.inference_mode():
                value = self.network_.log_probabilities(*(part.to(device) for part in batch))
            count = int(batch.target_lengths[0])
            records.append(
                {"source": source, "target": target, "log_probability": value.item(), "tokens": count}
            )
        return records

    def together(self, *others: PairTask) -> Answering:
        """This run and others of the same tokens as one, by the mean of their probabilities.

        Raises:
            InputError: one has other tokens.
        """
        files = [side.tokenizer.to_json() for side in self.sides_]
        for other in others:
            if [side.tokenizer.to_json() for side in other.sides_] != files:
                raise InputError("ensemble", f"{other!r} has other tokens", "Train the runs on the same data")
        return Answering((self.network_, *(o.network_ for o in others)), self.sides_, self._seen)

    def _predict(self, item: str, settings: SearchSettings) -> dict[str, Any]:
        return self._answering().records([item], settings)[0]

    def _answering(self) -> Answering:
        self.network_.eval()
        return Answering((self.network_,), self.sides_, self._seen)


def _read_sides(run: RunFolder) -> tuple[Side, Side]:
    """The tokens that a run keeps."""

    def read(file: str) -> Side:
        return Side(Tokenizer.from_json(run.read_text(file), str(run.path / file)))

    if (run.path / SHARED_TOKENIZER).exists():
        side = read(SHARED_TOKENIZER)
        return side, side
    return read(TOKENIZERS[0]), read(TOKENIZERS[1])
