"""Starting values of a layer's parameters, and loading them by gate name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import init

from gatework.backends import torch_fused
from gatework.errors import nearest
from gatework.graph import Graph
from gatework.graph.parameters import gate_rows, heads_of, layout_metadata
from gatework.layers.structure import LayerStack, Weights


def whole_weight(name: str, stored: Tensor, heads: Mapping[str, int]) -> Tensor:
    """A parameter as the kernels read it: of a weight with heads, which is kept as its blocks, the whole with zeros.

    Args:
        name: in a layer. stored: (G * H, H / heads) for G gates of H units. heads: by name.

    Returns:
        (G * H, H); the parameter itself where it has no heads.
    """
    count = heads.get(name, 1)
    if count == 1:
        return stored
    units = stored.shape[1]
    blocks = stored.view(-1, count, units, units).permute(0, 2, 3, 1)  # (G, row, column, head)
    whole = torch.diag_embed(blocks).permute(0, 3, 1, 4, 2)  # (G, head, row, head, column)
    return whole.reshape(-1, count * units)


Initialisation = Literal["torch", "keras"]


@torch.no_grad()
def initialise(
    graph: Graph,
    parameters: Mapping[str, Tensor],
    sizes: Mapping[str, int],
    scheme: Initialisation,
    forget_bias: float | None,
) -> None:
    """Draws one layer's parameters in place.

    Args:
        parameters: by name, without the layer's suffix, in the order in which they are drawn.
        scheme: `torch` draws everything uniformly from ±1/sqrt(hidden_size), in torch.nn's order; `keras` draws
            input weights by Glorot & Bengio (2010), recurrent ones orthogonal (Saxe et al. 2013), those of each
            head by themselves, biases 0 and a forget bias of 1 (Jozefowicz et al. 2015).
        forget_bias: the start of the forget gate's bias, the sum of its two halves; None leaves the scheme's.

    Raises:
        ValueError: an unknown scheme, or a forget bias for a cell without a gate of that name.
    """
    if scheme not in ("torch", "keras"):
        raise ValueError(
            f"init={scheme!r}: there is no such initialisation. {nearest(str(scheme), ('torch', 'keras'))}"
        )
    starts = {vector.name: vector.init for vector in graph.vectors}
    bound = 1 / math.sqrt(sizes["hidden_size"])
    for name, parameter in parameters.items():
        start = starts.get(name, "uniform")
        if isinstance(start, tuple):
            init.uniform_(parameter, *start)
        elif start != "uniform":
            parameter.fill_(float(start))
        elif scheme == "torch" or name in starts:
            init.uniform_(parameter, -bound, bound)
        elif name.startswith("bias_"):
            parameter.zero_()
        elif name.endswith("hh"):
            _orthogonal(parameter, heads_of(graph).get("hh", 1))
        else:
            init.xavier_uniform_(parameter)
    has_forget = any(block.gate == "forget" and block.bias for block in graph.blocks)
    if forget_bias is None:
        forget_bias = 1.0 if scheme == "keras" and has_forget else None
    elif not has_forget:
        raise ValueError(
            f"forget_bias={forget_bias}: {graph.name} has no gate named 'forget' with a bias. Leave it out."
        )
    if forget_bias is not None:
        _set_forget_bias(graph, parameters, sizes, forget_bias)


def _orthogonal(weight: Tensor, heads: int) -> None:
    """Draws a recurrent weight whose columns are orthonormal: of one with heads those of each head's blocks."""
    if heads == 1:
        init.orthogonal_(weight)
        return
    units = weight.shape[1]
    for of_head in weight.view(-1, heads, units, units).unbind(1):
        of_head.copy_(init.orthogonal_(weight.new_empty(len(of_head) * units, units)).view_as(of_head))


def _set_forget_bias(
    graph: Graph, parameters: Mapping[str, Tensor], sizes: Mapping[str, int], forget_bias: float
) -> None:
    value = forget_bias
    for slot in graph.slots():
        rows = gate_rows(graph, slot, sizes)
        if "forget" in rows and f"bias_{slot}" in parameters:
            first, last = rows["forget"]
            parameters[f"bias_{slot}"][first:last] = value
            value = 0.0  # the two biases are summed: one of them holds it all


def join_on_gpu(stack: LayerStack, parameters: Mapping[str, Any], weights: Weights) -> None:
    """Puts a module's parameters side by side in memory, as cuDNN reads them without a copy; off a GPU nothing.

    Args:
        parameters: of the module, by name. weights: of a layer and direction.
    """
    if stack.by_layer or stack.heads:
        return
    every = [parameters.get(name) for name in stack.module_names]
    if not all(isinstance(value, nn.Parameter) and value.is_cuda for value in every):
        return
    layers = [weights(*pair) for pair in stack.pairs]
    if stack.residual and stack.num_layers > 1:  # its layers run one by one
        for layer in layers:
            torch_fused.join_weights(stack.graph, [layer], directions=1)
    else:
        torch_fused.join_weights(stack.graph, layers, directions=stack.directions)


def reorder_rows(
    packed: Tensor, stored: list[list[str]], rows: Mapping[str, tuple[int, int]], where: str
) -> Tensor:
    """A packed weight or bias in this layer's order of gates.

    Args:
        packed: rows in the stored order.
        stored: [gate, rows] pairs in that order.
        rows: where this layer wants each gate.

    Raises:
        ValueError: the stored gates are others.
    """
    names = [gate for gate, _ in stored]
    if sorted(names) != sorted(rows):
        raise ValueError(f"{where} was stored with the gates {names}; this cell has {list(rows)}.")
    if names == list(rows):
        return packed
    pieces: dict[str, Tensor] = {}
    start = 0
    for gate in names:
        count = rows[gate][1] - rows[gate][0]
        pieces[gate] = packed[start : start + count]
        start += count
    if start != packed.shape[0]:
        raise ValueError(f"{where} has {packed.shape[0]} rows; its gates {names} need {start}.")
    return torch.cat([pieces[gate] for gate in rows])


def load_by_gate(
    state_dict: dict[str, Any],
    prefix: str,
    suffix: str,
    metadata: Mapping[str, Any],
    graph: Graph,
    sizes: Mapping[str, int],
) -> None:
    """Brings one layer's packed tensors of a state dict into this layer's order of gates, in place.

    Args:
        prefix, suffix: what stands before and after the parameters' names.
        metadata: of the module that was saved; one of torch.nn's has no layout, and torch.nn's order.

    Raises:
        ValueError: the stored gates are others.
    """
    for slot, stored in metadata.get("layout", {}).items():
        if slot not in graph.slots():
            continue  # torch's own check names the unexpected key
        rows = gate_rows(graph, slot, sizes)
        for part in ("weight", "bias"):
            key = f"{prefix}{part}_{slot}{suffix}"
            if key in state_dict:
                state_dict[key] = reorder_rows(state_dict[key], stored, rows, key)


def store_layout(destination: Any, prefix: str, graph: Graph) -> None:
    """Notes the order of gates beside the tensors of a state dict, where torch.nn does not look."""
    metadata = getattr(destination, "_metadata", None)
    if metadata is not None:
        metadata[prefix[:-1]]["layout"] = layout_metadata(graph)
