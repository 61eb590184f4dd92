"""The chat bot: dialogues as contexts and replies, dull replies seen, a conversation on the terminal."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest

import gatework as gw
from gatework.cli import main
from gatework.data import context_text, read_dialogues
from gatework.errors import InputError
from gatework.tasks.chat_bot import ChatBot

SMALL = {
    "tokenizer": "word",
    "embedding_size": 24,
    "hidden_size": 48,
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "batch_tokens": 400,
    "learning_rate": 0.01,
}
REPLIES = {"hello": "good morning", "how are you": "fine thanks", "what is my name": None, "bye": "see you"}
NAMES = ("ada", "grace", "alan", "edsger")


def dialogues(count: int, seed: int) -> list[dict[str, list[str]]]:
    """The bot answers, and remembers a name from two turns before."""
    chooser = random.Random(seed)
    found = []
    for _ in range(count):
        name = chooser.choice(NAMES)
        turns = [f"i am {name}", f"welcome {name}"]
        for text in chooser.sample(list(REPLIES), 2):
            turns += [text, REPLIES[text] or f"you are {name}"]
        found.append({"turns": turns})
    return found


@pytest.fixture(scope="module")
def bot(tmp_path_factory: pytest.TempPathFactory) -> ChatBot:
    out = tmp_path_factory.mktemp("bot") / "run"
    options = SMALL | {"reply_speaker": "second", "context_turns": 5}
    return ChatBot(**options, epochs=12).fit(iter(dialogues(400, 1)), valid=iter(dialogues(40, 2)), out=out)


def test_dialogues_become_contexts_and_replies() -> None:
    rows = [{"turns": ["a", "b", "c  d\ne", "f"]}]
    found = list(read_dialogues(iter(rows), "turns", context=2, second_alone=False))
    assert [(context_text(each.turns, 2), each.reply) for each in found] == [
        ("> a", "b"),
        ("< a\n> b", "c  d\ne"),
        ("< b\n> c d e", "f"),
    ]
    found = list(read_dialogues(iter(rows), "turns", context=3, second_alone=True))
    assert [each.reply for each in found] == ["b", "f"]
    assert context_text(found[1].turns, 3) == "> a\n< b\n> c d e"
    assert context_text(["x"], 3) == "> x"


@pytest.mark.parametrize(
    ("turns", "message"),
    [("hello", "the turns are str"), ([[1]], "turn 1: the text is list"), (None, "the turns are NoneType")],
)
def test_what_is_no_dialogue_is_refused(turns: object, message: str) -> None:
    with pytest.raises(InputError, match=f"row 1(:|,) {message}"):
        ChatBot(**SMALL).fit(iter([{"turns": turns}]))


def test_dialogues_without_a_reply_are_refused() -> None:
    with pytest.raises(InputError, match="no dialogue with a reply: each has one turn at most"):
        ChatBot(**SMALL).fit([{"turns": ["hello"]}, {"turns": []}])


def test_it_replies_and_remembers(bot: ChatBot) -> None:
    assert bot.reply("hello") == "good morning"
    talk = bot.conversation()
    assert talk.say("i am grace") == "welcome grace"
    talk.say("hello")
    assert talk.say("what is my name") == "you are grace"
    assert len(talk.turns) == 6
    talk.reset()
    assert talk.turns == []
    (record,) = bot.predict([["i am ada", "welcome ada", "what is my name"]], beam=3, alternatives=2)
    assert record["input"] == ["i am ada", "welcome ada", "what is my name"]
    assert record["output"] == "you are ada"
    assert len(record["alternatives"]) == 2
    json.dumps(record)


def test_a_reply_that_raises_leaves_the_conversation_as_it_was(
    bot: ChatBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = bot.conversation()
    talk.say("i am grace")
    before = list(talk.turns)
    talk.settings["beam"] = 0
    with pytest.raises(InputError, match="beam"):
        talk.say("hello")
    assert talk.turns == before
    del talk.settings["beam"]
    with monkeypatch.context() as patch:
        patch.setattr(ChatBot, "predict", lambda *turns, **settings: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            talk.say("hello")
    assert talk.turns == before
    assert talk.say("what is my name") == "you are grace"  # the speakers are still told apart


def test_figures_stand_beside_the_most_common_reply(bot: ChatBot) -> None:
    figures = bot.metrics_
    model, common = figures["model"], figures["baselines"]["most_common"]
    assert figures["baseline"] == common
    assert common["most_common_share"] == 1.0
    assert model["exact_match"] > 0.9 > common["exact_match"]
    assert model["distinct_2"] > common["distinct_2"]
    assert model["perplexity"] < 2
    assert figures["references"]["most_common_share"] < 0.5
    assert bot.evaluate(iter(dialogues(40, 2))) == figures


def test_dull_replies_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"turns": [f"question {n}", "no idea"]} for n in range(60)]
    ChatBot(**SMALL, epochs=25).fit(iter(rows))
    assert "dull: 100% of the replies are 'no idea'" in capsys.readouterr().err


def test_pairs_are_dialogues_of_two_turns(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("source\ttarget\n" + "hello\tgood morning\n" * 60)
    (tmp_path / "b.jsonl").write_text('{"q": "hello", "a": "good morning"}\n' * 60)
    for data, columns in ((tmp_path / "a.tsv", {}), (tmp_path / "b.jsonl", {"source": "q", "target": "a"})):
        model = ChatBot(**SMALL, epochs=12).fit(data, columns=columns)
        assert model.reply("hello") == "good morning"


def test_a_saved_bot_talks_on_the_terminal(
    bot: ChatBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bot.save(tmp_path / "bot")
    assert isinstance(gw.load(tmp_path / "bot"), gw.ChatBot)
    said = ["i am alan", "what is my name", "", "/reset", "/temperature 0.5", "hello"]
    said += ["/temperature x", "/dance", "/history", "/quit", "never said"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(said)))
    capsys.readouterr()
    assert main(["chat", str(tmp_path / "bot")]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[:3] == ["welcome alan", "you are alan", "(forgotten)"]
    assert "(temperature 0.5)" in lines
    assert "There is no command /dance." in lines
    assert "you: hello" in lines
    assert "/temperature: 'x' is no number" in err


def test_only_a_bot_chats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"source": "a b", "target": "c"}] * 40
    options = {
        "tokenizer": "word",
        "hidden_size": 8,
        "embedding_size": 8,
        "max_steps": 1,
        "select_by": "loss",
    }
    gw.Translator(**options).fit(iter(rows), out=tmp_path / "t")
    assert main(["chat", str(tmp_path / "t")]) == 2
    assert "is a translator, not a chatbot" in capsys.readouterr().err
