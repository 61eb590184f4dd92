"""Encoder-decoders as parts, joined by the programs that are written beside them: NumPy, C, and JavaScript."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatework as gw
from gatework.data import Tokenizer, context_text
from gatework.data.dialogues import OTHER, OWN
from gatework.errors import GateworkError
from gatework.export.exportable import export_task
from gatework.export.files import ExportOptions
from gatework.seq2seq import EncoderDecoder
from gatework.seq2seq import beam_search as own_beam_search
from gatework.tasks.encoder_decoder.exported import exported_parts
from gatework.tasks.encoder_decoder.vocabulary import Vocabulary
from gatework.tasks.programs.search import beam_search
from gatework.tasks.programs.tokens import Tokens
from gatework.tasks.programs.translate import EncoderDecoder as JoinedParts
from gatework.tasks.programs.translate import Translator as ExportedTranslator
from tests.export.test_c import RUN, WARNINGS, run
from tests.export.test_page import CORPUS, TEXTS
from tests.tolerances import EXPORTED, assert_close

WORDS = "the cat sat on a mat and then some more words of all kinds stood there".split()  # noqa: SIM905


@gw.cell
def located(x: Any, h: Any, memory: gw.Memory) -> Any:
    return gw.tanh(gw.linear("h", x, h, context=gw.attend("source", h, memory, score="location")))


def pairs(count: int, seed: int) -> list[dict[str, str]]:
    random = np.random.default_rng(seed)
    texts = [" ".join(random.choice(WORDS, random.integers(2, 7))) for _ in range(count)]
    return [{"source": text, "target": " ".join(reversed(text.split()))} for text in texts]


def vocabularies() -> tuple[Vocabulary, Vocabulary]:
    tokenizer = Tokenizer.train("word", [" ".join(WORDS) + "\n"])
    return Vocabulary(tokenizer), Vocabulary(tokenizer)


def network(cell: str, decoder_cell: Any, **options: Any) -> EncoderDecoder:
    """An encoder-decoder whose every weight differs, and whose outputs are no single token."""
    torch.manual_seed(3)
    if isinstance(decoder_cell, str):
        decoder_cell = gw.cells.get(decoder_cell)
    size = vocabularies()[0].size
    sizes = {"source_vocabulary": size, "target_vocabulary": size, "embedding_size": 6, "hidden_size": 9}
    made = EncoderDecoder(gw.cells.get(cell), decoder_cell, **sizes, **options).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.6 * torch.randn_like(parameter) + 0.05)
    return made


def built(folder: Path, target: str) -> list[str | Path]:
    """The command that runs an encoder-decoder's example."""
    compiler, emulator = RUN[target]
    run(*compiler, *WARNINGS, folder / "main.c", *sorted(folder.glob("*.o")), "-o", folder / "translate")
    return [*emulator, folder / "translate"]


CASES = {
    "attention": ("gru", "bahdanau_gru", {}),
    "layers": ("lstm", "luong_lstm", {"encoder_layers": 2, "decoder_layers": 3}),
    "summary": ("gru", "cho_gru", {}),
    "start alone": ("lstm", "lstm", {"bidirectional": False, "decoder_layers": 2}),
    "location": ("gru", located, {"tie_weights": False}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_parts_joined_are_the_network_and_the_example_in_c_searches_as_they_do(
    tmp_path: Path, case: str
) -> None:
    model = network(*CASES[case][:2], **CASES[case][2])
    both = vocabularies()
    given = exported_parts(model, both, {})
    said: list[str] = []
    export_task(given, tmp_path / "onnx", "onnx", ExportOptions(say=said.append))
    assert any("together" in line for line in said)
    made = export_task(given, tmp_path / "c", "c", ExportOptions())
    sources = [both[0].tokenizer.encode(row["source"]) for row in pairs(6, 1)]
    printed = run(
        *built(made.folder, "native"), given="".join(" ".join(map(str, ids)) + "\n" for ids in sources)
    )
    for ids, line in zip(sources, printed.splitlines(), strict=True):
        assert [int(token) for token in line.split()] == greedy(model, ids, both[1])


def greedy(model: EncoderDecoder, ids: list[int], target: Vocabulary) -> list[int]:
    """The likeliest output of a source's ids, without its end."""
    end, found = target.boundary, list[int]()
    banned = {target.unknown} if target.unknown is not None and not model.attends else set()
    with torch.no_grad():
        state = model.start(torch.tensor([[*ids, end]]).T, torch.tensor([len(ids) + 1]))
        for _ in range(2 * len(ids) + 22):
            _, best, state = model.best(torch.tensor([[end, *found][-1]]), state, 1, banned)
            if int(best) == end:
                break
            found.append(int(best))
    return found


def test_the_example_runs_on_another_machine(tmp_path: Path) -> None:
    given = exported_parts(network("gru", "bahdanau_gru"), vocabularies(), {})
    printed = []
    for target in ("native", "aarch64-linux-gnu"):
        made = export_task(given, tmp_path / target, "c", ExportOptions(target=target))
        printed.append(run(*built(made.folder, target), given="3 4 5\n\n7 3 9 9 3 1\n"))
    assert printed[0] == printed[1]
    assert len(printed[0].splitlines()) == 3


@pytest.mark.parametrize("to", ["c", "onnx"])
def test_parts_that_are_joined_wrongly_are_not_written(tmp_path: Path, to: str) -> None:
    model = network("gru", "bahdanau_gru")
    given = exported_parts(model, vocabularies(), {})
    with torch.no_grad():
        model.bridge[0].weight[0, 0] += 0.1
    with pytest.raises(GateworkError, match=r"differ from the network's by .*; nothing is written"):
        export_task(given, tmp_path / "out", to, ExportOptions())
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def run_of_words(tmp_path_factory: pytest.TempPathFactory) -> gw.Translator:
    """A translator that has begun to learn, and meets words that it does not know."""
    options = {
        "tokenizer": "word",
        "lowercase": True,
        "hidden_size": 16,
        "embedding_size": 12,
        "dropout": 0.0,
    }
    model = gw.Translator(
        **options, max_steps=25, learning_rate=0.02, min_frequency=2, select_by="loss", seed=0
    )
    return model.fit(pairs(100, 0), valid=pairs(8, 1), out=tmp_path_factory.mktemp("runs") / "words")


ALONE = """
import json, runpy, sys
from pathlib import Path
sys.modules |= {"torch": None, "gatework": None, "tokenizers": None}
sys.path.insert(0, sys.argv[1])
import translate
made = translate.load(Path(sys.argv[1]))
given = json.loads(sys.stdin.read())
found = [[[text, one.score] for text, one in made.translate(each, **given["settings"])] for each in given["texts"]]
print(json.dumps(found))
"""
IN_NODE = """
const { open } = await import(process.argv[1]);
const { readFileSync } = await import("node:fs");
const translator = await open();
const { texts, settings } = JSON.parse(readFileSync(0, "utf-8"));
const found = texts.map((text) => translator.translate(text, settings).map(({ text, score }) => [text, score]));
console.log(JSON.stringify(found));
"""


@pytest.mark.parametrize("to", ["c", "onnx", "wasm"])
def test_an_export_translates_as_the_run_without_gatework(
    tmp_path: Path, run_of_words: gw.Translator, to: Any
) -> None:
    texts = [row["source"] for row in pairs(12, 5)] + ["The Cat xylophone sat ON", "", "zzz"]
    folder = run_of_words.export(tmp_path / "out", to=to).folder
    if to == "c":
        run("gcc", "-shared", *sorted(folder.glob("*.o")), "-o", folder / "libmodel.so")
    program = [sys.executable, "-c", ALONE, str(folder)]
    if to == "wasm":
        program = ["node", "--input-type=module", "-e", IN_NODE, "--", str(folder / "translate.mjs")]
    for beam in (1, 4):
        expected = run_of_words.predict(texts, beam=beam, alternatives=min(beam, 2))
        settings = {"beam": beam, "alternatives": min(beam, 2)}
        found = json.loads(run(*program, given=json.dumps({"texts": texts, "settings": settings})))
        for each, record in zip(found, expected, strict=True):
            wanted = record.get("alternatives", [record])
            assert [text for text, _ in each] == [one["output"] for one in wanted]
            scores = torch.tensor([float(score) for _, score in each])
            assert_close(scores, torch.tensor([one["score"] for one in wanted]), EXPORTED)


def test_weights_of_eight_bits_are_exported(tmp_path: Path, run_of_words: gw.Translator) -> None:
    full = run_of_words.export(tmp_path / "full", to="onnx")
    small = run_of_words.export(tmp_path / "small", to="onnx", weights="int8")
    assert small.files["encoder.onnx"] < full.files["encoder.onnx"]


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("kind", ["character", "word", "bpe"])
def test_tokens_are_those_of_our_tokenizer(kind: Any, lowercase: bool) -> None:
    tokenizer = Tokenizer.train(kind, [CORPUS], 320 if kind == "bpe" else None, lowercase=lowercase)
    tokens = Tokens(json.loads(tokenizer.to_json()), kind, lowercase)
    for text in TEXTS:
        ids, pieces = tokens.encode(text)
        own = tokenizer.encode_with_spans(text)
        assert ids == own.ids, text
        assert tokens.decode(ids) == tokenizer.decode(ids), text
        if kind != "bpe":
            assert pieces == [text[start:end] for start, end in own.spans]


class TableDecoder:
    """Log-probabilities that depend on all tokens so far, for the search of either side."""

    def __init__(self) -> None:
        self.paths: list[tuple[int, ...]] = [()]

    def step(self, tokens: Any, state: Any = None) -> Any:
        own = self.paths if state is None else state
        own = [(*path, int(token)) for path, token in zip(own, tokens, strict=True)]
        rows = [np.random.default_rng(path).standard_normal(7) for path in own]
        values = torch.tensor(np.array(rows)).log_softmax(-1)
        if state is not None:
            return values, own
        self.paths = own
        return values.numpy(), None

    def select(self, index: Any) -> None:
        self.paths = [self.paths[int(row)] for row in index]

    def reorder(self, state: Any, index: torch.Tensor) -> Any:
        return [state[row] for row in index.tolist()]


@pytest.mark.parametrize(
    "settings", [{"beam": 1}, {"beam": 5, "alternatives": 5}, {"beam": 3, "length_penalty": 0.0}]
)
def test_the_search_is_the_tasks_own(settings: dict[str, Any]) -> None:
    shared = {"length": 9, "banned": [2], **settings}
    found = beam_search(TableDecoder(), 0, end=6, min_length=2, **{"length_penalty": 1.0, **shared})
    (wanted,) = own_beam_search(
        Stepwise(), torch.tensor([0]), [()], ends={6}, minimum=2, **{"length_penalty": 1.0, **shared}
    )
    assert [one.tokens for one in found] == [one.tokens for one in wanted]
    assert [one.score for one in found] == pytest.approx([one.score for one in wanted])


class Stepwise(TableDecoder):
    """`TableDecoder` as `gatework.seq2seq` asks for it."""

    def best(self, tokens: Any, state: Any, count: int, forbidden: Any) -> Any:
        values, state = self.step(tokens, state)
        values[:, list(forbidden)] = -torch.inf
        return *values.topk(count, dim=1), state


@pytest.mark.parametrize("turns", [["hello"], ["a", "b  c", "d"], ["a", "b", "c", "d", "e"], ["a", ""]])
def test_turns_are_read_as_a_chat_bot_reads_them(turns: list[str]) -> None:
    facts = {"turns": {"most": 3, "marks": [OTHER, OWN]}}
    made = ExportedTranslator(JoinedParts(None, facts), (None, None))  # type: ignore[arg-type]
    assert made.source_text(turns) == context_text(turns, 3)
