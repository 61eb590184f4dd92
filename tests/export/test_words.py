"""Taggers and classifiers as parts, joined by the programs that are written beside them, and as pages."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

import gatework as gw
from gatework.backends.storage import stored
from gatework.data import feature_rows, token_features
from gatework.data.text_features import text_features
from gatework.data.word_spans import word_spans
from gatework.errors import GateworkError, InputError
from gatework.export import page as page_module
from gatework.export.exportable import export_task
from gatework.export.files import ExportOptions
from gatework.export.tables import packed_tables, rounded_table
from gatework.tasks.programs.tables import Tables
from gatework.tasks.words.subwords import subwords
from tests.browser import browser, opened
from tests.export.test_c import run
from tests.tasks.test_tagger import sentences
from tests.tolerances import OF_8_BITS, OF_PAGES, assert_close

PROGRAMS = Path(gw.tasks.__file__).parent / "programs"
TEXTS = [
    "play some miles davis now",
    "",
    "It's the dog's 1234 tails, they’ll SEE: O'Brien27!!!! İstanbul ΣΑΣ",
    "日本語 and 你好世界 ½ x² ٣ a_b ß Ünïcödé — e\u0301 \U0001d54f 👩‍👩‍👧 \x1c\x85\u2003z",
    "w" * 90,
]
ALONE = """
import json, sys
from pathlib import Path
sys.modules |= {"torch": None, "gatework": None, "tokenizers": None}
sys.path.insert(0, sys.argv[1])
program = __import__(sys.argv[2])
made = program.load(Path(sys.argv[1]))
answer = made.tag if sys.argv[2] == "tag" else made.classify
print(json.dumps([answer(each) for each in json.loads(sys.stdin.read())]))
"""
IN_NODE = """
import { readFileSync } from "node:fs";
const [file, name] = process.argv.slice(1);
const program = await (await import(file)).open();
const given = JSON.parse(readFileSync(0, "utf-8"));
console.log(JSON.stringify(given.map((each) => ({ ...program[name](each), gave: null }))));
"""


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> gw.Tagger:
    sizes = {"embedding_size": 8, "character_size": 6, "hidden_size": 10, "side_rows": 64, "subword_rows": 32}
    model = gw.Tagger(**sizes, max_steps=30, learning_rate=0.02, rivals=False, seed=1)
    return model.fit(sentences(80), valid=sentences(20, 1), out=tmp_path_factory.mktemp("runs") / "tagger")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> gw.Classifier:
    rows = [{"text": " ".join(each["tokens"]), "label": each["label"]} for each in sentences(60)]
    sizes = {"embedding_size": 8, "hidden_size": 10, "side_rows": 64, "subword_rows": 32, "character_size": 4}
    model = gw.Classifier(**sizes, pooling=("attention", "max", "mean", "last"), max_steps=10, rivals=False)
    return model.fit(rows, valid=rows[:20], out=tmp_path_factory.mktemp("runs") / "classifier")


def answers(task: Any, folder: Path, to: Any, given: list[Any]) -> list[dict[str, Any]]:
    """What an export's program says, without Gatework."""
    program, name = ("tag", "tag") if isinstance(task, gw.Tagger) else ("classify", "classify")
    task.export(folder, to=to)
    command = [sys.executable, "-c", ALONE, str(folder), program]
    if to == "c":
        run("gcc", "-shared", *sorted(folder.glob("*.o")), "-o", folder / "libmodel.so")
    if to == "wasm":
        command = ["node", "--input-type=module", "-e", IN_NODE, "--", str(folder / f"{program}.mjs"), name]
    found: list[dict[str, Any]] = json.loads(run(*command, given=json.dumps(given)))
    return found


def check_shares(found: Any, wanted: Any) -> None:
    got, expected = (torch.tensor(np.array(each, np.float32)) for each in (found, wanted))
    assert_close(got, expected, OF_PAGES)


@pytest.mark.parametrize("to", ["c", "onnx", "wasm"])
def test_a_tagger_without_gatework(tmp_path: Path, tagger: gw.Tagger, to: str) -> None:
    given: list[Any] = [*TEXTS, ["go", "to", "new york"]]
    records = [tagger.predict([each])[0] for each in given]
    for found, record in zip(answers(tagger, tmp_path / "out", to, given), records, strict=True):
        assert {name: found[name] for name in ("output", "tokens", "label")} == {
            name: record[name] for name in ("output", "tokens", "label")
        }
        check_shares(found["probabilities"], record["probabilities"])
        check_shares(found["label_probability"], record["label_probability"])


@pytest.mark.parametrize("to", ["c", "onnx", "wasm"])
def test_a_classifier_without_gatework(tmp_path: Path, classifier: gw.Classifier, to: str) -> None:
    records = classifier.predict(TEXTS)
    for found, record in zip(answers(classifier, tmp_path / "out", to, TEXTS), records, strict=True):
        assert found["output"] == record["output"]
        check_shares(list(found["probabilities"].values()), list(record["probabilities"].values()))


def test_a_classifier_of_numbers_and_one_of_byte_pairs_with_several_labels(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [
        {"sequence": (random.standard_normal((9, 2)) + k % 2).tolist(), "label": str(k % 2)}
        for k in range(40)
    ]
    numbers = gw.Classifier(hidden_size=6, max_steps=5, rivals=False)
    numbers.fit(rows, valid=rows[:10], columns={"sequence": "sequence"}, out=tmp_path / "numbers")
    texts = [{"text": " ".join(e["tokens"]), "label": [e["label"], "any"]} for e in sentences(40)]
    sizes = {"hidden_size": 6, "embedding_size": 6, "side_rows": 64, "vocabulary_size": 270}
    pairs = gw.Classifier(
        **sizes, tokenizer="bpe", several=True, max_steps=5, rivals=False, bidirectional=False
    )
    pairs.fit(texts, valid=texts[:10], out=tmp_path / "pairs")
    for task, given, to in (
        (numbers, [rows[0]["sequence"], [[0.5, 1.0]]], "c"),
        (pairs, TEXTS, "onnx"),
        (pairs, TEXTS, "wasm"),
    ):
        found = answers(task, tmp_path / f"{task.options_.input}-{to}", to, given)
        for each, record in zip(found, task.predict(given), strict=True):
            assert each["output"] == record["output"]
            check_shares(list(each["probabilities"].values()), list(record["probabilities"].values()))
    with pytest.raises(InputError, match="sequences of numbers, which nobody types"):
        numbers.export(tmp_path / "page", to="html")


def test_parts_that_are_joined_wrongly_are_not_written(tmp_path: Path, tagger: gw.Tagger) -> None:
    temperatures = tagger.network_.temperatures
    exported = tagger._exported()
    tagger.network_.temperatures = temperatures[0] + 0.1, temperatures[1]
    try:
        with pytest.raises(GateworkError, match="nothing is written"):
            export_task(exported, tmp_path / "out", "onnx", ExportOptions())
    finally:
        tagger.network_.temperatures = temperatures
    assert not (tmp_path / "out").exists()


def test_what_has_no_export_says_why(tmp_path: Path, tagger: gw.Tagger) -> None:
    options = tagger.options_
    tagger.options_ = options.model_copy(update={"span_lists": True})
    try:
        with pytest.raises(InputError, match=r"lists of names are features of it, .* Train it without them"):
            tagger.export(tmp_path / "out")
    finally:
        tagger.options_ = options


FEATURES = """
import { readFileSync } from "node:fs";
const { wordsOf, tokenFeatures, textFeatures, subwords } = await import(process.argv[1]);
const given = JSON.parse(readFileSync(0, "utf-8"));
const sorted = (rows) => rows.sort((a, b) => a - b);
console.log(JSON.stringify(given.map((text) => {
  const words = wordsOf(text);
  const features = [true, false].map((ahead) => tokenFeatures(words, ahead, 100003));
  return [words, features, sorted(textFeatures(words, 100003)), words.map((word) => sorted(subwords(word, 100003)))];
})));
"""


def test_words_and_features_in_javascript_are_ours() -> None:
    program = ["node", "--input-type=module", "-e", FEATURES, "--", str(PROGRAMS / "words.mjs")]
    for text, found in zip(TEXTS, json.loads(run(*program, given=json.dumps(TEXTS))), strict=True):
        words = [text[start:end] for start, end in word_spans(text)]
        assert found[0] == words
        assert found[1] == [
            feature_rows(token_features(words, ahead=ahead), 100003) for ahead in (True, False)
        ]
        assert found[2] == text_features(words, 100003).tolist()
        assert found[3] == [list(subwords(word, 100003)) for word in words]


READ = """
import { readFileSync } from "node:fs";
const { Tables } = await import(process.argv[1]);
const { bytes, index, asked } = JSON.parse(readFileSync(0, "utf-8"));
const tables = new Tables(Uint8Array.from(bytes).buffer, index);
console.log(JSON.stringify(asked.map(([name, place]) => Array.from(tables.row(name, place) ?? []))));
"""


@pytest.mark.parametrize("int8", [False, True])
def test_tables_are_read_as_they_were_written(int8: bool) -> None:
    random = np.random.default_rng(0)
    given = {
        name: random.standard_normal(shape).astype(np.float32)
        for name, shape in {"vector": 3, "whole": (5, 3), "sparse": (40, 7)}.items()
    }
    given["whole"][2] *= 100
    given["whole"][3] = 0
    given["sparse"][np.arange(40) % 3 > 0] = 0
    content, index = packed_tables(given, int8=int8)
    tables = Tables(content, index)
    np.testing.assert_array_equal(tables["vector"], given["vector"])
    assert index["sparse"]["kept"] == 14
    of_tables = (4 + 4 + 3) + (14 + 14 + 25) if int8 else (4 + 12) + (14 + 98)
    assert len(content) == 4 * (3 + of_tables)
    asked = [(name, place) for name in ("whole", "sparse") for place in range(len(given[name]))]
    program = ["node", "--input-type=module", "-e", READ, "--", str(PROGRAMS / "tables.mjs")]
    sent = json.dumps({"bytes": list(content), "index": index, "asked": asked})
    for (name, place), in_node in zip(asked, json.loads(run(*program, given=sent)), strict=True):
        row, table = given[name][place], given[name]
        read = tables.rows(name, [place]).sum(0)
        np.testing.assert_array_equal(np.array(in_node or [0.0] * len(row), np.float32), read)
        largest = max(np.abs(row).max(), 8 * np.sqrt(np.square(table).mean()))
        assert np.abs(read - row).max() <= (largest * OF_8_BITS if int8 else 0)


@contextmanager
def in_8_bits(task: Any) -> Iterator[None]:
    """A task whose network has the weights that an export of 8 bits has."""
    tables = ("encoder.embedding", "subwords", "side", "transitions", "tags_of_labels")
    network = task.network_
    kept = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() < 2:
                continue
            if any(table in name for table in tables):
                numbers, scales = rounded_table(parameter.numpy())
                parameter.copy_(torch.from_numpy(numbers * scales[:, None]))
            elif name == "label.weight":  # one block of columns for each of the vectors that it reads
                width = network.encoder.output_size
                parts = parameter.split([width, width, network.tags], dim=1)
                parameter.copy_(torch.cat([stored(part, "int8") for part in parts], 1))
            else:
                parameter.copy_(stored(parameter, "int8"))
    try:
        yield
    finally:
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(kept[name])


@pytest.mark.parametrize("int8", [False, True])
def test_pages_answer_what_is_typed(
    tmp_path: Path, tagger: gw.Tagger, classifier: gw.Classifier, int8: bool
) -> None:
    text, canvas = "play nina simone now", "document.getElementById('gates').toDataURL()"
    with browser() as chromium:
        for task, gate in ((tagger, "forget"), (classifier, "update")):
            said: list[str] = []
            with mock.patch.object(page_module, "LARGEST", 1_000 if int8 else 200_000):
                made = task.export(tmp_path / task.name, to="html", say=said.append)
            assert made.files["index.html"] < 200_000
            assert any("more than 1,000 bytes: weights are kept in 8 bits" in line for line in said) == int8
            with opened(chromium, (made.folder / "index.html").as_uri()) as page:
                page.wait_for_selector("body[data-ready]")
                before = page.evaluate(canvas)
                page.fill("#text", text)
                page.select_option("#gate", gate)
                assert page.evaluate(canvas) != before
                assert page.locator("#tokens span").count() == 4
                assert page.inner_text("#count").startswith("4 tokens read; 20 units")
                record = page.evaluate("gatework.record")
                drawn = page.evaluate(f"gatework.record.gave.{gate}.map((each) => Array.from(each))")
            with in_8_bits(task) if int8 else nullcontext():
                wanted = task.predict([text])[0]
                assert record["output"] == wanted["output"]
                shares = [each["probabilities"] for each in (record, wanted)]
                check_shares(*(list(each.values()) if isinstance(each, dict) else each for each in shares))
                encoder = task.network_.encoder
                batch = task._collate([task._encode(text)])
                tokens = batch.tokens if isinstance(task, gw.Tagger) else batch.source
                with torch.no_grad():
                    inputs = encoder.inputs(tokens)
                    expected = encoder.recurrent(inputs, lengths=tokens.lengths, emit=[gate])[0][gate][:, 0]
            assert_close(torch.tensor(drawn), expected, OF_PAGES)
