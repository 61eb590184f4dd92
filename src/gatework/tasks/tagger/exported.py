"""What of a tagger is exported: the layers over words, the scores of tags and labels, and what joins them."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import numpy as np
import torch

from gatework.errors import InputError
from gatework.export.exportable import Exportable, Parts
from gatework.export.maps import Maps, VectorMap
from gatework.export.network import Part, array_of
from gatework.export.page import Page, drawn_values
from gatework.export.tables import packed_tables
from gatework.tasks.programs.tables import Tables
from gatework.tasks.programs.tag import Tagger as JoinedParts
from gatework.tasks.tagger.network import TaggerNetwork, collate
from gatework.tasks.words.exported import encoder_facts, encoder_parts, encoder_tables
from gatework.tasks.words.page import words_page

__all__ = ["exported_page", "exported_parts"]

_PROGRAMS = (
    "gatework.tasks.programs.tag",
    "gatework.tasks.programs.words",
    "gatework.tasks.programs.tables",
    "gatework.tasks.programs.chain",
    "gatework.tasks.programs.open_parts",
    "gatework.tasks.words.subwords",
    "gatework.data.remembered",
    "gatework.data.word_features",
    "gatework.data.text_features",
    "gatework.data.word_spans",
)
_SENTENCES = (
    ("a", "B", "a", "un-known's", "7"),
    ("b",),
    (),
)  # that an export is checked on, beside known words


def exported_parts(task: Any, emit: tuple[str, ...] = ()) -> Exportable:
    """The parts of a tagger.

    `layers` reads words' vectors, `characters` their characters; `emission` makes of a word's state the scores of its
    tags, and `label` those of the sentence's labels.

    Args:
        task: a `Tagger` that is trained.
        emit: gates and states that the layers give too.

    Raises:
        InputError: features of lists of names, which have no export.
    """
    model, options, tag_set = task.network_, task.options_, task.tag_set_
    if options.gazetteers or options.span_lists:
        raise InputError(
            task.name, "lists of names are features of it, which have no export", "Train it without them."
        )
    tables = encoder_tables(model.encoder)
    if model.side is not None:
        tables["side"] = array_of(model.side.weight)
    if model.crf is not None:
        tables |= {
            "moves": array_of(model.crf.transitions),
            "start": array_of(model.crf.start),
            "end": array_of(model.crf.end),
        }
    if model.labels:
        tables |= {"tags_of_labels": array_of(model.tags_of_labels), "label_bias": array_of(model.label.bias)}
        if model.text_side is not None:
            tables["text_side"] = array_of(model.text_side.weight)
    facts = {
        "encoder": encoder_facts(model.encoder, task.vocabulary_, options.subword_rows),
        "tags": list(tag_set.tags),
        "labels": list(tag_set.labels),
        "allowed": {
            name: part.astype(int).tolist()
            for name, part in zip(("moves", "start", "end"), tag_set.moves, strict=True)
        },
        "temperatures": list(model.temperatures),
        "ahead": options.bidirectional,
        "side_rows": options.side_rows if options.side_path else 0,
    }
    parts: list[Part] = [*encoder_parts(model.encoder, emit), *_maps(model)]

    def error(made: Parts) -> float:
        return _error(task, JoinedParts(made, facts, Tables(*packed_tables(tables, int8=False))))

    programs = files("gatework.tasks.programs")
    scripts = {name: programs.joinpath(name).read_bytes() for name in ("tag.mjs", "words.mjs", "tables.mjs")}
    return Exportable(parts, {}, facts, _PROGRAMS, {"wasm": scripts}, _README, error, tables)


def exported_page(task: Any) -> Page:
    """A page that tags what is typed, and draws the gates of its layers."""
    given = exported_parts(task, drawn_values(task.network_.encoder.recurrent))
    text = " ".join(task.vocabulary_.words[:6])
    return words_page(given, "tags", f"{task.name} {task.run_.path.name}", text)


_README = {
    form: f"# Tags of words\n\nThe program joins the parts, and reads `tables.bin` and `model.json`.\n\n{text}\n"
    for form, text in {
        "c": "```sh\ncc -shared -o libmodel.so *.o && python tag.py < texts.txt\n```\n\nIt needs NumPy alone.\n",
        "onnx": "```sh\npython tag.py < texts.txt\n```\n\nIt needs NumPy and ONNX Runtime.\n",
        "wasm": "```js\nimport { open } from './tag.mjs';\nconst tagger = await open();\n"
        "tagger.tag('a text');\n```\n",
    }.items()
}


def _maps(model: TaggerNetwork) -> list[VectorMap]:
    """The scores of a word's tags, and of the labels."""
    width, tags = model.encoder.output_size, model.tags
    maps = Maps({"state": width})
    state = maps.read("state")
    gives = {"tags": maps.linear([state], array_of(model.emission.weight), array_of(model.emission.bias))}
    if not model.labels:
        return [VectorMap("emission", maps.cell("emission", gives))]
    attention = model.attention
    gives["attention"] = maps.linear([state], array_of(attention.weight), array_of(attention.bias))
    reads = {"mean": width, "highest": width, "likeliest": tags}
    of_label = Maps(reads)
    scores = of_label.linear(
        [of_label.read(name) for name in reads], array_of(model.label.weight), array_of(model.label.bias)
    )
    return [
        VectorMap("emission", maps.cell("emission", gives)),
        VectorMap("label", of_label.cell("label", {"output": scores})),
    ]


def _error(task: Any, joined: JoinedParts) -> float:
    """The largest error of scores, beside 1, of some sentences."""
    sentences = [*_SENTENCES, task.vocabulary_.words[:9]]
    error = 0.0
    with torch.inference_mode():
        for words in sentences:
            found = task.network_(collate([task._encode(list(words))])).likeliest()
            scores = (found.emissions[:, 0], found.labels[0])
            for got, wanted in zip(joined.scores(list(words)), scores, strict=True):
                if wanted.numel():
                    off = np.abs(got - wanted.numpy()) / np.maximum(np.abs(wanted.numpy()), 1.0)
                    error = max(error, float(off.max()))
    return error
