"""Gradual unfreezing and rates by layer (Howard & Ruder 2018) reach the network of every task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gatework import tasks
from gatework.errors import InputError
from gatework.training import ParameterGroup
from tests.contracts.task_examples import EXAMPLES

# What is trained from the first step on.
LAST = {"language-model": ("softmax.",), "translator": ("target_embedding.", "readout.", "softmax.")}
LAST["chatbot"] = (*LAST["translator"], "source_embedding.")  # shared with the target's


@pytest.mark.parametrize("name", LAST)
def test_only_the_last_layers_move_in_the_first_epochs(
    name: str, finished: Callable[[str], Path], tmp_path: Path
) -> None:
    some = EXAMPLES[name]
    parent = tasks.load(finished(name)).network_.state_dict()

    def child(**options: Any) -> dict[str, torch.Tensor]:
        # Validation chooses the checkpoint by the lowest loss: a rate that the weights cannot but follow.
        task = tasks.get(name)(**{**some.options, "epochs": 1, "learning_rate": 1e-3, **options})
        task.fit(some.rows, valid=some.valid, out=tmp_path / f"{len(options)}", from_run=finished(name))
        return task.network_.state_dict()

    frozen = child(unfreeze_every=1.0)
    moved = {key for key in parent if not torch.equal(frozen[key], parent[key])}
    assert moved
    assert all(key.startswith(LAST[name]) for key in moved), moved
    free = child()
    assert all(not torch.equal(free[key], parent[key]) for key in parent)


@pytest.mark.parametrize("name", tasks.names())
def test_unfreezing_is_for_runs_that_start_from_another(name: str, tmp_path: Path) -> None:
    some = EXAMPLES[name]
    with pytest.raises(
        InputError, match=r"unfreeze_every: is for a run that starts from .* Give from_run=RUN"
    ):
        tasks.get(name)(**some.options, unfreeze_every=1.0).fit(some.rows, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_embedding_that_is_the_softmaxes_too_is_trained_with_it() -> None:
    from gatework.tasks.language_model.task import language_groups

    def groups(tied: bool) -> list[tuple[str, ...]]:
        from gatework.cells import lstm
        from gatework.tasks.language_model.network import LanguageNetwork

        network = LanguageNetwork(
            lstm,
            vocabulary_size=7,
            embedding_size=4,
            hidden_size=5,
            num_layers=2,
            proj_size=0,
            residual=False,
            tie_weights=tied,
            cutoffs=(),
            embedding_dropout=0.0,
            dropout=0.0,
            output_dropout=0.0,
            recurrent_dropout=0.0,
            zoneout=0.0,
        )
        found: list[ParameterGroup] = language_groups(network)
        assert {name for group in found for name in group.names} | {"embedding.weight"} == {
            name for name, _ in network.named_parameters(remove_duplicate=False)
        }
        return [tuple(name.partition(".")[0] for name in group.names[:1]) for group in found]

    assert groups(tied=False) == [("embedding",), ("recurrent",), ("recurrent",), ("softmax",)]
    assert groups(tied=True) == [("recurrent",), ("recurrent",), ("projection",)]
