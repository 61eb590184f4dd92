"""What a report of a recording and its transcript looks at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gatework.data import Tokenizer
from gatework.inspect import Outcome, Steps, Subject
from gatework.seq2seq import BLANK, ctc_log_probability, greedy_labels
from gatework.tasks.transcriber.network import LabelScores, SoundBatch, TranscriberNetwork

__all__ = ["sound_subject"]

_READS = "recurrent"
_SILENT = "·"  # what stands for the blank
_MOST = 11


def sound_subject(network: TranscriberNetwork, batch: SoundBatch, tokenizer: Tokenizer, text: str) -> Subject:
    """The network hears one recording.

    Args:
        text: what the search has found.
    """
    with torch.no_grad():
        table = network(batch).log_probabilities[:, 0]
    best = table.argmax(-1).tolist()
    labels = [_SILENT if each == BLANK else tokenizer.token(each - 1) for each in best]
    loudness = batch.frames[:, 0].mean(-1)
    stride = network.front.stride
    heard = [float(loudness[min(step * stride, len(loudness) - 1)]) for step in range(len(labels))]
    told = [each + 1 for each in tokenizer.encode(text)] or greedy_labels(table.cpu().numpy())

    def transcript(scores: LabelScores) -> Tensor:
        wanted = torch.tensor([[*told]], device=table.device)
        counts = torch.tensor([len(told)], device=table.device)
        return ctc_log_probability(scores.log_probabilities, scores.lengths, wanted, counts)[0]

    first = Outcome(f"the log-probability of {text!r}", _READS, transcript)
    said = [_label(step, labels[step], best[step]) for step in _peaks(best)]
    steps = Steps(labels, {"what it says": labels, "how loud it is": heard}, joined="")
    return Subject(network, lambda: network(batch), {_READS: steps}, [*([first] if told else []), *said])


def _peaks(best: Sequence[int]) -> list[int]:
    """The steps at which a label begins that is no blank."""
    begins = [
        step for step, each in enumerate(best) if each != BLANK and (step == 0 or best[step - 1] != each)
    ]
    return begins[:_MOST] or [len(best) - 1]


def _label(step: int, name: str, index: int) -> Outcome:
    def value(scores: LabelScores) -> Tensor:
        return scores.log_probabilities[step, 0, index]

    return Outcome(f"the log-probability of {name!r} at step {step}", _READS, value)
