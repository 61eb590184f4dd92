"""Sequences from sequences: encoder, decoder, the bridge between them, and one search for every decoder."""

from gatework.seq2seq.network import DecoderState, EncoderDecoder
from gatework.seq2seq.search import (
    Choice,
    Decoder,
    Ensemble,
    Hypothesis,
    RankingDecoder,
    beam_search,
    generate,
)

__all__ = [
    "Choice",
    "Decoder",
    "DecoderState",
    "EncoderDecoder",
    "Ensemble",
    "Hypothesis",
    "RankingDecoder",
    "beam_search",
    "generate",
]
