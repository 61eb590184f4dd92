"""The files of networks in WebAssembly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from gatework.export.files import Content, ExportOptions
from gatework.export.native.code import Code, compiled
from gatework.export.native.files import check_sizes
from gatework.export.native.layout import Count
from gatework.export.network import Network
from gatework.export.targets import WASM
from gatework.export.wasm.link import linked, section_sizes


def wasm_files(networks: Sequence[Network], options: ExportOptions) -> Content:
    """A module of all networks, an ES module around it, and a README.

    Raises:
        InputError: an operation that has no code, no linker, a model larger than `options` say.
    """
    name = networks[0].name if len(networks) == 1 else "model"
    module, codes = wasm_module(networks, options)
    sizes = section_sizes(module)
    memory = sum(code.memory_bytes for code in codes)
    content = {
        f"{name}.wasm": module,
        f"{name}.mjs": es_module(codes, f"{name}.wasm").encode(),
        "README.md": _readme(name, codes, sizes).encode(),
    }
    return Content(content, sizes["code"], sizes["data"], memory)


def wasm_module(networks: Sequence[Network], options: ExportOptions) -> tuple[bytes, list[Code]]:
    """One module of all networks, and the code that it was linked from."""
    codes = [compiled(network, WASM, int8=options.int8) for network in networks]
    check_sizes(codes, WASM.name, options)
    exports = [name for code in codes for name in code.functions.exported]
    return linked({code.functions.network.name: code.content for code in codes}, exports), codes


def es_module(codes: Sequence[Code], file: str) -> str:
    """The ES module around a module in a file."""
    about = {"file": file, "lanes": WASM.lanes, "networks": [_about(code) for code in codes]}
    runtime = files("gatework.export.wasm").joinpath("runtime.mjs").read_text("utf-8")
    return f"// Made by Gatework.\nconst ABOUT = {json.dumps(about)};\n{runtime}"


def _about(code: Code) -> dict[str, Any]:
    """What the ES module must know of a network."""
    functions, takes = code.functions, code.functions.takes
    network = takes.network

    def count(of: Count) -> list[Any]:
        return [of.fixed, list(of.by_steps)]

    return {
        "name": network.name,
        "cell": network.graph.name,
        "tokens": None if network.table is None else network.table.shape[0],
        "input": network.stack.input_size,
        "output": network.output_size,
        "inputs": dict(takes.inputs),
        "statics": dict(takes.statics),
        "memories": dict(takes.memories),
        "keys": {memory: takes.keys_width(memory) for memory, _ in takes.memories},
        "emits": {name: [units, width] for name, units, width in takes.emits},
        "states": [[place.cell, place.name, place.offset, place.units] for place in takes.states],
        "state": count(takes.state),
        "scratch": count(functions.scratch),
        "sequenceWidth": functions.sequence_width,
        "bothWays": network.stack.bidirectional,
    }


def _readme(name: str, codes: Sequence[Code], sizes: dict[str, int]) -> str:
    first = codes[0].functions.takes.network
    cells = ", ".join(f"`{c.functions.network.name}` ({c.functions.network.graph.name})" for c in codes)
    call = "sequence(x)" if first.stack.bidirectional else "step(x)"
    return f"""# {name}

Exported by Gatework: {cells}.

| file | what it is |
|---|---|
| `{name}.wasm` | WebAssembly: code, {sizes["code"]:,} bytes, and weights, {sizes["data"]:,} bytes; it imports nothing |
| `{name}.mjs` | an ES module that runs it, in browsers and Node |

```js
import {{ load }} from "./{name}.mjs";
const {{ {first.name} }} = await load();
const stream = {first.name}.stream();
const {{ output }} = stream.{call};
```

`stream.state` is all states in one array: a copy to keep, and to set again. Several streams may be run in turn. A
step gives the numbers of `layer.stream()` to within float32's rounding.
"""
