"""One step as a module: `RecurrentCell` for any cell, and those of torch.nn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gatework import cells
from gatework.backends import SequenceInput, choose
from gatework.cells import get
from gatework.graph import Cell, TraceError
from gatework.graph.node import resolve
from gatework.graph.parameters import parameter_shapes
from gatework.graph.variants import variant
from gatework.layers.parameters import Initialisation, initialise, load_by_gate, store_layout
from gatework.layers.torch_like import elman_cell


class RecurrentCell(nn.Module):
    """One step of a cell.

    Args:
        cell: a `gatework.Cell`, or the name of one of the catalogue.
        input_size: I.
        hidden_size: H.
        bias: biases in the cell's linear maps.
        sizes: values of further sizes that the cell names.
        init, forget_bias: as in `Recurrent`.

    Raises:
        ValueError: the cell reads more than its input and its states (`Recurrent` runs such cells), or needs a
            size that nobody gave.
        TraceError: a learned vector has the name of an attribute that modules have.
    """

    def __init__(
        self,
        cell: Cell | str,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        sizes: Mapping[str, int] | None = None,
        init: Initialisation = "torch",
        forget_bias: float | None = None,
    ) -> None:
        super().__init__()
        self.cell = get(cell) if isinstance(cell, str) else cell
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        self.init = init
        self.forget_bias = forget_bias
        self._graph = variant(self.cell.graph, bias=bias)
        if len(self._graph.inputs) > 1:
            names = ", ".join(spec.name for spec in self._graph.inputs[1:])
            raise ValueError(f"The cell {self.cell.name} also reads {names}: run it with gw.Recurrent.")
        self._sizes = {"input_size": input_size, "hidden_size": hidden_size, **dict(sizes or {})}
        for size in self._graph.sizes():
            if self._sizes.get(size, 0) < 1:
                raise ValueError(
                    f"The cell {self.cell.name} needs a value of {size}, 1 or more; it is {self._sizes.get(size)}."
                )
        for name, shape in parameter_shapes(self._graph, self._sizes).items():
            if hasattr(self, name):
                raise TraceError(
                    f"The learned vector {name!r} of {self.cell.name} has the name of an attribute of "
                    f"{type(self).__name__}, whose parameters are attributes of their own names (`weight_ih`, …). "
                    "Every attribute of torch.nn.Module is taken, and cell, input_size, hidden_size, bias, init and "
                    "forget_bias. gw.Recurrent, which appends the layer to a name, runs this cell.",
                    f'vector("{name}")',
                    f'vector("own_{name}")',
                )
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self._names = tuple(parameter_shapes(self._graph, self._sizes))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws every parameter anew."""
        initialise(self._graph, self._tensors(), self._sizes, self.init, self.forget_bias)

    def _tensors(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self._names}

    def forward(
        self, input: Tensor, hx: Tensor | tuple[Tensor, ...] | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """One step.

        Args:
            input: (B, I), or (I) for one row.
            hx: the states, (B, size) or (size) each: a tensor for a cell of one state, a tuple for several.

        Returns:
            The new states, shaped as `hx`; the first one is the output.

        Raises:
            ValueError: a shape that does not fit.
        """
        if input.dim() not in (1, 2) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"The input has shape {tuple(input.shape)}; expected (B, {self.input_size}) or ({self.input_size},)."
            )
        batched = input.dim() == 2
        x = input if batched else input.unsqueeze(0)
        states = self._states(hx, x, batched)
        choice = choose(
            self._graph,
            self._sizes,
            record=False,
            like=x,
            empty=x.numel() == 0,
            one_step=True,
            tensors=(*states, *self._tensors().values()),
        )
        sequence = SequenceInput({self._graph.inputs[0].name: x.unsqueeze(0)}, {}, states)
        result = choice.backend.run(self._graph, self._tensors(), sequence, record=False).states
        new = result if batched else tuple(state.squeeze(0) for state in result)
        return new if len(new) > 1 else new[0]

    def _states(self, hx: Tensor | tuple[Tensor, ...] | None, x: Tensor, batched: bool) -> tuple[Tensor, ...]:
        specs = self._graph.states
        shapes = [(x.shape[0], resolve(spec.size, self._sizes)) for spec in specs]
        if hx is None:
            return tuple(x.new_full(shape, spec.init) for shape, spec in zip(shapes, specs, strict=True))
        given = hx if isinstance(hx, tuple | list) else (hx,)
        if len(given) != len(specs):
            raise ValueError(f"hx has {len(given)} states; {self.cell.name} has {len(specs)}.")
        states = []
        for value, shape, spec in zip(given, shapes, specs, strict=True):
            value = value if batched else value.unsqueeze(0)
            if tuple(value.shape) != shape:
                raise ValueError(
                    f"The state {spec.name} in hx has {tuple(value.shape)} rows and units; expected {shape}."
                )
            states.append(value)
        return tuple(states)

    def extra_repr(self) -> str:
        return f"{self.cell.name}, {self.input_size}, {self.hidden_size}" + (
            "" if self.bias else ", bias=False"
        )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        load_by_gate(state_dict, prefix, "", local_metadata, self._graph, self._sizes)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        store_layout(destination, prefix, self._graph)


class RNNCell(RecurrentCell):
    """In place of torch.nn.RNNCell: `h = cell(input, h)`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        init: Initialisation = "torch",
    ) -> None:
        self.nonlinearity = nonlinearity
        super().__init__(elman_cell(nonlinearity), input_size, hidden_size, bias, device, dtype, init=init)


class LSTMCell(RecurrentCell):
    """In place of torch.nn.LSTMCell: `h, c = cell(input, (h, c))`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        init: Initialisation = "torch",
        forget_bias: float | None = None,
    ) -> None:
        super().__init__(
            cells.lstm, input_size, hidden_size, bias, device, dtype, init=init, forget_bias=forget_bias
        )


class GRUCell(RecurrentCell):
    """In place of torch.nn.GRUCell: `h = cell(input, h)`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        init: Initialisation = "torch",
    ) -> None:
        super().__init__(cells.gru, input_size, hidden_size, bias, device, dtype, init=init)
