"""Layers that drop in for torch.nn's: signature, shapes, state dict and starting values are theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from gatework import cells
from gatework.errors import nearest
from gatework.graph import Cell
from gatework.graph.language import relu, tanh
from gatework.layers.parameters import Initialisation
from gatework.layers.recurrent import Recurrent

_ACTIVATIONS = {"tanh": tanh, "relu": relu}


class RNN(Recurrent):
    """Elman network (Elman 1990), in place of torch.nn.RNN.

    Args:
        nonlinearity: `tanh` or `relu`.

    The other arguments are those of `Recurrent`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        recurrent_dropout: float = 0.0,
        zoneout: float | Mapping[str, float] = 0.0,
        residual: bool = False,
        init: Initialisation = "torch",
        forget_bias: float | None = None,
    ) -> None:
        self.nonlinearity = nonlinearity
        super().__init__(
            elman_cell(nonlinearity),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            residual=residual,
            init=init,
            forget_bias=forget_bias,
        )


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997), in place of torch.nn.LSTM.

    Args:
        proj_size: width of the projected output (Sak et al. 2014), or a list of one for each layer; 0 for none.

    The other arguments are those of `Recurrent`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int | Sequence[int] = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        recurrent_dropout: float = 0.0,
        zoneout: float | Mapping[str, float] = 0.0,
        residual: bool = False,
        init: Initialisation = "torch",
        forget_bias: float | None = None,
    ) -> None:
        given = [[*size] if isinstance(size, list | tuple) else [size] for size in (proj_size, hidden_size)]
        most = max(map(len, given))
        for projected, units in zip(
            *(sizes * most if len(sizes) == 1 else sizes for sizes in given), strict=False
        ):
            if projected < 0 or projected >= units > 0:
                raise ValueError(
                    f"proj_size={proj_size}: it must be 0 or more and smaller than hidden_size={hidden_size}."
                )
        super().__init__(
            cells.projected_lstm if proj_size else cells.lstm,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            residual=residual,
            init=init,
            forget_bias=forget_bias,
        )


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014), reset after the product, in place of torch.nn.GRU.

    The arguments are those of `Recurrent`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        recurrent_dropout: float = 0.0,
        zoneout: float | Mapping[str, float] = 0.0,
        residual: bool = False,
        init: Initialisation = "torch",
        forget_bias: float | None = None,
    ) -> None:
        super().__init__(
            cells.gru,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            residual=residual,
            init=init,
            forget_bias=forget_bias,
        )


def elman_cell(nonlinearity: str) -> Cell:
    """The Elman cell with one of torch.nn's two nonlinearities.

    Raises:
        ValueError: another nonlinearity.
    """
    if nonlinearity not in _ACTIVATIONS:
        raise ValueError(
            f"nonlinearity={nonlinearity!r}: torch.nn.RNN has tanh and relu. {nearest(nonlinearity, _ACTIVATIONS)} "
            "For another, use gw.Recurrent(gw.elman.with_options(activation=…), …)."
        )
    return (
        cells.elman.with_options(activation=_ACTIVATIONS[nonlinearity])
        if nonlinearity != "tanh"
        else cells.elman
    )
