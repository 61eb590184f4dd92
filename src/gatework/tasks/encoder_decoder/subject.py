"""What a report of a text and the text that answers it looks at."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from gatework.inspect import Outcome, Subject
from gatework.seq2seq import EncoderDecoder
from gatework.tasks.encoder_decoder.batch import PairBatch
from gatework.tasks.encoder_decoder.vocabulary import Vocabulary
from gatework.tasks.inspecting import text_steps

__all__ = ["pair_subject"]

_END = "</s>"


def pair_subject(
    network: EncoderDecoder, batch: PairBatch, vocabularies: tuple[Vocabulary, Vocabulary], joined: str
) -> Subject:
    """The network reads one source and is told one target, of which it says each token.

    Args:
        joined: what stands between two tokens of a text.
    """
    source, target = (
        [_END if id == known.boundary else known.tokenizer.token(id) for id in ids[:, 0].tolist()]
        for ids, known in zip((batch.source, batch.target), vocabularies, strict=True)
        if ids is not None
    )

    def of(place: int, token: str) -> Outcome:
        def value(losses: Tensor) -> Tensor:
            return -losses[place, 0]

        return Outcome(f"the log-probability of {token!r}, token {place + 1}", "encoder", value)

    whole = Outcome("the log-probability of the whole output", "encoder", lambda losses: -losses.sum())
    read = text_steps(target[:-1], joined)
    targets = {**read.targets, "the next symbol": target[1:]}
    read = replace(read, memory=source, written=target[1:], targets=targets)
    return Subject(
        network,
        lambda: network.losses(*batch),  # type: ignore[arg-type]  # there is a target
        {"encoder": text_steps(source, joined), "decoder": read, "upper": read},
        [whole, *(of(place, token) for place, token in enumerate(target[1:]))],
    )
