"""What of an encoder-decoder is exported: encoder, bridge, the decoder's step, and the search that joins them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import torch

from gatework.export.exportable import Exportable, Parts
from gatework.export.maps import Maps, VectorMap
from gatework.export.network import Network, Part, array_of, network
from gatework.graph.node import resolve
from gatework.layers.structure import suffix
from gatework.seq2seq import EncoderDecoder
from gatework.tasks.encoder_decoder.c_example import c_example
from gatework.tasks.encoder_decoder.vocabulary import Vocabulary
from gatework.tasks.programs.translate import EncoderDecoder as JoinedParts

__all__ = ["exported_parts"]

_PROGRAMS = (
    "gatework.tasks.programs.translate",
    "gatework.tasks.programs.search",
    "gatework.tasks.programs.tokens",
    "gatework.tasks.programs.open_parts",
)
_SOURCE, _TARGET = 7, 4  # tokens that an export is checked on


def exported_parts(
    model: EncoderDecoder, vocabularies: tuple[Vocabulary, Vocabulary], further: Mapping[str, Any]
) -> Exportable:
    """The parts of an encoder-decoder.

    `encoder` reads the source; `bridge` makes the decoder's first states of the encoder's last ones, and the summary
    where the decoder reads one; a step of `decoder` gives the logits of the next token. Where there are layers above
    the decoder's cell, it gives what `readout` adds `upper` to.

    Args:
        further: facts of the task.

    Raises:
        InputError: weights that are not float32.
    """
    parts: list[Part] = [_encoder(model), _bridge(model), *_decoder(model)]
    written, tokenizers = {}, []
    for side, vocabulary in zip(("source", "target"), vocabularies, strict=True):
        tokenizer, file = vocabulary.tokenizer, f"{side}_tokenizer.json"
        written[file] = tokenizer.to_json().encode()
        tokenizers.append({"file": file, "kind": tokenizer.kind, "lowercase": tokenizer.lowercase})
    facts = {
        "memory": model.memory_name,
        "summary": model.summary_name,
        "alignment": model.alignment_name,
        "decoder_output": model.decoder.cell.graph.states[0].name + suffix(0, 0),
        "tokenizers": tokenizers,
        **further,
    }
    programs = files("gatework.tasks.programs")
    scripts_of_wasm = {file: programs.joinpath(file).read_bytes() for file in ("translate.mjs", "main.mjs")}
    scripts_of_wasm["tokenizer.mjs"] = files("gatework.export.page").joinpath("tokenizer.mjs").read_bytes()
    ends = vocabularies[0].boundary, vocabularies[1].boundary
    example = c_example(parts, facts, ends, vocabularies[1].unknown)
    scripts = {
        "c": {"main.c": example.encode()},
        "wasm": scripts_of_wasm,
    }

    def error(made: Parts) -> float:
        return _error(model, JoinedParts(made, facts))

    return Exportable(parts, written, facts, _PROGRAMS, scripts, _readme(parts), error)


def _readme(parts: Sequence[Part]) -> dict[str, str]:
    """How the whole is run, by form."""
    names = ", ".join(f"`{part.name}`" for part in parts)
    objects = " ".join(f"{part.name}.o" for part in parts)
    joined = f"The parts are {names}; the search joins them.\n"
    settings = "`--beam 1` is greedy; `translate.load(folder).translate(text, beam=5)` is the same in Python."
    onnx = f"```sh\npython translate.py < texts.txt\n```\n\nIt needs NumPy and ONNX Runtime. {settings}\n"
    c = (
        f"```sh\ncc -O2 main.c {objects} -o translate   # ids in, ids out, greedily\n"
        f"cc -shared -o libmodel.so {objects} && python translate.py < texts.txt\n```\n\n"
        f"The latter needs NumPy alone. {settings}\n"
    )
    wasm = "```sh\nnode main.mjs < texts.txt\n```\n\nIn a browser, from a server: `translate.mjs` says how.\n"
    return {
        form: f"# Texts to texts\n\n{joined}\n{text}"
        for form, text in (("c", c), ("onnx", onnx), ("wasm", wasm))
    }


def _encoder(model: EncoderDecoder) -> Network:
    return network(model.encoder, "encoder", table=model.source_embedding, calls=("sequence",))


def _bridge(model: EncoderDecoder) -> VectorMap:
    """tanh of a linear map of the encoder's last states: reads them, and gives the decoder's, by their names."""
    stack, graph = model.encoder.stack, model.encoder.cell.graph
    top = stack.num_layers - 1
    reads = {
        state.name + suffix(top, direction): model.encoder.output_size
        for state in graph.states
        for direction in range(stack.directions)
    }
    maps = Maps(reads)
    summary = [maps.read(name) for name in reads]
    own = [state for state in model.decoder.cell.graph.states if not _is_alignment(model, state.size)]
    layers: dict[str, Any] = {
        state.name + suffix(0, 0): layer for state, layer in zip(own, model.bridge, strict=True)
    }
    if model.summary is not None:
        layers[str(model.summary_name)] = model.summary
    gives = {
        name: maps.apply("tanh", maps.linear(summary, array_of(layer.weight), array_of(layer.bias)))
        for name, layer in layers.items()
    }
    return VectorMap("bridge", maps.cell("bridge", gives))


def _is_alignment(model: EncoderDecoder, size: Any) -> bool:
    return model.decoder.cell.graph.counts_steps(size)


def _decoder(model: EncoderDecoder) -> list[Part]:
    """The decoder with the readout and the softmax after it; with layers above the cell, three parts."""
    graph, sizes = model.decoder.cell.graph, model.decoder.stack.layer_sizes(0)
    emits = {name: resolve(graph.nodes[index].width, sizes) for name, index in graph.emits().items()}
    reads = {"output": model.decoder.output_size, **emits, "x": model.readout.out_features}
    maps = Maps(reads)
    weight, bias = array_of(model.readout.weight), array_of(model.readout.bias)
    below = maps.linear([maps.read(name) for name in reads], weight, bias)
    softmax = array_of(model.softmax.weight), array_of(model.softmax.bias)
    own: dict[str, Any] = {
        "table": model.target_embedding,
        "emit": (model.alignment_name,) if model.alignment_name else (),
        "calls": ("step",),
    }
    if model.upper is None:
        logits = maps.linear([maps.apply("tanh", below)], *softmax)
        return [network(model.decoder, "decoder", head=maps.cell("head", {"output": logits}), **own)]
    decoder = network(model.decoder, "decoder", head=maps.cell("head", {"output": below}), **own)
    upper = network(model.upper, "upper", calls=("step",))
    above = Maps({"below": weight.shape[0], "above": model.upper.output_size})
    first = above.linear([above.read("above")], weight[:, : model.decoder.output_size])
    logits = above.linear([above.apply("tanh", above.read("below") + first)], *softmax)
    return [decoder, upper, VectorMap("readout", above.cell("readout", {"output": logits}))]


def _error(model: EncoderDecoder, joined: JoinedParts) -> float:
    """The largest error of log-probabilities and attention weights, beside 1, of two rows over some steps."""
    random = torch.Generator().manual_seed(0)
    source = torch.randint(model.source_embedding.num_embeddings, (_SOURCE, 1), generator=random)
    target = torch.randint(model.target_embedding.num_embeddings, (_TARGET, 2), generator=random)
    error = 0.0
    with torch.inference_mode():
        state, rows = model.start(source, torch.tensor([_SOURCE])), joined.start(source[:, 0].tolist())
        for step, tokens in enumerate(target):
            given = tokens[: 1 + (step > 0)]
            log_probs, state = model.step_with_alignment(given, state)
            got, weights = rows.step(given.numpy())
            wanted = log_probs.double()
            off = (torch.from_numpy(got) - wanted).abs() / wanted.abs().clamp(min=1)
            error = max(error, float(off.max()))
            if state.alignment is not None:
                error = max(error, float((torch.from_numpy(weights) - state.alignment).abs().max()))
            if not step:
                state = model.reorder(state, torch.tensor([0, 0]))
                rows.select(torch.tensor([0, 0]).numpy())
    return error
