"""How much faster the encoder-decoder trains and decodes than the same model written plainly in torch.

    python benchmarks/translation_speed.py [--run RUN] [--repeats 7] [--batches 12]

The plain model has the same weights and equations: torch.nn.GRU over the padded source, then a Python loop over the
decoder's steps with additive attention whose keys are projected once, and a torch Linear output with its cross-entropy.
Losses and greedy translations are first checked to be the same; then the two take turns. RUN is a translator trained
on small_parallel_enja (its sentences end where sentences end); without it one is trained for three minutes.

Greedy search and the beam are timed against the plain model in batches of the same 64 sentences, and sentence by
sentence, as the shortest code does it. The data is looked for in $GATEWORK_DATA.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from commands import DATA, HERE, gatework, write_result
from machine import machine
from torch import Tensor, nn

import gatework as gw
from gatework.data import Packed, length_batches
from gatework.graph.parameters import gate_rows
from gatework.seq2seq import EncoderDecoder, beam_search, generate
from gatework.tasks.batches import padded
from gatework.tasks.encoder_decoder.batch import PairBatch, collate
from gatework.tasks.encoder_decoder.vocabulary import Vocabulary

CORPUS = DATA / "translation" / "small_parallel_enja"
CONFIG = "small_parallel_enja.yaml"
SENTENCES, TOGETHER, BEAM = 500, 64, 5
FEWER = (4, 16, 64)  # sentences of a batch, beside the batches of training


class Plain(nn.Module):
    """The model of RNNsearch as one writes it in torch, with the weights of a network of ours."""

    def __init__(self, ours: EncoderDecoder) -> None:
        super().__init__()
        embedding, hidden = ours.source_embedding.embedding_dim, ours.decoder.hidden_size
        self.dropout = ours.dropout
        self.source_embedding = nn.Embedding.from_pretrained(ours.source_embedding.weight.detach().clone())
        self.target_embedding = nn.Embedding.from_pretrained(ours.target_embedding.weight.detach().clone())
        for each in (self.source_embedding, self.target_embedding):
            each.weight.requires_grad_()
        self.encoder = nn.GRU(embedding, hidden, bidirectional=True)
        self.encoder.load_state_dict(ours.encoder.state_dict())
        self.bridge = _linear(ours.bridge[0].weight, ours.bridge[0].bias)
        layer = ours.decoder
        self.query = _linear(layer.source_query_l0)
        self.keys = _linear(layer.source_memory_l0)
        self.energy = nn.Parameter(layer.source_energy_l0.detach().clone())
        rows = gate_rows(layer.cell.graph, "ih", {**layer.stack.layer_sizes(0), "input_size": embedding})

        def joined(*gates: str) -> nn.Linear:
            """One map of input, context and state for several gates."""
            spans = [slice(*rows[gate]) for gate in gates]
            slots = ("weight_ih_l0", "weight_context_l0", "weight_hh_l0")
            weight = torch.cat([torch.cat([getattr(layer, s)[span] for span in spans]) for s in slots], dim=1)
            return _linear(
                weight, torch.cat([layer.bias_ih_l0[span] + layer.bias_hh_l0[span] for span in spans])
            )

        self.gates, self.candidate = joined("reset", "update"), joined("candidate")
        self.readout = _linear(ours.readout.weight, ours.readout.bias)
        self.output = nn.Linear(embedding, ours.softmax.vocabulary_size)
        self.output.weight = self.target_embedding.weight
        self.output.bias = nn.Parameter(ours.softmax.bias.detach().clone())
        self.smoothing = ours.label_smoothing

    def start(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """State, memory, keys and mask of a source of sentences of one length each, or packed."""
        embedded = F.dropout(self.source_embedding(source), self.dropout, self.training)
        if int(lengths.min()) == len(source):
            outputs, last = self.encoder(embedded)
        else:
            packed = nn.utils.rnn.pack_padded_sequence(embedded, lengths, enforce_sorted=False)
            outputs, last = self.encoder(packed)
            outputs, _ = nn.utils.rnn.pad_packed_sequence(outputs)
        memory = F.dropout(outputs, self.dropout, self.training).transpose(0, 1)  # (B, S, 2 H)
        mask = torch.arange(len(source)) < lengths[:, None]
        state = torch.tanh(self.bridge(torch.cat([last[0], last[1]], dim=-1)))
        return state, memory, self.keys(memory), mask

    def step(
        self, x: Tensor, state: Tensor, memory: Tensor, keys: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        scores = torch.tanh(keys + self.query(state)[:, None]) @ self.energy
        weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
        context = torch.bmm(weights[:, None], memory).squeeze(1)
        r, z = torch.sigmoid(self.gates(torch.cat([x, context, state], dim=-1))).chunk(2, dim=-1)
        n = torch.tanh(self.candidate(torch.cat([x, context, r * state], dim=-1)))
        return (1 - z) * state + z * n, context

    def hidden(self, x: Tensor, state: Tensor, context: Tensor) -> Tensor:
        hidden = torch.tanh(self.readout(torch.cat([state, context, x], dim=-1)))
        return F.dropout(hidden, self.dropout, self.training)

    def decode(self, x: Tensor, start: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The teacher-forced pass: states and contexts, (T, B, ·)."""
        state, *attended = start
        states, contexts = [], []
        for step in x:
            state, context = self.step(step, state, *attended)
            states.append(state)
            contexts.append(context)
        return torch.stack(states), torch.stack(contexts)

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor, target_lengths: Tensor) -> Tensor:
        x = F.dropout(self.target_embedding(target[:-1]), self.dropout, self.training)
        states, contexts = self.decode(x, self.start(source, lengths))
        there = torch.arange(len(x))[:, None] < target_lengths
        logits = self.output(self.hidden(x, states, contexts)[there])
        smoothing = self.smoothing if self.training else 0.0
        return F.cross_entropy(logits, target[1:][there], reduction="sum", label_smoothing=smoothing)

    def log_probabilities(
        self, tokens: Tensor, state: Tensor, attended: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        x = self.target_embedding(tokens)
        state, context = self.step(x, state, *attended)
        return torch.log_softmax(self.output(self.hidden(x, state, context)), dim=-1), state

    @torch.inference_mode()
    def greedy(self, source: Tensor, lengths: Tensor, end: int, banned: int, most: int) -> list[list[int]]:
        """All rows until the last has ended."""
        state, *attended = self.start(source, lengths)
        tokens = torch.full((source.shape[1],), end)
        found, done = [], torch.zeros(source.shape[1], dtype=torch.bool)
        for _ in range(most):
            log_probabilities, state = self.log_probabilities(tokens, state, attended)
            log_probabilities[:, banned] = -torch.inf
            tokens = log_probabilities.argmax(dim=-1)
            found.append(tokens)
            done |= tokens == end
            if done.all():
                break
        return [_until(row, end) for row in torch.stack(found, dim=1).tolist()]

    @torch.inference_mode()
    def beam(self, source: Tensor, lengths: Tensor, end: int, banned: int, most: int) -> list[list[int]]:
        """A beam of `BEAM` for every row, all of them until every beam has ended."""
        rows, size = source.shape[1], self.output.out_features
        state, *attended = (part.repeat_interleave(BEAM, dim=0) for part in self.start(source, lengths))
        tokens = torch.full((rows * BEAM,), end)
        totals = torch.full((rows, BEAM), -torch.inf)
        totals[:, 0] = 0.0
        done = torch.zeros(rows, BEAM, dtype=torch.bool)
        paths = torch.empty(rows, BEAM, 0, dtype=torch.long)
        first = torch.arange(rows)[:, None] * BEAM
        only_end = torch.full((size,), -torch.inf)
        only_end[end] = 0.0
        for _ in range(most):
            log_probabilities, state = self.log_probabilities(tokens, state, attended)
            log_probabilities[:, banned] = -torch.inf
            log_probabilities = log_probabilities.view(rows, BEAM, size)
            log_probabilities = torch.where(done[..., None], only_end, log_probabilities)
            totals, best = (totals[..., None] + log_probabilities).flatten(1).topk(BEAM, dim=1)
            origin, token = best // size, best % size
            state = state[(first + origin).flatten()]
            done = done.gather(1, origin) | (token == end)
            paths = paths.gather(1, origin[..., None].expand(-1, -1, paths.shape[-1]))
            paths = torch.cat([paths, token[..., None]], dim=-1)
            tokens = token.flatten()
            if done.all():
                break
        best = totals.argmax(dim=1)
        return [_until(paths[row, place].tolist(), end) for row, place in enumerate(best.tolist())]


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        made.weight.copy_(weight)
        if bias is not None:
            made.bias.copy_(bias)
    return made


def _until(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens


def in_turns(contestants: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for call in contestants.values():
        call()
    for _ in range(repeats):
        for name, call in contestants.items():
            begun = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in seconds.items()}


def trainer(model: nn.Module, batches: Sequence[PairBatch]) -> Callable[[], None]:
    """A step over each batch: forward, backward, clipping, AdamW."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)

    def train() -> None:
        model.train()
        for batch in batches:
            optimiser.zero_grad()
            loss = model(*batch)
            (loss / int(batch.target_lengths.sum())).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()

    return train


def smaller(batch: PairBatch, rows: int) -> PairBatch:
    """The first sentences of a batch."""
    source, target = batch.source[:, :rows], batch.target[:, :rows]
    return PairBatch(source, batch.source_lengths[:rows], target, batch.target_lengths[:rows])


def decoders(
    ours: EncoderDecoder, plain: Plain, batches: Sequence[PairBatch]
) -> dict[str, Callable[[], None]]:
    """The teacher-forced pass of the decoder with its attention and its backward pass; no output layer."""
    prepared = []
    for batch in batches:
        with torch.no_grad():
            outputs, _ = ours.encoder(ours.source_embedding(batch.source), lengths=batch.source_lengths)
            x = ours.target_embedding(batch.target[:-1])
            state = torch.tanh(torch.randn(batch.source.shape[1], ours.decoder.hidden_size))
        prepared.append((outputs, x, state, batch.source_lengths, batch.target_lengths))

    def our() -> None:
        for outputs, x, state, lengths, steps in prepared:
            ours.zero_grad()
            memory, given = outputs.detach().requires_grad_(), x.detach().requires_grad_()
            found, _ = ours.decoder(
                given, state[None], lengths=steps, memory=ours.decoder.attend_to(memory, lengths)
            )
            (found["output"].sum() + found["context"].sum()).backward()

    def theirs() -> None:
        for outputs, x, state, lengths, _ in prepared:
            plain.zero_grad()
            memory, given = outputs.detach().requires_grad_(), x.detach().requires_grad_()
            turned = memory.transpose(0, 1)
            mask = torch.arange(len(outputs)) < lengths[:, None]
            states, contexts = plain.decode(given, (state, turned, plain.keys(turned), mask))
            (states.sum() + contexts.sum()).backward()

    return {"gatework": our, "torch": theirs}


def searches(
    ours: EncoderDecoder, plain: Plain, sources: list[list[int]], sides: tuple[Vocabulary, Vocabulary]
) -> dict[str, dict[str, Callable[[], list[list[int]]]]]:
    """Greedy search and the beam over all sentences, in batches and one by one."""
    end, banned, most = sides[1].boundary, sides[1].unknown, 40
    ours.eval()
    plain.eval()
    ordered = sorted(sources, key=len)

    def prepared(size: int) -> list[tuple[Tensor, Tensor]]:
        return [padded(ordered[at : at + size], sides[0].boundary) for at in range(0, len(ordered), size)]

    def our_greedy(size: int) -> list[list[int]]:
        outputs = []
        for source, lengths in prepared(size):
            with torch.inference_mode():
                state = ours.start(source, lengths)
            rows: list[list[int]] = [[] for _ in range(source.shape[1])]
            first = torch.full((source.shape[1],), end)
            for choice in generate(ours, first, state, length=most, ends={end}, banned={banned}):
                for row, token in zip(choice.rows, choice.tokens, strict=True):
                    rows[row].append(token)
            outputs += rows
        return outputs

    def our_beam(size: int) -> list[list[int]]:
        outputs = []
        for source, lengths in prepared(size):
            with torch.inference_mode():
                state = ours.start(source, lengths)
            first = torch.full((source.shape[1],), end)
            found = beam_search(ours, first, state, length=most, beam=BEAM, ends={end}, banned={banned})
            outputs += [list(hypotheses[0].tokens) for hypotheses in found]
        return outputs

    def theirs(search: Callable[..., list[list[int]]], size: int) -> list[list[int]]:
        return [
            row for source, lengths in prepared(size) for row in search(source, lengths, end, banned, most)
        ]

    return {
        "greedy": {
            "gatework": lambda: our_greedy(TOGETHER),
            "torch": lambda: theirs(plain.greedy, TOGETHER),
            "torch, one by one": lambda: theirs(plain.greedy, 1),
        },
        "beam": {
            "gatework": lambda: our_beam(TOGETHER),
            "torch": lambda: theirs(plain.beam, TOGETHER),
            "torch, one by one": lambda: theirs(plain.beam, 1),
        },
    }


def trained_run(folder: Path) -> Path:
    """Three minutes of the benchmark's own translator."""
    shutil.copyfile(HERE / "configs" / CONFIG, folder / CONFIG)
    for name in ("train.en", "train.ja", "dev.en", "dev.ja"):
        shutil.copyfile(CORPUS / f"{name}.gz", folder / f"{name}.gz")
    gatework(
        "train", "translator", "train.en.gz", "train.ja.gz", "--valid", "dev.en.gz", "--valid", "dev.ja.gz",
        "--config", CONFIG, "--max-minutes", "3", "--out", "run", folder=folder,
    )  # fmt: skip
    return folder / "run"


def text_of(name: str) -> list[str]:
    return gzip.decompress((CORPUS / f"{name}.gz").read_bytes()).decode().splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="a translator, English to Japanese; else one is trained")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batches", type=int, default=12)
    arguments = parser.parse_args()
    if not CORPUS.is_dir():
        parser.error(f"there is no data in {CORPUS}: set GATEWORK_DATA")
    with tempfile.TemporaryDirectory() as temporary:
        task = gw.load(arguments.run or trained_run(Path(temporary)))
    ours, sides = task.network_, task.vocabularies_
    plain = Plain(ours)
    pairs = Packed.from_rows(
        {"source": np.asarray(sides[0].encode(a)), "target": np.asarray(sides[1].encode(b))}
        for a, b in zip(text_of("train.en")[:20_000], text_of("train.ja"), strict=False)
    )
    indices = length_batches(pairs.lengths("source", "target"), task.options.batch_tokens, seed=1)[
        : arguments.batches
    ]
    batches = [collate([pairs[index] for index in some], sides) for some in indices]
    tokens = sum(int(batch.target_lengths.sum()) for batch in batches)

    ours.eval()
    plain.eval()
    with torch.no_grad():
        for batch in batches:
            one, other = ours(*batch).item(), plain(*batch).item()
            if abs(one - other) > 1e-4 * abs(other):
                raise SystemExit(f"the two models differ: {one} and {other}")
    found: dict[str, Any] = {"tokens": tokens, "rows": [batch.source.shape[1] for batch in batches]}
    found["training"] = in_turns(
        {"gatework": trainer(ours, batches), "torch": trainer(plain, batches)}, arguments.repeats
    )
    found["decoder"] = in_turns(decoders(ours, plain, batches), arguments.repeats)
    for rows in FEWER:
        some = [smaller(batch, rows) for batch in batches]
        found[f"decoder, {rows} sentences"] = in_turns(decoders(ours, plain, some), arguments.repeats)
    sources = [sides[0].encode(text) for text in text_of("test.en")[:SENTENCES]]
    for name, contestants in searches(ours, plain, sources, sides).items():
        outputs = {who: call() for who, call in contestants.items()}
        same = sum(a == b for a, b in zip(outputs["gatework"], outputs["torch"], strict=True))
        if name == "greedy" and same < 0.99 * len(sources):
            raise SystemExit(f"{name}: {same} of {len(sources)} outputs are the same")
        found[name] = {**in_turns(contestants, max(3, arguments.repeats // 2)), "same_outputs": same}
    few = [f"decoder, {rows} sentences" for rows in FEWER]
    for name in ("training", "decoder", *few, "greedy", "beam"):
        times = found[name]
        ratios = {
            who: seconds / times["gatework"] for who, seconds in times.items() if who.startswith("torch")
        }
        found[name]["ratios"] = ratios
        shown = ", ".join(f"{who} takes {ratio:.2f} times as long" for who, ratio in ratios.items())
        print(f"{name}: {times['gatework']:.3f} s; {shown}", flush=True)
    for who in ("gatework", "torch"):
        print(f"training, {who}: {tokens / found['training'][who]:,.0f} target tokens a second")
    write_result("translation_speed", {"results": found, "machine": machine()})


if __name__ == "__main__":
    main()
