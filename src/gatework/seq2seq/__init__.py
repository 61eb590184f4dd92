"""Sequences from sequences: encoder, decoder, the bridge between them, and one search for every decoder."""

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
    "Ensemble",
    "Hypothesis",
    "RankingDecoder",
    "beam_search",
    "generate",
]
