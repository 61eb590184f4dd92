"""The catalogue: every cell that Gatework brings, by name."""

from __future__ import annotations

from gatework.cells.bahdanau_gru import bahdanau_gru
from gatework.cells.bahdanau_lstm import bahdanau_lstm
from gatework.cells.cho_gru import cho_gru
from gatework.cells.coupled_lstm import coupled_lstm
from gatework.cells.ctrnn import ctrnn
from gatework.cells.elman import elman
from gatework.cells.gru import gru
from gatework.cells.gru_original import gru_original
from gatework.cells.ind_rnn import ind_rnn
from gatework.cells.layer_norm_gru import layer_norm_gru
from gatework.cells.layer_norm_lstm import layer_norm_lstm
from gatework.cells.lstm import lstm
from gatework.cells.luong_lstm import luong_lstm
from gatework.cells.minimal_gated_unit import minimal_gated_unit
from gatework.cells.peephole_lstm import peephole_lstm
from gatework.cells.projected_lstm import projected_lstm
from gatework.cells.slstm import slstm
from gatework.errors import InputError, nearest
from gatework.graph import Cell

CATALOGUE: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        elman,
        lstm,
        projected_lstm,
        gru,
        gru_original,
        peephole_lstm,
        coupled_lstm,
        layer_norm_lstm,
        layer_norm_gru,
        minimal_gated_unit,
        ind_rnn,
        ctrnn,
        slstm,
        cho_gru,
        bahdanau_gru,
        bahdanau_lstm,
        luong_lstm,
    )
}


def names() -> list[str]:
    """The names of the catalogue, in its order."""
    return list(CATALOGUE)


def get(name: str) -> Cell:
    """A cell of the catalogue.

    Raises:
        InputError: there is none of this name; the message has the nearest right one.
    """
    if name not in CATALOGUE:
        raise InputError(f"cell {name!r}", "there is no such cell in the catalogue", nearest(name, CATALOGUE))
    return CATALOGUE[name]
