# Made by docs/stubs.py; what it says stands in __init__.py.

from gatework.cells.catalogue import CATALOGUE as CATALOGUE
from gatework.cells.bahdanau_gru import bahdanau_gru as bahdanau_gru
from gatework.cells.bahdanau_lstm import bahdanau_lstm as bahdanau_lstm
from gatework.cells.cfc import cfc as cfc
from gatework.cells.cho_gru import cho_gru as cho_gru
from gatework.cells.coupled_lstm import coupled_lstm as coupled_lstm
from gatework.cells.ctrnn import ctrnn as ctrnn
from gatework.cells.elman import elman as elman
from gatework.cells.catalogue import get as get
from gatework.cells.gru import gru as gru
from gatework.cells.gru_d import gru_d as gru_d
from gatework.cells.gru_original import gru_original as gru_original
from gatework.cells.ind_rnn import ind_rnn as ind_rnn
from gatework.cells.layer_norm_gru import layer_norm_gru as layer_norm_gru
from gatework.cells.layer_norm_lstm import layer_norm_lstm as layer_norm_lstm
from gatework.cells.load import load as load
from gatework.cells.lstm import lstm as lstm
from gatework.cells.luong_lstm import luong_lstm as luong_lstm
from gatework.cells.minimal_gated_unit import minimal_gated_unit as minimal_gated_unit
from gatework.cells.catalogue import names as names
from gatework.cells.peephole_lstm import peephole_lstm as peephole_lstm
from gatework.cells.projected_lstm import projected_lstm as projected_lstm
from gatework.cells.qrn import qrn as qrn
from gatework.cells.slstm import slstm as slstm
