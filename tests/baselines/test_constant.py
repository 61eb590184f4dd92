"""Baselines that look at nothing."""

from __future__ import annotations

import pytest

from gatework.baselines import Copy, Empty, MostCommon, MostCommonSet
from gatework.errors import InputError


def test_they_answer_each_input() -> None:
    inputs, outputs = ["a", "b", "c"], ["x", "y", "y"]
    assert MostCommon().fit(inputs, outputs).predict(inputs) == ["y", "y", "y"]
    assert Copy().fit(inputs, outputs).predict(inputs) == inputs
    assert Empty().fit(inputs, outputs).predict(inputs) == ["", "", ""]
    assert MostCommon().fit([], ["first", "second"]).predict(["a"]) == ["first"]
    with pytest.raises(InputError, match="holds no output"):
        MostCommon().fit([], [])


def test_the_most_common_output_is_kept() -> None:
    baseline = MostCommon().fit([], ["ünder"])
    assert MostCommon.from_json(baseline.to_json()).predict(["a"]) == ["ünder"]
    several = MostCommonSet().fit([], [["b", "a"], [], ["b", "a"]])
    assert several.predict(["x"]) == [["b", "a"]]
    assert MostCommonSet.from_json(several.to_json()).predict(["x"]) == [["b", "a"]]
    for text in ("", "[]", "{}", '{"most_common": 3}', '{"most_common": [3]}', "null"):
        for kind in (MostCommon, MostCommonSet):
            with pytest.raises(ValueError, match=r"most_common|Expecting"):
                kind.from_json(text)
    for kind, other in ((MostCommon, several), (MostCommonSet, baseline)):
        with pytest.raises(ValueError, match="most_common"):
            kind.from_json(other.to_json())
