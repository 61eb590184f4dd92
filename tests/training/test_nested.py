from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
import torch

from gatework.training import nested

A, B = torch.zeros(2), torch.ones(3)


@pytest.mark.parametrize("value", [None, A, (A, B), [A, (B, None)], {"h": (A,), "c": [B, {}]}, ()])
def test_flatten_and_back(value: Any) -> None:
    structure, tensors = nested.flatten(value)
    again = nested.unflatten(json.loads(json.dumps(structure)), tensors)
    assert repr(again) == repr(value)  # types and order too


@pytest.mark.parametrize("value", [3, "text", (A, 1.5), {1: A}])
def test_flatten_refuses_what_no_checkpoint_can_hold(value: Any) -> None:
    with pytest.raises(TypeError, match="a carry holds"):
        nested.flatten(value)


@pytest.mark.parametrize("structure", [2, -1, ["set", []], ["tuple"], ["dict", [0]], "x", ["tuple", 3]])
def test_unflatten_refuses_what_flatten_cannot_have_made(structure: Any) -> None:
    with pytest.raises(ValueError, match="not the structure of a carry"):
        nested.unflatten(structure, [A, B])


def test_map_keeps_types() -> None:
    class Pair(NamedTuple):
        first: Any
        second: Any

    result = nested.map_tensors(lambda t: t + 1, Pair([A], {"b": (B, 7, "x")}))
    assert isinstance(result, Pair)
    assert torch.equal(result.first[0], A + 1)
    assert torch.equal(result.second["b"][0], B + 1)
    assert result.second["b"][1:] == (7, "x")


def test_detach_cuts_the_graph() -> None:
    x = torch.ones(2, requires_grad=True) * 2
    assert not nested.detach((x, [x]))[1][0].requires_grad
