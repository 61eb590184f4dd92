"""The chat bot: dialogues in, a reply to what was said out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from gatework.baselines import MostCommon
from gatework.data import Pair, context_text, file_format, read_dialogues, read_pairs, source_paths
from gatework.metrics.text import corpus_figures, diversity_figures
from gatework.tasks.chat_options import ChatBotOptions, Reply, ReplySettings, Turns
from gatework.tasks.pair_options import SearchSettings
from gatework.tasks.pair_task import PairTask
from gatework.training import Problem, RunFolder

__all__ = ["ChatBot", "Conversation"]

DULL = 0.3  # share of replies that are one and the same, from which on it is said
REPLIES = "replies.json"


class ChatBot(PairTask):
    """A bot that replies to the last turns of a conversation (Vinyals & Le 2015), with attention.

    >>> bot = ChatBot(epochs=10).fit("dialogues.jsonl", out="runs/bot")
    >>> bot.reply("Hello")

    The options are the fields of `ChatBotOptions`, the settings of `predict` those of `ReplySettings`. Data is rows
    whose column `turns` holds a dialogue, a list of texts; or pairs of a text and its reply, as a table (TSV, CSV, or
    any other whose columns are named) with `source` and `target`, or as two parallel files.
    """

    name: ClassVar[str] = "chatbot"
    Options = ChatBotOptions
    Settings = ReplySettings
    Input = Turns
    Output = Reply
    columns: ClassVar[tuple[str, ...]] = ("turns", "source", "target")

    options_: ChatBotOptions

    # Data

    def _pairs(self, data: Any, columns: Mapping[str, str]) -> Iterable[Pair]:
        options = self.options_
        if columns.keys() & {"source", "target"} or _holds_pairs(data):
            columns = {name: column for name, column in columns.items() if name != "turns"}
            return (
                pair._replace(source=context_text([pair.source], options.context_turns))
                for pair in read_pairs(data, columns)
            )
        return read_dialogues(
            data,
            columns.get("turns", "turns"),
            context=options.context_turns,
            second_alone=options.learn == "second",
        )

    def _prepare(
        self, run: RunFolder, data: Any, valid: Any, columns: Mapping[str, str], parent: Any
    ) -> Problem:
        problem = super()._prepare(run, data, valid, columns, parent)
        run.write_text(REPLIES, self._most_common.to_json())
        return problem

    def _learn(self, pairs: Sequence[Pair]) -> None:
        self._most_common = MostCommon().fit([], [pair.target for pair in pairs])

    def _restore(self, run: RunFolder) -> None:
        super()._restore(run)
        self._most_common = MostCommon.from_json(run.read_text(REPLIES))

    # Figures

    def _figures(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        references = [pair.target for pair in pairs]
        outputs = self._answering().texts([pair.source for pair in pairs], self._read_settings({}))
        model = {**self._likelihood(pairs), **_said(outputs, references)}
        common = _said(self._most_common.predict(outputs), references)
        share, (reply, _) = model["most_common_share"], Counter(outputs).most_common(1)[0]
        if share > DULL:
            self._say(f"warning: dull: {share:.0%} of the replies are {reply!r:.80}.")
        return {
            "model": model,
            "baseline": common,
            "baselines": {"most_common": common},
            "references": _said(references, references),
            "examples": len(pairs),
        }

    # Conversation

    def predict(self, inputs: Any, **settings: Any) -> list[dict[str, Any]]:
        """One record for each text, or for each list of the turns so far; see `PairTask.predict`."""
        self._check_fitted()
        chosen = self._read_settings(settings)
        items = [self._check_input(item) for item in ([inputs] if isinstance(inputs, str) else inputs)]
        records = self._answering().records([self._context(item) for item in items], chosen)
        return [{**record, "input": item} for record, item in zip(records, items, strict=True)]

    def reply(self, turns: str | Sequence[str], **settings: Any) -> str:
        """The reply to what was said last, or to the turns so far, the last one's the other speaker's."""
        given = turns if isinstance(turns, str) else list(turns)
        output: str = self.predict([given], **settings)[0]["output"]
        return output

    def conversation(self, **settings: Any) -> Conversation:
        """A conversation, which remembers what was said."""
        self._check_fitted()
        self._read_settings(settings)
        return Conversation(self, settings)

    def _predict(self, item: Any, settings: SearchSettings) -> dict[str, Any]:
        return {**self._answering().records([self._context(item)], settings)[0], "input": item}

    def _context(self, item: str | list[str]) -> str:
        return context_text([item] if isinstance(item, str) else item, self.options_.context_turns)


class Conversation:
    """What was said so far, and the next reply. Made by `ChatBot.conversation`.

    Attributes:
        turns: of both, the human first.
        settings: of the next replies, as `predict` takes them.
    """

    def __init__(self, bot: ChatBot, settings: Mapping[str, Any]) -> None:
        self._bot = bot
        self.turns: list[str] = []
        self.settings = dict(settings)

    def say(self, text: str) -> str:
        """The bot's reply. Drawn replies differ from turn to turn."""
        self.turns.append(text)
        settings = dict(self.settings)
        if float(settings.get("temperature", 0)) > 0:
            settings["seed"] = int(settings.get("seed", 0)) + len(self.turns)
        reply = self._bot.reply(self.turns, **settings)
        self.turns.append(reply)
        return reply

    def reset(self) -> None:
        """Forget what was said."""
        self.turns.clear()


def _said(outputs: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """How different the replies are from one another, and how like the references."""
    figures = corpus_figures(outputs, references, "13a")
    return {
        **diversity_figures(outputs),
        "bleu": figures["bleu"],
        "exact_match": figures["exact_match"],
    }


def _holds_pairs(data: Any) -> bool:
    """Whether data comes in a form that holds pairs: a cell of CSV or TSV is one text, a text file has lines."""
    return any(file_format(path) in ("csv", "tsv", "text") for path in source_paths(data) or [])
