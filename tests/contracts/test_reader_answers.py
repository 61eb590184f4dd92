"""The contract of tasks over a reader in answer mode: what its own inputs, network and files could break."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from gatework import tasks
from tests.contracts.task_contract import (
    Case,
    answers_as_an_ensemble,
    is_looked_into,
    loads_to_the_bit,
    predicts_alike_alone_and_together,
    predicts_by_schema,
    refuses_a_strangers_files,
    refuses_bad_data,
    resumes_to_the_bit,
    starts_from_a_run,
)
from tests.contracts.task_examples import EXAMPLES

TRAVELS = [
    {
        "context": [f"{who} went to {city}.", f"{other} moved to {second}."],
        "question": f"Where is {asked}?",
        "answer": city if asked == who else second,
    }
    for who, other in (("Ann", "Ben"), ("Ben", "Eve"), ("Eve", "Ann"))
    for city, second in (("Rome", "Oslo"), ("Oslo", "Bern"), ("Bern", "Rome"))
    for asked in (who, other)
]
EXAMPLE = dataclasses.replace(
    EXAMPLES["reader"],
    rows=TRAVELS,
    valid=TRAVELS[::4],
    inputs=[
        {"context": ["Ann went to Rome."], "question": "Where is Ann?"},
        {"context": "Ben went to Oslo. Eve moved to Bern, too.", "question": "Where is she?"},
        {"context": TRAVELS[0]["context"], "question": "Who?"},
        {"context": [], "question": "Where?"},
    ],
    options=EXAMPLES["reader"].options | {"mode": "answer", "exchange": "all"},
    rubbish={"context": [3.5], "question": "Where?", "answer": "Rome"},
)


CHECKS = (
    answers_as_an_ensemble,
    is_looked_into,
    loads_to_the_bit,
    predicts_alike_alone_and_together,
    predicts_by_schema,
    refuses_a_strangers_files,
    refuses_bad_data,
    resumes_to_the_bit,
    starts_from_a_run,
)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tasks.get("reader"), EXAMPLE, tmp_path_factory.mktemp("answers"))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_reader_in_answer_mode_keeps_the_contract(check: Callable[[Case], None], case: Case) -> None:
    check(case)
