"""Sequences from sequences: one search for every decoder."""

from gatework.seq2seq.search import Choice, Decoder, Hypothesis, beam_search, generate

__all__ = ["Choice", "Decoder", "Hypothesis", "beam_search", "generate"]
