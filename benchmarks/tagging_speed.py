"""How fast the tagger is: beside torch.nn's layers in the same network, a CRF as a loop over time, and a stream."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from machine import machine
from torch import Tensor, nn

import gatework as gw
from gatework.data import feature_rows, token_features
from gatework.data.text_features import text_features
from gatework.layers.linear_chain import LinearChainCRF, path_score
from gatework.tasks.tagger.network import TaggedBatch, TaggerNetwork, collate, losses
from gatework.tasks.tagger.task import Tagger

ROUNDS = 15
TAGS = 72


class TorchLayer(nn.Module):
    """torch.nn's layer in the place of `gatework.Recurrent`: ragged batches are packed, as its documentation says."""

    def __init__(self, ours: gw.Recurrent) -> None:
        super().__init__()
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[ours.cell.name]
        self.layer = kind(
            ours.input_size,
            ours.stack.layer_sizes(0)["hidden_size"],
            ours.num_layers,
            bidirectional=ours.bidirectional,
            dropout=ours.dropout,
        )
        self.layer.load_state_dict(ours.state_dict())
        self.num_directions, self.output_size = ours.num_directions, ours.output_size

    def forward(self, input: Tensor, lengths: Tensor) -> tuple[Tensor, Any]:
        packed = nn.utils.rnn.pack_padded_sequence(input, lengths, enforce_sorted=False)
        output, states = self.layer(packed)
        return nn.utils.rnn.pad_packed_sequence(output, total_length=len(input))[0], states


def paired(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int = ROUNDS
) -> dict[str, float]:
    """Both in turns: milliseconds, the best of each, and the median of the ratios of neighbours."""
    times: list[tuple[float, float]] = []
    for _ in range(rounds + 2):
        pair = []
        for call in (ours, theirs):
            begun = time.perf_counter()
            call()
            pair.append(1e3 * (time.perf_counter() - begun))
        times.append((pair[0], pair[1]))
    times = times[2:]
    return {
        "ours_ms": min(one for one, _ in times),
        "theirs_ms": min(other for _, other in times),
        "ratio": statistics.median(other / one for one, other in times),
    }


def tagger(cell: str, **options: Any) -> Tagger:
    """A tagger of the size of benchmarks/configs/snips.yaml, all but untrained, on sentences of SNIPS's lengths."""
    chooser = random.Random(0)
    words = [f"w{chooser.randrange(10**4)}" for _ in range(5000)]
    tags = ["O", *(f"{letter}-{kind}" for letter in "BI" for kind in range((TAGS - 1) // 2))]
    rows = []
    for _ in range(600):
        size = max(2, round(chooser.gauss(9, 3)))
        own = chooser.choices(words, k=size)
        rows.append(
            {"tokens": own, "tags": [chooser.choice(tags) for _ in own], "label": chooser.choice("abcdefg")}
        )
    sizes = {"cell": cell, "max_steps": 1, "rivals": False, "batch_tokens": 1000, "device": "cpu"}
    return gw.Tagger(**sizes | options).fit(rows, valid=rows[:64])


def network_speed(cell: str) -> dict[str, Any]:
    """A training step without its update, and a prediction of 64 sentences, by the whole network."""
    model = tagger(cell)
    batch = batch_of(model, 100)
    ours = model.network_
    theirs = tagger(cell).network_
    for module in (theirs.encoder, theirs.encoder.characters):
        module.recurrent = TorchLayer(module.recurrent)
    with torch.no_grad():
        for one, other in zip(ours.eval()(batch)[:2], theirs.eval()(batch)[:2], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)

    def step(network: TaggerNetwork) -> Callable[[], object]:
        def call() -> None:
            network.zero_grad()  # as training does: no gradient is added to that of another step
            sum(part.sum() for part in losses(network(batch), batch)[:2]).backward()

        return call

    def answer(network: TaggerNetwork) -> Callable[[], object]:
        def call() -> object:
            with torch.inference_mode():
                return network(batch)

        return call

    result = {}
    result["training"] = paired(step(ours.train()), step(theirs.train()))
    result["prediction"] = paired(answer(ours.eval()), answer(theirs.eval()))
    return result


def batch_of(model: Tagger, count: int) -> TaggedBatch:
    """Sentences of SNIPS's lengths with tags and labels by chance."""
    chooser, tag_set, table = random.Random(1), model.tag_set_, model.options_.side_rows
    rows = []
    for _ in range(count):
        words = chooser.choices(model.vocabulary_.words, k=max(2, round(chooser.gauss(9, 3))))
        features = feature_rows(token_features(words), table)
        rows.append(
            {
                **model.vocabulary_.encode(words),
                "features": np.concatenate([np.asarray(own) for own in features]),
                "feature_counts": np.asarray([len(own) for own in features]),
                "text_features": text_features(words, table),
                "tags": np.asarray(chooser.choices(range(len(tag_set.tags)), k=len(words))),
                "label": np.asarray([chooser.randrange(len(tag_set.labels))]),
            }
        )
    return collate(rows)


def loop_loss(crf: LinearChainCRF, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
    """The loss of a linear chain by the loop over time that one would write in torch."""
    steps = torch.arange(len(emissions))[:, None] < lengths
    alpha = emissions[0] + crf.start
    for step in range(1, len(emissions)):
        following = (alpha[:, :, None] + crf.transitions + emissions[step][:, None]).logsumexp(1)
        alpha = torch.where(steps[step][:, None], following, alpha)
    return (alpha + crf.end).logsumexp(1) - path_score(crf.chain, emissions, tags, lengths)


def crf_speed() -> dict[str, float]:
    """The loss of 100 sentences of up to 20 words and 72 tags, and its gradients."""
    torch.manual_seed(0)
    crf, emissions = LinearChainCRF(TAGS), torch.randn(20, 100, TAGS, requires_grad=True)
    tags, lengths = torch.randint(TAGS, (20, 100)), torch.randint(5, 21, (100,))
    torch.testing.assert_close(
        crf(emissions, tags, lengths), loop_loss(crf, emissions, tags, lengths), rtol=1e-4, atol=1e-4
    )
    return paired(
        lambda: crf(emissions, tags, lengths).sum().backward(),
        lambda: loop_loss(crf, emissions, tags, lengths).sum().backward(),
    )


def stream_speed(side_path: bool) -> dict[str, float]:
    """Microseconds a word, one by one: the best and the median of some hundred sentences of 10 words."""
    options = {"crf": False, "bidirectional": False, "learn_label": False, "side_path": side_path}
    model = tagger("gru", **options)
    stream, words = model.word_stream(), list(model.vocabulary_.words[:10])
    times = []
    for _ in range(300):
        stream.reset()
        begun = time.perf_counter()
        for word in words:
            stream.step(word)
        times.append(1e5 * (time.perf_counter() - begun))
    return {"best_us": min(times), "median_us": statistics.median(times)}


def speeds() -> dict[str, Any]:
    """All of it, on one thread."""
    torch.set_num_threads(1)
    return {
        "lstm": network_speed("lstm"),
        "gru": network_speed("gru"),
        "crf": crf_speed(),
        "stream": {"side_path": stream_speed(True), "no_side_path": stream_speed(False)},
        "threads": 1,
        "machine": machine(),
    }
