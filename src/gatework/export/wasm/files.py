"""The files of networks in WebAssembly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

from gatework.export.files import Content, ExportOptions
from gatework.export.maps import VectorMap
from gatework.export.native.about import about
from gatework.export.native.code import Code, compiled
from gatework.export.native.files import check_sizes
from gatework.export.network import Network, Part
from gatework.export.targets import WASM
from gatework.export.wasm.checking import check_module
from gatework.export.wasm.link import linked, section_sizes


def wasm_files(parts: Sequence[Part], options: ExportOptions) -> Content:
    """A module of all parts, an ES module around it, and a README.

    Raises:
        InputError: an operation that has no code, no linker, a model larger than `options` say.
    """
    name = parts[0].name if len(parts) == 1 else "model"
    module, codes = wasm_module(parts, options)
    sizes = section_sizes(module)
    memory = sum(code.memory_bytes for code in codes)
    content = {
        f"{name}.wasm": module,
        f"{name}.mjs": es_module(codes, f"{name}.wasm").encode(),
        "README.md": _readme(name, codes, sizes).encode(),
    }
    return Content(content, sizes["code"], sizes["data"], memory)


def wasm_module(parts: Sequence[Part], options: ExportOptions) -> tuple[bytes, list[Code]]:
    """One module of all parts, which was run beside the layers that it was made of, and the code in it.

    Raises:
        InputError: as `wasm_files`.
        GateworkError: the module gives other numbers than the layers.
    """
    codes = [compiled(part, WASM, int8=options.int8) for part in parts]
    check_sizes(codes, WASM.name, options)
    exports = [name for code in codes for name in code.exported]
    module = linked({code.part.name: code.content for code in codes}, exports)
    check_module(module, es_module(codes, "model.wasm"), codes, options)
    return module, codes


def es_module(codes: Sequence[Code], file: str) -> str:
    """The ES module around a module in a file."""
    facts = {"file": file, "lanes": WASM.lanes, "parts": [about(code) for code in codes]}
    runtime = files("gatework.export.wasm").joinpath("runtime.mjs").read_text("utf-8")
    return f"// Made by Gatework.\nconst ABOUT = {json.dumps(facts)};\n{runtime}"


def _readme(name: str, codes: Sequence[Code], sizes: dict[str, int]) -> str:
    networks = [code.part for code in codes if isinstance(code.part, Network)]
    first = networks[0]
    cells = ", ".join(f"`{network.name}` ({network.graph.name})" for network in networks)
    call = "sequence(x)" if first.stack.bidirectional else "step(x)"
    maps = [code.part for code in codes if isinstance(code.part, VectorMap)]
    mapped = "".join(
        f"\n`{each.name}.map({{ {', '.join(each.reads)} }})` gives `{{ {', '.join(each.gives)} }}`.\n"
        for each in maps
    )
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
{mapped}"""
