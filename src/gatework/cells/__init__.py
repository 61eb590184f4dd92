"""The catalogue of cells: one file each, its equations and its paper."""

from gatework.cells.bahdanau_gru import bahdanau_gru
from gatework.cells.bahdanau_lstm import bahdanau_lstm
from gatework.cells.catalogue import CATALOGUE, get, names
from gatework.cells.cho_gru import cho_gru
from gatework.cells.coupled_lstm import coupled_lstm
from gatework.cells.ctrnn import ctrnn
from gatework.cells.elman import elman
from gatework.cells.gru import gru
from gatework.cells.gru_original import gru_original
from gatework.cells.ind_rnn import ind_rnn
from gatework.cells.layer_norm_gru import layer_norm_gru
from gatework.cells.layer_norm_lstm import layer_norm_lstm
from gatework.cells.load import load
from gatework.cells.lstm import lstm
from gatework.cells.luong_lstm import luong_lstm
from gatework.cells.minimal_gated_unit import minimal_gated_unit
from gatework.cells.peephole_lstm import peephole_lstm
from gatework.cells.projected_lstm import projected_lstm
from gatework.cells.slstm import slstm

__all__ = [
    "CATALOGUE",
    "bahdanau_gru",
    "bahdanau_lstm",
    "cho_gru",
    "coupled_lstm",
    "ctrnn",
    "elman",
    "get",
    "gru",
    "gru_original",
    "ind_rnn",
    "layer_norm_gru",
    "layer_norm_lstm",
    "load",
    "lstm",
    "luong_lstm",
    "minimal_gated_unit",
    "names",
    "peephole_lstm",
    "projected_lstm",
    "slstm",
]
