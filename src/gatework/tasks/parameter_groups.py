"""Groups of a network's parameters by their names, for `unfreeze_every` and rates by layer."""

from __future__ import annotations

import re

from torch import nn

from gatework.training import ParameterGroup

__all__ = ["group_of", "shared_with"]


def group_of(network: nn.Module, pattern: str) -> ParameterGroup:
    """The parameters whose whole names match a regular expression; shared ones under each of their names."""
    names = (name for name, _ in network.named_parameters(remove_duplicate=False))
    return ParameterGroup(tuple(name for name in names if re.fullmatch(pattern, name)))


def shared_with(network: nn.Module, group: ParameterGroup, module: nn.Module) -> tuple[str, ...]:
    """The names of a group's parameters that are the module's too."""
    own = {id(parameter) for parameter in module.parameters()}
    return tuple(name for name in group.names if id(network.get_parameter(name)) in own)
