"""The chat bot: dialogues in, a reply to what was said out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, RootModel

from gatework.baselines import Baseline, MostCommon
from gatework.data import context_text, file_format, read_dialogues, read_pairs, source_paths
from gatework.data.dialogues import OTHER, OWN
from gatework.errors import InputError
from gatework.metrics.text import corpus_figures, diversity_figures, most_common_share, scorers
from gatework.tasks.artifacts import Artifacts
from gatework.tasks.encoder_decoder.options import EncoderDecoderOptions, SearchRecord, SearchSettings
from gatework.tasks.encoder_decoder.replies import Replies
from gatework.tasks.encoder_decoder.task import EncoderDecoderTask
from gatework.tasks.example_task import Example
from gatework.tasks.options import MOST_TOKENS
from gatework.tasks.session import Session
from gatework.tasks.session_state import SessionState, damaged
from gatework.training.nested import to_device
from gatework.training.options import Inherited, OptionRules

__all__ = ["ChatBot", "ChatBotOptions", "Conversation", "Reply", "ReplySettings", "Turns"]

BLEU_TOKENIZER = "13a"
REPEATED_REPLY_WARNING_SHARE = 0.3  # of replies that are one and the same
REPLIES = "replies.json"


class ChatBotOptions(EncoderDecoderOptions):
    """How a chat bot is made and trained."""

    shared_vocabulary: Inherited[bool] = Field(
        True, description="one vocabulary and one embedding for both sides"
    )
    context_turns: int = Field(3, ge=1, description="turns before a reply that the bot reads")
    reply_speaker: Annotated[Literal["all", "second"], OptionRules(old_names=("learn",))] = Field(
        "all", description="whose turns are replies to learn: all speakers', or the second one's alone"
    )


class ReplySettings(SearchSettings):
    """How a reply is found."""

    length: int | None = Field(
        60, ge=1, le=MOST_TOKENS, description="tokens at most (none: twice the context's and 20)"
    )
    min_length: int = Field(1, ge=0, le=MOST_TOKENS, description="tokens at least")
    no_repeat: int = Field(
        3, ge=0, le=MOST_TOKENS, description="no sequence of so many tokens comes twice; 0: off"
    )


class Turns(RootModel[str | list[str]]):
    """One input of `predict`: what was said last, or the turns so far, the last one's the other speaker's."""


class Reply(SearchRecord):
    """One output of `predict`: the reply is its `output`."""

    input: str | list[str]


class ChatBot(EncoderDecoderTask):
    """A bot that replies to the last turns of a conversation (Vinyals & Le 2015), with attention.

    >>> bot = ChatBot(epochs=10).fit("dialogues.jsonl", out="runs/bot")
    >>> bot.reply("Hello")

    The options are the fields of `ChatBotOptions`, the settings of `predict` those of `ReplySettings`. Data is rows
    whose column `turns` holds a dialogue, a list of texts, or whose `messages` or `conversations` hold one of messages
    (`role` and `content`, or `from` and `value`; the assistant is the second speaker); or pairs of a text and its
    reply, as a table (TSV, CSV, or any other whose columns are named) with `source` and `target`, or as two parallel
    files.
    """

    name: ClassVar[str] = "chatbot"
    Options = ChatBotOptions
    Settings = ReplySettings
    Input = Turns
    Output = Reply
    columns: ClassVar[tuple[str, ...]] = ("turns", "source", "target")
    input_columns = (("turns",), ("source",))
    ensemble_options = ("context_turns",)

    options_: ChatBotOptions

    def _check_packages(self) -> None:
        super()._check_packages()
        scorers(BLEU_TOKENIZER)

    def _read(self, data: Any, columns: Mapping[str, str]) -> list[Example]:
        options = self.options_
        if columns.keys() & {"source", "target"} or _holds_pairs(data):
            columns = {name: column for name, column in columns.items() if name != "turns"}
            return self._with_text(Example(*pair) for pair in read_pairs(data, columns))
        exchanges = read_dialogues(
            data,
            columns.get("turns"),
            context=options.context_turns,
            second_alone=options.reply_speaker == "second",
            say=self._say,
        )
        return self._with_text(Example(*exchange) for exchange in exchanges)

    def _learn(self, train: Sequence[Example], keep: Artifacts) -> None:
        super()._learn(train, keep)
        self._most_common = keep.own(
            REPLIES, MostCommon, lambda: MostCommon().fit([], [each.output for each in train])
        )

    def _source_text(self, input: str | Sequence[str]) -> str:
        return context_text([input] if isinstance(input, str) else input, self.options_.context_turns)

    def _exported_facts(self) -> dict[str, Any]:
        return {"turns": {"most": self.options_.context_turns, "marks": [OTHER, OWN]}}

    # Figures

    def _score(self, outputs: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        """How different the replies are from one another, and how like the references."""
        figures = corpus_figures(outputs, references, BLEU_TOKENIZER)
        return {
            **diversity_figures(outputs),
            "bleu": figures["bleu"],
            "exact_match": figures["exact_match"],
        }

    def _baselines(self) -> Mapping[str, Baseline]:
        return {"most_common": self._most_common}

    def _remarks(self, outputs: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        share = most_common_share(outputs)
        if share > REPEATED_REPLY_WARNING_SHARE:
            ((reply, _),) = Counter(outputs).most_common(1)
            self._say(f"warning: dull: {share:.0%} of the replies are {reply!r:.80}.")
        return {"references": self._score(references, references)}

    # Conversation

    def reply(self, turns: str | Sequence[str], **settings: Any) -> str:
        """The reply to what was said last, or to the turns so far, the last one's the other speaker's."""
        given = turns if isinstance(turns, str) else list(turns)
        output: str = self.predict([given], **settings)[0]["output"]
        return output

    def session(self, *, state: bytes | None = None, **settings: Any) -> Conversation:
        """A conversation, which remembers what was said: see `Conversation`. Arguments as for every task."""
        return cast("Conversation", self._session_from(state, settings))

    def conversation(self, **settings: Any) -> Conversation:
        """As `session`."""
        return self.session(**settings)

    def _needs_whole_inputs(self) -> None:
        return None

    def _new_session(self, settings: ReplySettings) -> Conversation:
        return Conversation(self, settings)

    def replies(
        self, talks: Sequence[Sequence[str]], settings: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """The record of each conversation's next reply, with settings of its own, found as one batch where they are
        the same and nothing is drawn.
        """
        records: list[dict[str, Any]] = [{} for _ in talks]
        groups: dict[str, list[int]] = {}
        for place, own in enumerate(settings):
            chosen = self.settings(**own)
            alone = f" {place}" if chosen.temperature > 0 else ""  # draws depend on the batch's other rows
            groups.setdefault(chosen.model_dump_json() + alone, []).append(place)
        for places in groups.values():
            found = self.predict([list(talks[place]) for place in places], **settings[places[0]])
            for place, record in zip(places, found, strict=True):
                records[place] = record
        return records

    def drawn_replies(
        self, talks: Sequence[Sequence[str]], settings: ReplySettings, seeds: Sequence[int]
    ) -> Replies:
        """The next replies of conversations, token by token, side by side.

        Args:
            settings: of all of them, of one hypothesis. seeds: of each.
        """
        texts, rows = [self._source_text(turns) for turns in talks], [self._encode(turns) for turns in talks]
        batch = to_device(self._collate(rows), self.device)
        draws = self._predictor.drawn(batch.source, batch.source_lengths, settings, seeds)
        return Replies(self._predictor, draws, rows, texts, settings)


class Conversation(Session):
    """What was said so far, and the next reply; made by `ChatBot.session`.

    `feed` hears an utterance, and gives the reply: with one hypothesis (`beam=1`) a `piece` event for each token, with
    its text (`output`), the `token` and its `probability`; where several are compared, one of the whole reply. Then
    comes the `record`, whose `input` are the turns so far. Drawn replies differ from turn to turn. What was heard and
    has no reply yet is forgotten where something else is said.

    Attributes:
        turns: of both, the human first; an utterance is among them once its reply is.
        settings: of the next replies, as `predict` takes them.
    """

    settings: dict[str, Any]

    def __init__(self, bot: ChatBot, settings: ReplySettings) -> None:
        self._bot = bot
        super().__init__(bot.name, bot.network_, settings.model_dump(exclude_unset=True))

    def say(self, text: str) -> str:
        """The bot's reply. Where it raises, nothing was said."""
        *_, record = self.feed(text)
        reply: str = record["output"]
        return reply

    def _begin(self) -> None:
        self.turns: list[str] = []
        self._hear(None)

    def _hear(self, text: str | None) -> None:
        """Stand before the reply to a text; None: there is nothing to reply to."""
        self._heard, self._given = text, 0  # the pieces of the reply that were given
        self._reply: tuple[Replies, int] | None = None  # and its row there

    def _read(self, item: Any) -> str:
        if not isinstance(item, str):
            raise InputError("utterance", f"is {type(item).__name__}", "Give a text.")
        self._bot.settings(**self.settings)
        return item

    @classmethod
    def _absorb(cls, sessions: Sequence[Conversation], items: Sequence[str]) -> None:
        for session, text in zip(sessions, items, strict=True):
            session._hear(text)

    @property
    def _unsaid(self) -> bool:
        return self._heard is not None

    @classmethod
    def _say(cls, sessions: Sequence[Conversation]) -> None:
        try:
            cls._start([one for one in sessions if one._reply is None])
            for session in sessions:
                if session._reply is not None:
                    session._go_on(*session._reply)
        except BaseException:
            for session in sessions:
                session._hear(None)
            raise

    @classmethod
    def _start(cls, sessions: Sequence[Conversation]) -> None:
        """Begin replies token by token, or find them whole where hypotheses are compared."""
        whole, groups = [], dict[str, list[tuple[Conversation, ReplySettings]]]()
        for session in sessions:
            chosen = session._bot.settings(**session._seeded())
            if chosen.beam > 1 or chosen.coverage_penalty > 0:
                whole.append(session)
            else:
                key = chosen.model_dump_json(exclude={"seed"})
                groups.setdefault(key, []).append((session, chosen))
        for some in groups.values():
            talks, seeds = [one._talk() for one, _ in some], [chosen.seed for _, chosen in some]
            replies = some[0][0]._bot.drawn_replies(talks, some[0][1], seeds)
            for row, (session, _) in enumerate(some):
                session._reply = replies, row
                for _ in range(session._given):  # before it was taken up again
                    replies.next(row)
        if whole:
            found = whole[0]._bot.replies([one._talk() for one in whole], [one._seeded() for one in whole])
            for session, record in zip(whole, found, strict=True):
                session._events.append({"kind": "piece", "output": record["output"]})
                session._answered(record)

    def _go_on(self, replies: Replies, row: int) -> None:
        piece = replies.next(row)
        if piece is not None:
            self._given += 1
            self._events.append({"kind": "piece", **piece})
        else:
            self._answered({"input": self._talk(), **replies.record(row)})

    def _answered(self, record: dict[str, Any]) -> None:
        self.turns = [*self._talk(), record["output"]]
        self._events.append({"kind": "record", **record})
        self._hear(None)

    def _talk(self) -> list[str]:
        """The turns with the one that is replied to."""
        return [*self.turns, str(self._heard)]

    def _seeded(self) -> dict[str, Any]:
        """The settings of the next reply."""
        if float(self.settings.get("temperature", 0)) <= 0:
            return self.settings
        return {**self.settings, "seed": int(self.settings.get("seed", 0)) + len(self._talk())}

    def _known_settings(self) -> dict[str, Any]:
        return dict(self.settings)

    def _known(self) -> dict[str, Any]:
        return {"turns": self.turns, "heard": self._heard, "given": self._given}

    def _restore(self, state: SessionState) -> None:
        self._hear(state.value("heard", (str, type(None))))
        self.turns, self._given = state.value("turns", list), state.value("given", int)
        if not all(isinstance(turn, str) for turn in self.turns):
            raise damaged()


def _holds_pairs(data: Any) -> bool:
    """Whether data comes in a form that holds pairs: a cell of CSV or TSV is one text, a text file has lines."""
    return any(file_format(path) in ("csv", "tsv", "text") for path in source_paths(data) or [])
