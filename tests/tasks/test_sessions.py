"""Sessions: what holds of every task's, tried on a language model and a chat bot; see the contract for the others."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatework as gw
from gatework.errors import InputError
from gatework.tasks.session import NOTHING, Session
from gatework.tasks.session_state import SessionState
from tests.tolerances import PREDICTIONS, close_to

LINES = [
    {"text": f"the {a} sat on the {b}, and “{a}” was gone."} for a in ("cat", "dog") for b in ("mat", "log")
] * 4
SMALL = {
    "hidden_size": 12,
    "embedding_size": 8,
    "max_steps": 12,
    "device": "cpu",
    "batch_size": 2,
    "ngram_order": 2,
}
TALKS = [
    {"turns": [f"i am {name}", f"welcome {name}", "who am i", name]} for name in ("ada", "bob", "eve")
] * 8
BOT = {
    "tokenizer": "word",
    "hidden_size": 12,
    "embedding_size": 8,
    "max_steps": 20,
    "batch_tokens": 60,
    "validate_every": 20,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> gw.LanguageModel:
    out = tmp_path_factory.mktemp("lm") / "run"
    return gw.LanguageModel(**SMALL).fit(iter(LINES), valid=iter(LINES[:4]), out=out)


@pytest.fixture(scope="module")
def bot() -> gw.ChatBot:
    return gw.ChatBot(**BOT, device="cpu").fit(iter(TALKS), valid=iter(TALKS[:4]))


def record_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    assert [event["kind"] for event in events].count("record") == 1
    return {name: value for name, value in events[-1].items() if name != "kind"}


@pytest.mark.parametrize("tokenizer", ["character", "word", "bpe"])
def test_a_completion_is_what_predict_gives(tokenizer: str) -> None:
    model = gw.LanguageModel(**SMALL, tokenizer=tokenizer, num_layers=2).fit(iter(LINES))
    choices: list[dict[str, Any]] = [
        {},
        {"temperature": 0},
        {"top_k": 3, "next": 2},
        {"beam": 3, "alternatives": 2},
    ]
    for settings in choices:
        for text in ("the dog", "", "the cat sat on the mat, and"):
            events = list(model.session(length=9, seed=4, **settings).feed(text))
            (expected,) = model.predict([text], length=9, seed=4, **settings)
            assert record_of(events) == expected
            assert "".join(event["output"] for event in events[:-1]) == expected["output"]
            json.dumps(events, allow_nan=False)


def test_pieces_have_the_probabilities_that_the_text_is_scored_with(model: gw.LanguageModel) -> None:
    events = list(model.session(length=8, next=3, temperature=1.0).feed("the "))
    (scored,) = model.score(["the " + "".join(event["output"] for event in events[:-1])])
    logs = [float(np.log(event["probability"])) for event in events[:-1]]
    assert logs == close_to(scored["log_probabilities"][4:], table=PREDICTIONS)
    for event in events[:-1]:
        shares = {one["token"]: one["probability"] for one in event["next"]}
        assert len(shares) == 3
        if event["token"] in shares:
            assert shares[event["token"]] == close_to(event["probability"], table=PREDICTIONS)


def test_a_text_that_is_fed_in_parts_is_one_text(model: gw.LanguageModel) -> None:
    whole, parts = model.session(length=6), model.session(length=6)
    for part in ("the ", "", "cat sat"):
        events = parts.feed(part)  # nothing is asked of the first ones, so nothing is said
    expected = list(whole.feed("the cat sat"))
    assert [{**event, "input": ""} for event in events] == [{**event, "input": ""} for event in expected]
    further = record_of(list(whole.feed(" on")))
    (alone,) = model.predict([f"the cat sat{expected[-1]['output']} on"], length=6)
    assert further["output"] != alone["output"] or further == alone  # draws go on with their random numbers
    greedy = model.session(length=6, temperature=0)
    first = record_of(list(greedy.feed("the cat")))["output"]
    (expected_record,) = model.predict([f"the cat{first} on"], length=6, temperature=0)
    assert record_of(list(greedy.feed(" on")))["output"] == expected_record["output"]


def test_whoever_reads_old_events_is_refused(model: gw.LanguageModel) -> None:
    session = model.session(length=5)
    events = session.feed("the")
    next(events)
    later = session.feed(" cat")
    with pytest.raises(InputError, match="was fed, ended or closed before all that it had to say"):
        next(events)
    assert len(list(later)) == 6
    with pytest.raises(InputError, match=r"text: is int"):
        session.feed(3)
    session.close()
    for use in (lambda: session.feed("a"), session.finish, session.state, session.rest):
        with pytest.raises(InputError, match="session: is closed"):
            use()


def test_many_together_say_what_each_alone_would(model: gw.LanguageModel) -> None:
    settings = [{"seed": n, "length": 4 + n % 3, "temperature": (0, 0.7, 1.3)[n % 3]} for n in range(12)]
    texts = [("the cat sat " * n)[: 5 * n] for n in range(12)]
    alone = [list(model.session(**own).feed(text)) for own, text in zip(settings, texts, strict=True)]
    sessions: list[Session] = [model.session(**own) for own in settings]
    together = model.feed_together(sessions, texts)
    while any(session.pending for session in sessions):
        for events, new in zip(together, model.feed_together(sessions, [NOTHING] * 12), strict=True):
            events += new
    assert together == alone
    assert gc.isenabled()  # it was put off while they were stepped
    assert model.feed_together(sessions, [NOTHING] * 12) == [[]] * 12
    assert model.feed_together([], []) == []


def test_what_cannot_be_fed_together_is_refused(model: gw.LanguageModel, bot: gw.ChatBot) -> None:
    one, two = model.session(), model.session()
    before = SessionState.of_bytes(one.state()).known
    with pytest.raises(InputError, match=r"item 2: text: is int"):
        model.feed_together([one, two], ["a", 2])
    assert SessionState.of_bytes(one.state()).known == SessionState.of_bytes(two.state()).known == before
    assert gc.isenabled()
    for sessions, items, message in (
        ([one, one], ["a", "b"], "sessions: has one of them twice"),
        ([one], ["a", "b"], "items: are 2, and there are 1 sessions"),
        ([one, bot.session()], ["a", "b"], "sessions: has one of another run"),
    ):
        with pytest.raises(InputError, match=message):
            model.feed_together(sessions, items)


GO_ON = """
import json, sys
import gatework as gw
session = gw.load(sys.argv[1]).session(state=open(sys.argv[2], "rb").read())
print(json.dumps([list(session.rest()), list(session.feed(" on"))]))
"""


def test_a_saved_session_goes_on_the_same_in_another_process(model: gw.LanguageModel, tmp_path: Path) -> None:
    session = model.session(length=7, seed=3, next=2)
    events = session.feed("the “c")
    for _ in range(3):
        next(events)
    session.save(tmp_path / "state")
    done = subprocess.run(
        [sys.executable, "-c", GO_ON, str(model.run_.path), str(tmp_path / "state")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [list(events), list(session.feed(" on"))]


def test_a_saved_conversation_goes_on(bot: gw.ChatBot) -> None:
    talk = bot.session(temperature=0.5, beam=1, seed=2)
    talk.say("i am eve")
    again = bot.session(state=talk.state())
    assert again.turns == talk.turns
    assert [again.say("who am i"), again.say("i am bob")] == [talk.say("who am i"), talk.say("i am bob")]


def test_a_reply_is_what_predict_gives(bot: gw.ChatBot) -> None:
    choices: list[dict[str, Any]] = [{}, {"beam": 2}, {"beam": 1, "temperature": 0.8}, {"beam": 1}]
    sessions: list[Session] = [bot.session(**settings, seed=1) for settings in choices]
    for texts in (["i am ada", "i am bob", "i am eve", "hello"], ["who am i"] * 4):
        before = [list(session.turns) for session in sessions]  # type: ignore[attr-defined]
        events = bot.feed_together(sessions, texts)
        while any(session.pending for session in sessions):
            for own, new in zip(events, bot.feed_together(sessions, [NOTHING] * 4), strict=True):
                own += new
        for place, settings in enumerate(choices):
            turns = [*before[place], texts[place]]
            seed = 1 + (len(turns) if settings.get("temperature") else 0)
            (expected,) = bot.predict([turns], **settings, seed=seed)
            record = record_of(events[place])
            assert record["log_probability"] == close_to(expected["log_probability"], table=PREDICTIONS)
            assert record["score"] == close_to(expected["score"], table=PREDICTIONS)
            assert [record[name] for name in ("input", "output")] == [turns, expected["output"]]
            assert "".join(one["output"] for one in events[place][:-1]) == expected["output"]
            if settings.get("beam") == 1:
                logs = [float(np.log(one["probability"])) for one in events[place][:-1]]
                assert sum(logs) == close_to(expected["log_probability"], table=PREDICTIONS)


def test_a_reply_is_gone_on_with_in_its_midst(bot: gw.ChatBot) -> None:
    one, other = bot.session(beam=1, temperature=0.9, seed=3), bot.session(beam=1, temperature=0.9, seed=4)
    bot.feed_together([one, other], ["i am eve", "i am bob"])
    again = bot.session(state=one.state())
    expected = list(one.rest())  # while the other, which began with it, waits
    assert len(expected) > 1
    assert list(again.rest()) == expected
    assert record_of(list(other.rest()))["output"] == other.turns[-1]


def test_a_foreign_or_damaged_state_is_refused(model: gw.LanguageModel, bot: gw.ChatBot) -> None:
    session = model.session(length=5)
    next(session.feed("the cat"))
    whole = session.state()
    other = gw.LanguageModel(**SMALL, seed=5).fit(iter(LINES))
    with pytest.raises(InputError, match="of a session of another run"):
        other.session(state=whole)
    with pytest.raises(InputError, match="is of a language-model's session"):
        bot.session(state=whole)
    with pytest.raises(InputError, match=r"is str, and a session's state is bytes"):
        model.session(state="path")  # type: ignore[arg-type]
    random = np.random.default_rng(0)
    harmed = [whole[:size] for size in random.integers(0, len(whole), 20)]
    for place in random.integers(0, len(whole), 60):
        harmed.append(whole[:place] + bytes([whole[place] ^ (1 << random.integers(8))]) + whole[place + 1 :])
    for data in harmed:
        with pytest.raises(InputError, match=r"^state: "):
            model.session(state=data)
    state = SessionState.of_bytes(whole)
    changes: list[dict[str, Any]] = [
        {"left": "x"},
        {"settings": 3},
        {"events": None},
        {"output": 1},
        {"total": None},
    ]
    for change in changes:
        with pytest.raises(InputError, match=r"^state: is damaged"):
            model.session(state=SessionState(state.arrays, {**state.known, **change}).to_bytes())
    arrays: list[dict[str, Any]] = [
        {"tokens": np.array([10**6])},
        {"tokens": np.array([], np.int64)},
        {"row": np.zeros(3, np.float32)},
        {"random": np.zeros(7, np.uint8)},
    ]
    for array in arrays:
        with pytest.raises(InputError, match=r"^state: is damaged"):
            model.session(state=SessionState({**state.arrays, **array}, state.known).to_bytes())


def test_threads_with_sessions_of_their_own_do_not_disturb_each_other(model: gw.LanguageModel) -> None:
    def talk(number: int) -> list[list[dict[str, Any]]]:
        session = model.session(length=6, seed=number, temperature=1.0)
        return [list(session.feed(text)) for text in ("the", f" cat {number}", " sat")]

    expected = [talk(number) for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(talk, range(16))) == expected


def test_one_session_in_two_threads_is_refused_or_whole(model: gw.LanguageModel) -> None:
    session, results = model.session(length=20), []
    start = threading.Barrier(2)

    def read(text: str) -> None:
        start.wait()
        try:
            results.append(record_of(list(session.feed(text))))
        except InputError as error:
            results.append(error)

    threads = [threading.Thread(target=read, args=(text,)) for text in ("the cat", "the dog")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [one for one in results if isinstance(one, InputError)]
    assert len(results) == 2
    assert len(errors) <= 1
    assert all("was fed, ended or closed before" in str(error) for error in errors)


def test_what_needs_whole_inputs_says_so() -> None:
    rows = [{"source": "a b", "target": "c"}] * 40
    options = {
        "tokenizer": "word",
        "hidden_size": 8,
        "embedding_size": 8,
        "max_steps": 1,
        "select_by": "loss",
    }
    model = gw.Translator(**options).fit(iter(rows))
    assert not model.streams
    with pytest.raises(InputError, match=r"session: this translator answers whole inputs.*Use predict"):
        model.session()
