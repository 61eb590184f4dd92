"""A reader in answer mode: from facts to an answer of the training data, and which facts it was drawn from."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatework as gw
from gatework.baselines.linear_facts import LinearFacts
from gatework.data.facts import facts_of, words_of
from gatework.data.questions import Answers
from gatework.tasks.example_task import Example
from gatework.tasks.reader.answer_inputs import AnswerBatch
from gatework.tasks.reader.answer_network import AnswerNetwork, _distinct, _positions
from gatework.tasks.reader.exchange import Exchange, ExchangeableWords, exchangeable_words
from tests.tolerances import assert_close

NAMES, PLACES = ("Mary", "John", "Sandra"), ("hall", "garden", "office", "kitchen")


def stories(count: int, seed: int) -> str:
    """Stories in bAbI's form: where somebody went last."""
    draw, lines = random.Random(seed), []
    for _ in range(count):
        at: dict[str, str] = {}
        number = 0
        for _ in range(2):
            for _ in range(2):
                name, at[name] = draw.choice(NAMES), draw.choice(PLACES)
                number += 1
                lines.append(f"{number} {name} {draw.choice(('went', 'moved'))} to the {at[name]}.")
                at[name] = lines[-1].split()[-1].rstrip(".")
            who = draw.choice(sorted(at))
            number += 1
            lines.append(f"{number} Where is {who}?\t{at[who]}\t1")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> gw.Reader:
    folder = tmp_path_factory.mktemp("stories")
    for name, count in (("train", 150), ("valid", 20)):
        (folder / f"{name}.txt").write_text(stories(count, seed=count))
    options: dict[str, Any] = {
        "hidden_size": 16,
        "epochs": 12,
        "learning_rate": 0.02,
        "dropout": 0.0,
        "device": "cpu",
    }
    model = gw.Reader(**options, exchange="asked", seed=1)
    return model.fit(folder / "train.txt", valid=folder / "valid.txt", out=folder / "run")


def test_validation_answers_that_are_not_learned_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.txt").write_text(stories(4, seed=0))
    (tmp_path / "valid.txt").write_text("1 Mary went to the moon.\n2 Where is Mary?\tmoon\t1\n")
    model = gw.Reader(hidden_size=4, max_steps=1, device="cpu", rivals=False)
    model.fit(tmp_path / "train.txt", valid=tmp_path / "valid.txt")
    assert "1 of 1 questions have answers that the training data has not" in capsys.readouterr().err


def test_it_learns_where_everybody_went(reader: gw.Reader) -> None:
    assert reader.options_.mode == "answer"
    assert reader.metrics_["model"]["exact_match"] > 0.9
    assert reader.metrics_["baselines"]["most_common"]["exact_match"] < 0.5
    assert "logistic_regression" in reader.metrics_["baselines"]


def test_the_fact_that_matters_has_the_highest_weight(reader: gw.Reader) -> None:
    facts = ["Mary went to the hall.", "John moved to the office.", "Sandra went to the garden."]
    questions = [{"context": facts, "question": f"Where is {name}?"} for name in NAMES]
    records = reader.predict([*questions, {"context": " ".join(facts), "question": "Where is John?"}])
    assert [record["output"] for record in records] == ["hall", "office", "garden", "office"]
    for row, record in enumerate(records[:3]):
        weights = [sentence["weight"] for sentence in record["sentences"]]
        assert int(np.argmax(weights)) == row
        assert all(max(each["gates"]) == each["weight"] for each in record["sentences"])
    assert [sentence["text"] for sentence in records[3]["sentences"]] == facts


def test_several_answers_have_probabilities(reader: gw.Reader) -> None:
    question = {"context": ["Mary went to the hall."], "question": "Where is Mary?"}
    (record,) = reader.predict(question, alternatives=9)
    assert sorted(answer["text"] for answer in record["answers"]) == sorted(PLACES)
    assert sum(answer["probability"] for answer in record["answers"]) == pytest.approx(1)


def test_what_has_no_words_is_said(reader: gw.Reader) -> None:
    (record,) = reader.predict({"context": [], "question": "?"})
    assert record["warnings"] == ["the context has no words", "the question has no words"]
    assert record["sentences"] == []


@pytest.mark.parametrize(("stories", "questions"), [(40, 3), (2, 1), (1, 2), (1, 30)])
def test_questions_of_one_story_are_held_back_together(
    reader: gw.Reader, stories: int, questions: int
) -> None:
    examples = [
        Example(
            "",
            {"context": [f"Fact {story}.", *["More."] * number], "question": "Why?"},
            Answers(("so",), (None,)),
        )
        for story in range(stories)
        for number in range(questions)
    ]
    train, valid = reader._hold_back(examples)
    assert train
    assert 1 <= len(valid) <= max(2, len(examples) // 10)
    assert len(train) + len(valid) == len(examples)
    told = [{example.input["context"][0] for example in part} for part in (train, valid)]
    assert not told[0] & told[1] or stories == 1  # of one story alone some questions are


# Words that are exchanged


def test_words_that_stand_in_the_same_places_are_a_group() -> None:
    facts = [["a", "ball", "is", colour] for colour in ("red", "blue")] + [["one", "sees", "red", "there"]]
    questions = [["is", "it", "red"], ["is", "it", "blue"]]
    assert exchangeable_words([facts], questions) == [["red", "blue"]]
    assert exchangeable_words([[["red"]]], []) == []
    assert exchangeable_words([], []) == []
    facts += [["one", "sees", "red", "here"], ["one", "likes", "red", "here"]]
    found = exchangeable_words([facts], questions)
    assert not any("red" in group for group in found)  # 2 of 5 places are shared


def test_words_that_the_next_fact_tells_apart_are_in_no_group_together() -> None:
    draw, took, left = random.Random(0), ["took", "got"], ["left", "dropped"]
    stories, mixed = [], []
    for _ in range(100):
        who, what = draw.choice(NAMES), draw.choice(("milk", "apple"))
        verbs = [draw.choice(pair) for pair in (took, left) * 3]
        stories.append([[who, verb, "the", what] for verb in verbs])
        mixed.append([[who, verb, "the", what] for verb in draw.sample(verbs, 6)])
    groups = [{*NAMES}, {"milk", "apple"}]
    found = [{*group} for group in exchangeable_words(stories, [])]
    assert sorted(map(sorted, found)) == sorted(map(sorted, [*groups, took, left]))
    found = [{*group} for group in exchangeable_words(mixed, [])]
    assert sorted(map(sorted, found)) == sorted(map(sorted, [*groups, [*took, *left]]))


def test_a_story_is_told_with_other_words_throughout() -> None:
    groups, answers = (
        ExchangeableWords(groups=((2, 3, 4), (5, 6))),
        torch.tensor([[2, 0], [3, 0], [4, 0], [2, 7]]),
    )
    exchange = Exchange(groups, 9, answers)
    facts = torch.tensor([[[2, 8, 5]], [[3, 8, 0]]]).expand(2, 400, 3)  # (T, B, W)
    right = torch.tensor([0, 1, 3, -1]).repeat(100)
    told, asked, new = exchange(facts, torch.tensor([[2, 3, 1]]).expand(400, 3), right)
    seen = set()
    for row in range(400):
        first, _, third = told[0, row].tolist()
        other, rest, end = told[1, row].tolist()
        assert asked[row].tolist() == [first, other, 1]
        assert first != other
        assert {first, other} < {2, 3, 4}
        assert (rest, end) == (8, 0)
        assert third in (5, 6)
        if right[row] in (0, 1):  # the answer is the word of the first or of the second fact
            assert answers[new[row], 0] == (first, other)[int(right[row])]
        elif right[row] == 3:  # "2 7" cannot be told with another word
            assert (first, int(new[row])) == (2, 3)
        else:
            assert (first, other, third, int(new[row])) == (2, 3, 5, -1)
        seen.add((first, other, third))
    assert len(seen) == 12


def test_answers_of_unknown_words_stay_as_they_are() -> None:
    exchange = Exchange(ExchangeableWords(groups=((2, 3),)), 4, torch.tensor([[1], [1], [2], [3]]))
    right = torch.tensor([1]).repeat(8)
    *_, new = exchange(torch.full((1, 8, 1), 2), torch.full((8, 1), 1), right)
    assert new.tolist() == right.tolist()


@pytest.mark.parametrize("groups", [[[2]], [[2, 3], [3, 4]], [[2, 2]], [[0, 1]]])
def test_groups_that_are_none_are_refused(groups: list[list[int]]) -> None:
    with pytest.raises(ValueError, match=r"group|greater"):
        ExchangeableWords(groups=groups)  # type: ignore[arg-type]


# The network


def network(**sizes: int) -> AnswerNetwork:
    chosen = {"words": 12, "answers": 5, "hidden_size": 6, "num_layers": 2} | sizes
    return AnswerNetwork(gw.cells.get("qrn"), **chosen, dropout=0.0).double().eval()


def test_padding_and_neighbours_change_nothing() -> None:
    model = network(num_layers=3)
    facts, questions = torch.randint(1, 12, (5, 3, 4)), torch.randint(1, 12, (3, 4))
    facts[:, 0, 2:] = 0  # words of the first story's facts
    lengths = torch.tensor([2, 5, 3])
    with torch.no_grad():
        whole = model(AnswerBatch(facts, lengths, questions, None))
        for row, steps in enumerate(lengths.tolist()):
            words = 2 if row == 0 else 4
            alone = AnswerBatch(
                facts[:steps, row : row + 1, :words], lengths[row : row + 1], questions[row : row + 1], None
            )
            scores = model(alone)
            assert_close(scores.answers[0], whole.answers[row])
            assert_close(scores.gates[:, 0], whole.gates[:steps, row])
            assert not whole.gates[steps:, row].any()
    assert whole.gates.shape == (5, 3, 5)


def test_a_sentence_is_weighted_by_its_positions() -> None:
    """Position encoding as the paper writes it, element by element."""
    weights = _positions(torch.tensor([[4, 5, 6], [7, 0, 0], [0, 0, 0]]), 4)
    expected = torch.tensor(
        [[(1 - j / 3) - (k / 4) * (1 - 2 * j / 3) for k in (1, 2, 3, 4)] for j in (1, 2, 3)]
    )
    assert_close(weights[0], expected)
    assert_close(weights[1, 0], torch.tensor([k / 4 for k in (1, 2, 3, 4)]))


@pytest.mark.parametrize("ids", [10, 2**31, 2**55])
def test_distinct_sentences_are_told_apart_however_many_ids_there_are(ids: int) -> None:
    rows = torch.randint(0, 3, (50, 5)) * (ids // 3)
    distinct, places = _distinct(rows, ids)
    assert torch.equal(distinct[places], rows)
    assert len(distinct) == len(rows.unique(dim=0))


def test_a_cell_that_reads_no_question_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"the cell gru reads x and has the gates .* need x, query and update"
    ):
        AnswerNetwork(gw.cells.get("gru"), words=3, answers=2, hidden_size=4, num_layers=1, dropout=0.0)


# The rival, and facts


def test_the_rival_learns_and_is_kept_whole() -> None:
    draw = random.Random(0)
    inputs, outputs = [], []
    for _ in range(60):
        at = {name: draw.choice(PLACES) for name in NAMES}
        who = draw.choice(NAMES)
        facts = [f"{name} went to the {place}." for name, place in at.items()]
        inputs.append({"context": facts, "question": f"Where is {who}?"})
        outputs.append(Answers((at[who],), (None,)))
    rival = LinearFacts().fit(inputs, outputs)
    right = [each.texts[0] for each in outputs]
    assert np.mean([one == other for one, other in zip(rival.predict(inputs), right, strict=True)]) > 0.9
    assert rival.size(inputs) == 180
    arrays = rival.to_arrays()
    assert LinearFacts.from_arrays(arrays).predict(inputs) == rival.predict(inputs)
    with pytest.raises(ValueError, match="features are damaged"):
        LinearFacts.from_arrays(arrays | {"features": arrays["features"][::-1].copy()})


def test_a_text_is_its_sentences() -> None:
    assert facts_of("Mary left. John, too!\nWhy?") == ["Mary left.", "John, too!", "Why?"]
    assert facts_of(["a. b.", ""]) == ["a. b.", ""]
    assert facts_of(" ") == []
    assert words_of("John's 2 dogs – left.") == ("John's", "2", "dogs", "left")


def test_files_of_stories_have_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "stories.txt"
    path.write_text(stories(3, seed=0))
    with pytest.raises(gw.InputError, match="holds stories, which have no columns"):
        gw.Reader(max_steps=1).fit(path, out=tmp_path / "run", columns={"context": "story"})
