"""The examples do what they say."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

import assistant


def test_the_assistant_does_what_it_is_told() -> None:
    helper = assistant.Assistant(assistant.train(epochs=6, device="cpu"))
    assert helper.answer("what is on the list") == "The list is empty."
    assert helper.answer("Please buy green apples") == "green apples: noted."
    assert helper.answer("we need bread and olive oil") == "bread and olive oil: noted."
    assert helper.answer("what do we need") == "You need green apples, bread, olive oil."
    assert helper.answer("turn on the light in the living room") == "There is light in the living room."
    assert helper.lit == {"living room"}
    assert helper.answer("living room light off please") == "All lights are off."
