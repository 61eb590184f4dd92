"""YAML without code and without a key that is given twice."""

from __future__ import annotations

from typing import Any

import yaml

__all__ = ["Loader"]


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which keeps the last of equal keys without a word; this one refuses the second."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if (first := lines.setdefault(str(key.value), line)) != line:
                problem = f"{key.value} is given in line {first} and again in line {line}"
                raise yaml.constructor.ConstructorError(None, None, problem)
        return super().construct_mapping(node, deep)
