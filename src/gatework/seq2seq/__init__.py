"""Sequences from sequences: encoder, decoder, the bridge between them, and one search for every decoder."""

from gatework.seq2seq.ctc import (
    BLANK,
    AlignedLabel,
    align,
    annealed_ctc,
    ctc_log_probability,
    greedy_labels,
    least_frames,
)
from gatework.seq2seq.ctc_decoder import CtcDecoder, WeightedDecoders
from gatework.seq2seq.ctc_search import LabelHypothesis, PrefixScorer, PrefixSearch, SumScorer, prefix_search
from gatework.seq2seq.drawing import draw
from gatework.seq2seq.ensembles import EncoderDecoderEnsemble, mean_losses
from gatework.seq2seq.network import DecoderState, EncoderDecoder
from gatework.seq2seq.search import (
    Decoder,
    Draw,
    Ensemble,
    Hypothesis,
    RankingDecoder,
    beam_search,
    generate,
    length_divisor,
)

__all__ = [
    "BLANK",
    "AlignedLabel",
    "CtcDecoder",
    "Decoder",
    "DecoderState",
    "Draw",
    "EncoderDecoder",
    "EncoderDecoderEnsemble",
    "Ensemble",
    "Hypothesis",
    "LabelHypothesis",
    "PrefixScorer",
    "PrefixSearch",
    "RankingDecoder",
    "SumScorer",
    "WeightedDecoders",
    "align",
    "annealed_ctc",
    "beam_search",
    "ctc_log_probability",
    "draw",
    "generate",
    "greedy_labels",
    "least_frames",
    "length_divisor",
    "mean_losses",
    "prefix_search",
]
