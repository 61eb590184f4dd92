"""The files of networks in ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatework.export.files import Content, ExportOptions
from gatework.export.maps import VectorMap
from gatework.export.network import Network, Part
from gatework.export.onnx.checking import Models, check, check_map, models_of
from gatework.export.onnx.layers import native_kind
from gatework.export.onnx.model import map_model, state_names


def onnx_files(parts: Sequence[Part], options: ExportOptions) -> Content:
    """The models of each part's calls, Triton's configuration of a step, and a README.

    Raises:
        GateworkError: ONNX Runtime gives other numbers than the layer.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    files: dict[str, bytes] = {}
    readmes = []
    for part in parts:
        if isinstance(part, VectorMap):
            own, error, readme = _of_map(part, options)
        else:
            own, error, readme = _of_network(part, options)
        if "config.pbtxt" in own and len(parts) > 1:
            own[f"{part.name}.pbtxt"] = own.pop("config.pbtxt")
        for file, content in own.items():
            options.say(f"{file}: {len(content):,} bytes")
        options.say(f"{part.name}: ONNX Runtime's numbers are within {error:.1e} of the layer's")
        files |= own
        readmes.append(readme)
    files["README.md"] = "\n".join(readmes).encode()
    facts = {"parts": [_facts(part) for part in parts]}
    return Content(files, data_bytes=sum(4 * part.parameters for part in parts), facts=facts)


def _facts(part: Part) -> dict[str, Any]:
    """What those who run a part's models must know beside the models themselves."""
    if isinstance(part, VectorMap):
        return {"name": part.name, "reads": part.reads, "gives": part.gives}
    return {
        "name": part.name,
        "tokens": None if part.table is None else part.table.shape[0],
        "memories": [spec.name for spec in part.graph.inputs_of_kind("memory")],
        "states": {state.name: [state.units, state.init, state.steps] for state in state_names(part)},
    }


def _of_map(part: VectorMap, options: ExportOptions) -> tuple[dict[str, bytes], float, str]:
    """The files of a map, its error, and its part of the README."""
    model = map_model(part, int8=options.int8)
    error = check_map(part, model, int8=options.int8)
    reads, gives = (
        ", ".join(f"`{each.name}`" for each in of) for of in (model.graph.input, model.graph.output)
    )
    readme = f"# {part.name}\n\n`{part.name}.onnx`: a map of vectors without states, {reads} to {gives}, (B, ·) each.\n"
    return {f"{part.name}.onnx": model.SerializeToString()}, error, readme


def _of_network(network: Network, options: ExportOptions) -> tuple[dict[str, bytes], float, str]:
    """As `_of_map`, of a network."""
    models = models_of(network, int8=options.int8)
    error = check(network, models, int8=options.int8)
    files: dict[str, bytes] = {}
    for ending, model in (("", models.sequence), ("_step", models.step), ("_attend", models.attend)):
        if model is not None:
            files[f"{network.name}{ending}.onnx"] = model.SerializeToString()
    configuration = "" if models.step is None else _triton(network, models.step)
    if configuration:
        files["config.pbtxt"] = configuration.encode()
    return files, error, _readme(network, models, error)


def _triton(network: Network, step: Any) -> str:
    """NVIDIA Triton's configuration of the step, whose states Triton keeps; empty where it cannot.

    It cannot where a state does not start at 0, or where the cell attends to a memory.
    """
    states = state_names(network)
    if any(state.init or state.units is None for state in states) or network.graph.inputs_of_kind("memory"):
        return ""
    own = {state.name for state in states} | {state.after for state in states}

    def described(values: Any) -> str:
        blocks = []
        for value in values:
            if value.name in own:
                continue
            dims = [each.dim_value for each in value.type.tensor_type.shape.dim[1:]]
            kind = "TYPE_INT64" if value.type.tensor_type.elem_type == 7 else "TYPE_FP32"
            shape = (
                "dims: [ 1 ] reshape: { shape: [ ] }"
                if not dims
                else f"dims: [ {', '.join(map(str, dims))} ]"
            )
            blocks.append(f'  {{ name: "{value.name}" data_type: {kind} {shape} }}')
        return ",\n".join(blocks)

    kept = ",\n".join(
        f'    {{ input_name: "{state.name}" output_name: "{state.after}" data_type: TYPE_FP32 dims: [ {state.units} ]\n'
        f'      initial_state: {{ name: "start" data_type: TYPE_FP32 dims: [ {state.units} ] zero_data: true }} }}'
        for state in states
    )
    return f"""name: "{network.name}_step"
backend: "onnxruntime"
max_batch_size: 64
input [
{described(step.graph.input)}
]
output [
{described(step.graph.output)}
]
sequence_batching {{
  state [
{kept}
  ]
}}
"""


def _readme(network: Network, models: Models, error: float) -> str:
    name, kind = network.name, native_kind(network)
    how = f"ONNX's own operator ({kind})" if kind else "a Scan over the cell's equations"
    starts = ", ".join(f"`{state.name}` at {state.init:g}" for state in state_names(network))
    lines = [
        f"# {name}",
        "",
        f"`{network.graph.name}`, by Gatework: {how}. T steps, B rows.",
        "",
        "| file | what it is |",
        "|---|---|",
    ]
    if models.sequence is not None:
        what = "whole sequences, (T, B, ·) of any size; `lengths` (B,): steps of each row"
        lines.append(f"| `{name}.onnx` | {what} |")
    if models.step is not None:
        lines.append(f"| `{name}_step.onnx` | one step, (B, ·): states in, states out as `next_…` |")
    if models.attend is not None:
        what = "projects memories, (S, B, ·), once for all steps, which read them as `…_keys`"
        lines.append(f"| `{name}_attend.onnx` | {what} |")
    lines += [
        "",
        f"States begin so: {starts}. Past a row's length outputs are 0. ONNX Runtime's numbers were within "
        f"{error:.1e} of the layer's before this was written.",
        "",
    ]
    return "\n".join(lines)
