"""Sequences from sequences: encoder, decoder, the bridge between them, and one search for every decoder."""

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
)

__all__ = [
    "Decoder",
    "DecoderState",
    "Draw",
    "EncoderDecoder",
    "EncoderDecoderEnsemble",
    "Ensemble",
    "Hypothesis",
    "RankingDecoder",
    "beam_search",
    "generate",
    "mean_losses",
]
