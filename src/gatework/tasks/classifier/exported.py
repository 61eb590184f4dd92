"""What of a classifier is exported: its layers, the weights of their states, the scores of labels, and a program."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any, cast

import numpy as np
import torch

from gatework.errors import InputError
from gatework.export.exportable import Exportable, Parts
from gatework.export.maps import Maps, VectorMap
from gatework.export.network import Part, array_of
from gatework.export.page import Page, drawn_values
from gatework.export.tables import packed_tables
from gatework.layers import Linear
from gatework.tasks.classifier.inputs import FARTHEST, TextInputs
from gatework.tasks.classifier.network import SIDE_SCALE, ClassifierNetwork, StatisticsSide
from gatework.tasks.programs.classify import Classifier as JoinedParts
from gatework.tasks.programs.tables import Tables
from gatework.tasks.programs.tokens import Tokens
from gatework.tasks.words import TokenEncoder
from gatework.tasks.words.exported import (
    encoder_facts,
    encoder_parts,
    encoder_tables,
    layers_part,
)
from gatework.tasks.words.page import words_page

__all__ = ["exported_page", "exported_parts"]

_PROGRAMS = (
    "gatework.tasks.programs.classify",
    "gatework.tasks.programs.words",
    "gatework.tasks.programs.tables",
    "gatework.tasks.programs.tokens",
    "gatework.tasks.programs.open_parts",
    "gatework.tasks.words.subwords",
    "gatework.data.sequence_statistics",
    "gatework.data.remembered",
    "gatework.data.text_features",
    "gatework.data.word_spans",
)
_TEXTS = ("", "a un-known's 7", "B b B")  # that an export is checked on, beside known words


def exported_parts(task: Any, emit: tuple[str, ...] = ()) -> Exportable:
    """The parts of a classifier.

    `layers` reads what is classified, and of words `characters` their characters; `attention` says how much a state
    weighs in their mean, and `scores` makes of the pooled states those of the labels.

    Args:
        task: a `Classifier` that is trained.
        emit: gates and states that the layers give too.

    Raises:
        InputError: a linear rival's probabilities are mixed in, which has no export.
    """
    model, options, inputs, decisions = task.network_, task.options_, task._inputs, task.decisions_
    if decisions.rival_share:
        what = "a linear rival's probabilities are mixed into its own, which has no export"
        raise InputError(task.name, what, "Train it with mix_rival=false.")
    facts: dict[str, Any] = {
        "labels": list(task.labels_),
        "several": options.several,
        "pooling": list(model.pooling.names),
        "directions": model.pooling.directions,
        "temperature": model.calibration.temperature,
        "bias": list(model.calibration.bias),
        "thresholds": list(decisions.thresholds),
        "encoder": None,
        "tokens": None,
        "side_rows": 0,
        "statistics": False,
    }
    written: dict[str, bytes] = {}
    tables: dict[str, np.ndarray] = {}
    encoder = model.encoder
    tokenizer = None
    if isinstance(inputs, TextInputs) and isinstance(encoder, TokenEncoder):
        parts: list[Part] = encoder_parts(encoder, emit)
        tables |= encoder_tables(encoder)
        facts["encoder"] = encoder_facts(encoder, inputs.vocabulary, inputs.subword_rows)
        facts |= {"tokens": options.tokenizer, "most": inputs.most, "side_rows": inputs.side_rows}
        facts["side_scale"] = SIDE_SCALE
        if model.side is not None:
            tables["side"] = array_of(model.side.path.weight)
        own = task._tokenizer
        if own is not None:
            text = own.to_json()
            written["tokenizer.json"] = text.encode()
            facts["tokenizer_lowercase"] = own.lowercase
            tokenizer = Tokens(json.loads(text), "bpe", own.lowercase)
    else:
        parts = [layers_part(encoder.recurrent, emit)]
        scales = inputs.scales
        facts["steps"] = [scales.means, scales.deviations, FARTHEST]
        facts["statistics"] = isinstance(model.side, StatisticsSide)
        if facts["statistics"]:
            facts["statistics"] = [scales.statistic_means, scales.statistic_deviations, FARTHEST]
            tables["side"] = array_of(model.side.linear.weight)
    parts += _maps(model)

    def error(made: Parts) -> float:
        of_float32 = Tables(*packed_tables(tables, int8=False))
        return _error(task, JoinedParts(made, facts, of_float32, tokenizer))

    scripts = {}
    if facts["encoder"]:
        programs = files("gatework.tasks.programs")
        names = ("classify.mjs", "words.mjs", "tables.mjs")
        scripts = {name: programs.joinpath(name).read_bytes() for name in names}
        scripts["tokenizer.mjs"] = files("gatework.export.page").joinpath("tokenizer.mjs").read_bytes()
    return Exportable(parts, written, facts, _PROGRAMS, {"wasm": scripts}, _README, error, tables)


def exported_page(task: Any) -> Page:
    """A page that classifies what is typed, and draws the gates of its layers.

    Raises:
        InputError: it classifies sequences of numbers.
    """
    if not isinstance(task._inputs, TextInputs):
        raise InputError(
            task.name, "it classifies sequences of numbers, which nobody types", "Export it to='wasm'."
        )
    given = exported_parts(task, drawn_values(task.network_.encoder.recurrent))
    text = " ".join(task._inputs.vocabulary.words[:6])
    return words_page(given, "labels", f"{task.name} {task.run_.path.name}", text)


_README = {
    form: f"# Labels\n\nThe program joins the parts, and reads `tables.bin` and `model.json`.\n\n{text}\n"
    for form, text in {
        "c": "```sh\ncc -shared -o libmodel.so *.o && python classify.py < texts.txt\n```\n\nIt needs NumPy alone.\n",
        "onnx": "```sh\npython classify.py < texts.txt\n```\n\nIt needs NumPy and ONNX Runtime.\n",
        "wasm": '`classify.mjs`, of a classifier of texts:\n\n```js\nimport { open } from "./classify.mjs";\n'
        'const classifier = await open();\nclassifier.classify("a text");\n```\n',
    }.items()
}


def _maps(model: ClassifierNetwork) -> list[VectorMap]:
    """The weight of a state in the mean, before the softmax; and the scores of the labels."""
    made = []
    attention = model.pooling.attention
    if attention is not None:
        hidden, weight = (cast("Linear", attention[place]) for place in (0, 2))
        maps = Maps({"state": model.encoder.output_size})
        inner = maps.linear([maps.read("state")], array_of(hidden.weight), array_of(hidden.bias))
        score = maps.linear([maps.apply("tanh", inner)], array_of(weight.weight))
        made.append(VectorMap("attention", maps.cell("attention", {"output": score})))
    maps = Maps({"pooled": model.pooling.output_size})
    scores = maps.linear([maps.read("pooled")], array_of(model.output.weight), array_of(model.output.bias))
    return [*made, VectorMap("scores", maps.cell("scores", {"output": scores}))]


def _error(task: Any, joined: JoinedParts) -> float:
    """The largest error of scores, beside 1, of some texts or sequences."""
    inputs = task._inputs
    if isinstance(inputs, TextInputs):
        given: list[Any] = [*_TEXTS, " ".join(inputs.vocabulary.words[:9])]
    else:
        random = np.random.default_rng(0)
        channels = inputs.scales.channels
        given = [
            (
                random.standard_normal((steps, channels)) * inputs.scales.deviations + inputs.scales.means
            ).tolist()
            for steps in (7, 2)
        ]
    error = 0.0
    with torch.inference_mode():
        for each in given:
            wanted = task.network_(task._collate([task._encode(each)]))[0].numpy()
            off = np.abs(joined.scores(each) - wanted) / np.maximum(np.abs(wanted), 1.0)
            error = max(error, float(off.max()))
    return error
