"""One step as a module: `RecurrentCell` for any cell, and those of torch.nn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gatework import cells
from gatework.backends import SequenceInput, asked
from gatework.backends.admission import all_plain, in_a_mode
from gatework.cells import get
from gatework.graph import Cell, TraceError
from gatework.layers.arguments import check_dtypes, check_is_tensor, check_shapes
from gatework.layers.call_plan import plan_call, plan_cell_step, plan_step, request_of
from gatework.layers.parameters import Initialisation, initialise, load_by_gate, store_layout, whole_weight
from gatework.layers.structure import FixedSize, LayerStack, shared
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

    input_size = FixedSize("_stack")
    hidden_size = FixedSize("_stack")

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
        self.bias = bias
        self.init = init
        self.forget_bias = forget_bias
        if len(self.cell.graph.inputs) > 1:
            names = ", ".join(spec.name for spec in self.cell.graph.inputs[1:])
            raise ValueError(f"The cell {self.cell.name} also reads {names}: run it with gw.Recurrent.")
        named = {"hidden_size": hidden_size, **dict(sizes or {})}
        self._stack = shared(LayerStack(self.cell.graph, input_size, tuple(named.items()), bias=bias))
        for name, shape in self._stack.stored_shapes(0).items():
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
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws every parameter anew."""
        initialise(self._stack.graph, self._stored(), self._stack.layer_sizes(0), self.init, self.forget_bias)

    def _stored(self) -> dict[str, Tensor]:
        """The parameters as the module keeps them."""
        parameters = {}
        for name in self._stack.names:
            value = self._parameters.get(
                name
            )  # without nn.Module's __getattr__; parametrized weights are not in it
            parameters[name] = getattr(self, name) if value is None else value
        return parameters

    def _tensors(self) -> dict[str, Tensor]:
        """The parameters as kernels read them."""
        stored, heads = self._stored(), self._stack.heads
        return {name: whole_weight(name, value, heads) for name, value in stored.items()} if heads else stored

    def _plain_weights(self) -> list[Tensor]:
        parameters: dict[str, Any] = self._parameters
        if self._stack.heads:
            return list(self._tensors().values())
        try:
            return [parameters[name] for name in self._stack.names]
        except KeyError:  # parametrized weights are no parameters of the module
            return list(self._tensors().values())

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
        if hx is not None and not in_a_mode():  # the plain call of a loop, which costs what torch.nn's does
            stack = self._stack
            operator = plan_step(stack, asked(), torch.is_grad_enabled())
            if _of_rows(input, hx, len(stack.state_widths)):
                weights = self._plain_weights()
                new = self._by_the_engine(input, hx if isinstance(hx, tuple) else (hx,), weights)
                if new is not None:
                    return new if len(new) > 1 else new[0]
                if operator is not None and input.dtype is weights[0].dtype:
                    try:
                        return operator(input, hx, *weights)
                    except RuntimeError:  # sizes, which the checks below name; `_step` raises all else
                        pass
        batched = input.dim() == 2
        if (not batched and input.dim() != 1) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"The input has shape {tuple(input.shape)}; expected (B, {self.input_size}) or ({self.input_size},)."
            )
        x = input if batched else input.unsqueeze(0)
        states = self._states(hx, x, batched)
        new = self._step(x, states)
        if not batched:
            new = tuple(state.squeeze(0) for state in new)
        return new if len(new) > 1 else new[0]

    def _by_the_engine(
        self, x: Tensor, states: tuple[Tensor, ...], weights: list[Tensor]
    ) -> tuple[Tensor, ...] | None:
        """The new states of a step, outside of torch's modes; None where the call is not one for the engine."""
        stack, input_gradient = self._stack, None
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *states, *weights)):
            input_gradient = x.requires_grad
        planned = plan_cell_step(stack, asked(), x.dtype, len(x), input_gradient)
        if planned is None or x.shape[1] != stack.input_size:
            return None
        for state, width in zip(states, stack.state_widths, strict=True):
            if state.shape != (len(x), width):
                return None
        for parameter, shape in zip(weights, stack.module_shapes, strict=True):
            if parameter.shape != shape:
                return None
        given = [tensor if tensor.is_contiguous() else tensor.contiguous() for tensor in (x, *states)]
        if not all_plain(given, weights, x.dtype):
            return None
        step, call = planned
        return step(call, given[0], weights, given[1:])

    def _step(self, x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        parameters = self._tensors()
        weights = list(parameters.values())
        new = None if in_a_mode() else self._by_the_engine(x, states, weights)
        if new is not None:
            return new
        operator = None if in_a_mode() else plan_step(self._stack, asked(), torch.is_grad_enabled())
        if operator is not None and x.dtype is weights[0].dtype:
            made = operator(x, states if len(states) > 1 else states[0], *weights)
            return made if isinstance(made, tuple) else (made,)
        check_dtypes(
            x, [*parameters.items(), *zip((s.name for s in self._stack.graph.states), states, strict=True)]
        )
        check_shapes(self._stack, weights)
        request = request_of(
            (x, *states, *parameters.values()), rows=len(x), one_step=True, empty=x.numel() == 0
        )
        plan = plan_call(self._stack, request, training=False)
        sequence = SequenceInput({plan.graph.inputs[0].name: x.unsqueeze(0)}, {}, states)
        return plan.choice.backend.run(plan.graph, parameters, sequence).states

    def _states(self, hx: Tensor | tuple[Tensor, ...] | None, x: Tensor, batched: bool) -> tuple[Tensor, ...]:
        specs, widths = self._stack.graph.states, self._stack.state_widths
        if hx is None:
            return tuple(
                x.new_full((len(x), width), spec.init) for spec, width in zip(specs, widths, strict=True)
            )
        values = hx if isinstance(hx, tuple | list) else (hx,)
        if len(values) != len(specs):
            raise ValueError(f"hx has {len(values)} states; {self.cell.name} has {len(specs)}.")
        for value, spec in zip(values, specs, strict=True):
            check_is_tensor(spec.name, value)
        states = tuple(values) if batched else tuple(value.unsqueeze(0) for value in values)
        for value, width, spec in zip(states, widths, specs, strict=True):
            if value.shape != (x.shape[0], width):
                raise ValueError(
                    f"The state {spec.name} in hx has {tuple(value.shape)} rows and units; expected "
                    f"{(x.shape[0], width)}."
                )
        return states

    def extra_repr(self) -> str:
        return f"{self.cell.name}, {self.input_size}, {self.hidden_size}" + (
            "" if self.bias else ", bias=False"
        )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        load_by_gate(state_dict, prefix, "", local_metadata, self._stack.graph, self._stack.layer_sizes(0))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        store_layout(destination, prefix, self._stack.graph)


def _of_rows(input: Tensor, hx: Tensor | tuple[Tensor, ...], states: int) -> bool:
    """Whether the input and so many states have two dimensions; the operator compares their sizes."""
    if input.dim() != 2:
        return False
    if states == 1:
        return isinstance(hx, Tensor) and hx.dim() == 2
    if type(hx) is not tuple or len(hx) != states:
        return False
    for state in hx:  # noqa: SIM110  (a generator costs as much as the rest)
        if not isinstance(state, Tensor) or state.dim() != 2:
            return False
    return True


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
