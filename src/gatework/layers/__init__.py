"""torch modules over a cell: any cell over time, torch.nn's layers, single steps, streams, the tape."""

from gatework.layers.attention import Attention, AttentionPooling
from gatework.layers.linear import Linear
from gatework.layers.linear_chain import LinearChainCRF
from gatework.layers.memory import Memories
from gatework.layers.recurrent import Recurrent, explain
from gatework.layers.replace import replace
from gatework.layers.single_step import GRUCell, LSTMCell, RecurrentCell, RNNCell
from gatework.layers.softmax import AdaptiveSoftmax
from gatework.layers.state import (
    detach_state,
    map_state,
    reorder_state,
    reset_state,
    state_of_rows,
    state_rows,
)
from gatework.layers.stream import Stream
from gatework.layers.tape import Tape, record
from gatework.layers.torch_like import GRU, LSTM, RNN

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AdaptiveSoftmax",
    "Attention",
    "AttentionPooling",
    "GRUCell",
    "LSTMCell",
    "Linear",
    "LinearChainCRF",
    "Memories",
    "RNNCell",
    "Recurrent",
    "RecurrentCell",
    "Stream",
    "Tape",
    "detach_state",
    "explain",
    "map_state",
    "record",
    "reorder_state",
    "replace",
    "reset_state",
    "state_of_rows",
    "state_rows",
]
