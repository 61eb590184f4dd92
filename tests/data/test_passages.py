"""What a passage's words have in common with a question's."""

from __future__ import annotations

import numpy as np

from gatework.data.passages import (
    ATTRIBUTES,
    FEATURES,
    Rarity,
    content_counts,
    crossed_rows,
    match_features,
    passage_of,
    question_keys,
)
from tests.tolerances import close_to

PASSAGES = [
    "The river is old. Rome is situated on the river Tiber.",
    "Oslo is the capital of the north.",
    "the the the",
]
QUESTIONS = ["On which river was Rome situation?", "What is the capital?"]
RARITY = Rarity.learn([*PASSAGES, PASSAGES[0]], QUESTIONS)


def test_a_word_is_rare_where_few_passages_and_few_questions_have_it() -> None:
    assert (RARITY.passages, RARITY.questions) == (3, 2)
    assert RARITY.weight("unheard") == 1.0
    assert RARITY.weight("the") == RARITY.weight("?") == 0.0
    assert RARITY.weight("rome") == close_to(np.log(3 / 2) / np.log(4))  # one of two questions has it


def test_matches_and_what_is_near_them() -> None:
    passage = passage_of(PASSAGES[0])
    features = match_features(passage, passage_of(QUESTIONS[0]).words, RARITY)
    assert features.shape == (len(passage.words), FEATURES)
    exact = [word for word, has in zip(passage.words, features[:, 0], strict=True) if has]
    assert exact == ["river", "Rome", "on", "river"]
    alike = [word for word, has in zip(passage.words, features[:, 3], strict=True) if 0 < has < 1]
    assert alike == ["situated"], "which has most pieces of situation"
    shares = features[:, -5]  # of each word's sentence
    assert len(set(shares[:5])) == len(set(shares[5:])) == 1
    assert shares[0] < shares[-1] < 1
    assert match_features(passage_of(""), ["a"], RARITY).shape == (0, FEATURES)
    assert np.isfinite(match_features(passage, [], RARITY)).all()


def test_kinds_of_questions_and_rows_of_the_table() -> None:
    keys = [
        passage_of(each).keys for each in ("How many are there?", "How many were lost?", "How old is he?", "")
    ]
    kinds = [question_keys(each).tolist() for each in keys]
    assert kinds[0] == kinds[1]
    assert kinds[0][0] == kinds[2][0] == kinds[3][0]
    assert kinds[0][1] != kinds[2][1]
    attributes = passage_of(PASSAGES[0]).attributes
    rows = crossed_rows(attributes, np.array(kinds[0], np.uint64), 1000)
    assert rows.shape == (len(attributes), 3 * ATTRIBUTES)
    assert rows.min() >= 0
    assert rows.max() < 1000
    assert (rows != crossed_rows(attributes, np.array(kinds[2], np.uint64), 1000)).any()
    assert content_counts(["The", "red", ",", "an", "1"]).tolist() == [0, 1, 0, 0, 1]
