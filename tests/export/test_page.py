"""A language model as a page of one file: its tokenizer beside ours in Node, the page itself in Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

import gatework as gw
from gatework.data import Tokenizer
from gatework.errors import InputError
from gatework.export.reference import expected
from gatework.tasks.language_model.exported import exported_network
from tests.browser import browser, opened
from tests.tolerances import OF_PAGES, assert_close

PAGE = Path(gw.export.__file__).parent / "page"
CORPUS = (
    "The quick brown fox, it's 12 years old,\njumps over the lazy dog's tail.\n\n  Ünïcödé — ΣΑΣ, İstanbul: 你好!\n"
    * 30
)
TEXTS = [
    CORPUS[:200],
    "",
    "\n\n a\tb  c   \n",
    "It's the dog's 1234 tails, they'll SEE: ΣΑΣ ΑΣ.",
    "\x1c\x85\xa0\u2003x\ufeffy\u3000 \u2028z\r\nw",
    "emoji 👩‍👩‍👧 and 你好世界 and \U0001d54f",
    "<unk> <eos> constructor __proto__ toString",
    "İI ıi ß ẞ",
]
SCRIPT = """
import { readFileSync } from "node:fs";
const { Tokenizer } = await import(process.argv[1]);
const given = JSON.parse(readFileSync(0, "utf-8"));
const tokenizer = new Tokenizer(given.file, given.kind, given.lowercase);
console.log(JSON.stringify(given.texts.map((text) => {
  const ids = tokenizer.encode(text);
  return [ids, tokenizer.decode(ids)];
})));
"""


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("kind", ["character", "word", "bpe"])
def test_tokens_are_those_of_our_tokenizer(kind: Any, lowercase: bool) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    size = 320 if kind == "bpe" else None
    tokenizer = Tokenizer.train(kind, [CORPUS], size, lowercase=lowercase)
    given = {"file": json.loads(tokenizer.to_json()), "kind": kind, "lowercase": lowercase, "texts": TEXTS}
    done = subprocess.run(
        ["node", "--input-type=module", "-e", SCRIPT, "--", str(PAGE / "tokenizer.mjs")],
        input=json.dumps(given),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-1000:]
    for text, (ids, decoded) in zip(TEXTS, json.loads(done.stdout), strict=True):
        assert ids == tokenizer.encode(text), text
        assert decoded == tokenizer.decode(ids), text


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> gw.LanguageModel:
    options = {"hidden_size": 24, "num_layers": 2, "batch_size": 4, "bptt": 16, "epochs": 1, "seed": 0}
    return gw.LanguageModel(**options).fit([CORPUS], out=tmp_path_factory.mktemp("runs") / "run")


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_a_page_in_a_browser_gives_the_models_numbers(
    tmp_path: Path, model: gw.LanguageModel, weights: Any
) -> None:
    made = model.export(tmp_path / "out", to="html", weights=weights)
    assert made.files["index.html"] < 150_000
    with browser() as chromium, opened(chromium, (tmp_path / "out" / "index.html").as_uri()) as page:
        page.wait_for_selector("body[data-ready]")
        page.fill("#text", "The lazy dog")
        logits = page.evaluate("Array.from(gatework.steps.at(-1).values.output)")
        forget = page.evaluate("Array.from(gatework.steps.at(-1).values.forget)")
        if weights == "float32":
            check_what_is_shown(page)
    tokens = torch.tensor([model.start_token, *model.tokenizer_.encode("The lazy dog")])[:, None]
    exported, network = exported_network(model.network_, ("forget",)), model.network_
    values, _ = expected(
        exported,
        tokens,
        lengths=torch.tensor([len(tokens)]),
        states=network.recurrent.initial_state(1),
        inputs={},
        memories={},
        memory_lengths={},
        int8=weights == "int8",
    )
    assert_close(torch.tensor(logits), values["output"][-1, 0], OF_PAGES)
    assert_close(torch.tensor(forget), values["forget"][-1, 0], OF_PAGES)
    if weights == "float32":
        with torch.no_grad():
            log_probs = network.softmax.log_prob(network.hidden(tokens)[0][-1])[0]
        assert_close(torch.tensor(logits).log_softmax(0), log_probs, OF_PAGES)


def check_what_is_shown(page: Any) -> None:
    """Gates, what may come next, and a text that is written on."""
    canvas = "document.getElementById('gates').toDataURL()"
    first = page.evaluate(canvas)
    page.select_option("#gate", "candidate")
    assert page.evaluate(canvas) != first
    assert page.locator("#next li").count() == 8
    assert page.inner_text("#count").startswith("13 tokens read")
    page.click("#write")
    while page.evaluate("gatework.steps.length") <= 20:
        page.wait_for_timeout(50)
    page.click("#write")
    written = page.input_value("#text")
    assert written.startswith("The lazy dog")
    assert len(written) > len("The lazy dog") + 5


def test_what_has_no_page_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a layer has no page"):
        gw.export_layer(gw.LSTM(3, 4), tmp_path / "out", to="html")
