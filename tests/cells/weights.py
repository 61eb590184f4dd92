"""A layer's weights by gate name, for steps that are written by hand from a paper."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

import gatework as gw


class Weights:
    """The weights of a layer of one layer and direction.

    Attributes:
        vectors: the parameters by the graph's names (`peephole_input`, `weight_hr`).
        rows: where the block of a slot and a gate stands in the slot's weight.
    """

    def __init__(self, layer: gw.Recurrent) -> None:
        self.vectors: dict[str, Tensor] = {
            name.removesuffix("_l0"): parameter for name, parameter in layer.named_parameters()
        }
        self.rows: dict[tuple[str, str], slice] = {}
        sizes = {
            "hidden_size": layer.hidden_size,
            "proj_size": layer.proj_size,
            "input_size": layer.input_size,
        }
        for slot, blocks in layer.cell.graph.slots().items():
            start = 0
            for block in blocks:
                end = start + (block.rows if isinstance(block.rows, int) else sizes[block.rows])
                self.rows[slot, block.gate] = slice(start, end)
                start = end

    def linear(self, slot: str, gate: str, operand: Tensor) -> Tensor:
        """W x + b of one gate and slot, without b where the slot has none."""
        rows = self.rows[slot, gate]
        bias = self.vectors.get(f"bias_{slot}")
        return F.linear(operand, self.vectors[f"weight_{slot}"][rows], None if bias is None else bias[rows])

    def __call__(self, gate: str, **operands: Tensor) -> Tensor:
        """The sum over the slots: `w("reset", ih=x, hh=h)` is W_ih x + b_ih + W_hh h + b_hh of that gate's rows."""
        parts = [self.linear(slot, gate, operand) for slot, operand in operands.items()]
        return sum(parts[1:], parts[0])

    def both(self, gate: str, x: Tensor, h: Tensor) -> Tensor:
        """The gate's two maps, of the input and of the hidden state."""
        return self(gate, ih=x, hh=h)

    def norm(self, name: str, *parts: Tensor) -> list[Tensor]:
        """Ba et al. 2016, equations 3 and 4, over the parts taken together, each with its gain and bias."""
        joined = torch.cat(parts, -1)
        mean = joined.mean(-1, keepdim=True)
        deviation = (joined.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        names = [name] if len(parts) == 1 else [f"{name}_{index}" for index in range(len(parts))]
        return [
            self.vectors[f"norm_gain_{n}"] * (part - mean) / deviation + self.vectors[f"norm_bias_{n}"]
            for n, part in zip(names, parts, strict=True)
        ]

    def context(self, query: Tensor, memory: Tensor, lengths: Tensor, score: str) -> tuple[Tensor, Tensor]:
        """What a query (B, H) reads of a memory (S, B, M), (B, M), and its weights, (B, S): one row at a time, over the
        steps that it has.
        """
        contexts, weights = [], []
        for row, length in enumerate(lengths.tolist()):
            steps = memory[:length, row]
            keys = self.vectors["source_memory"]
            if score == "additive":  # Bahdanau et al. 2014, appendix A.1.2
                projected = self.vectors["source_query"] @ query[row]
                energies = [
                    self.vectors["source_energy"] @ torch.tanh(keys @ step + projected) for step in steps
                ]
                energy = torch.stack(energies) if energies else memory.new_zeros(0)
            else:  # `general`, Luong et al. 2015, equation 8
                energy = steps @ (keys.T @ query[row])
            alpha = torch.exp(energy - energy.logsumexp(0)) if length else energy
            contexts.append(alpha @ steps if length else memory.new_zeros(memory.shape[2]))
            weights.append(torch.cat([alpha, alpha.new_zeros(len(memory) - length)]))
        return torch.stack(contexts), torch.stack(weights)
