"""The files of networks in ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatework.export.files import Content, ExportOptions
from gatework.export.network import Network
from gatework.export.onnx.checking import check
from gatework.export.onnx.layers import native_kind
from gatework.export.onnx.model import ModelWriter, state_names


def onnx_files(networks: Sequence[Network], options: ExportOptions) -> Content:
    """A model of sequences for each network, one of a step where it has one, Triton's configuration, and a README.

    Raises:
        GateworkError: ONNX Runtime gives other numbers than the layer.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    files: dict[str, bytes] = {}
    readmes = []
    for network in networks:
        sequence = ModelWriter(network, step=False, int8=options.int8).made()
        step = None
        if not network.stack.bidirectional:
            step = ModelWriter(network, step=True, int8=options.int8).made()
        error = check(network, sequence, step, int8=options.int8)
        own = {f"{network.name}.onnx": sequence.SerializeToString()}
        if step is not None:
            own[f"{network.name}_step.onnx"] = step.SerializeToString()
            configuration = _triton(network, step)
            if configuration:
                own["config.pbtxt" if len(networks) == 1 else f"{network.name}.pbtxt"] = (
                    configuration.encode()
                )
        for file, content in own.items():
            options.say(f"{file}: {len(content):,} bytes")
        options.say(f"{network.name}: ONNX Runtime's numbers are within {error:.1e} of the layer's")
        files |= own
        readmes.append(_readme(network, error, step is not None))
    files["README.md"] = "\n".join(readmes).encode()
    return Content(files, data_bytes=sum(4 * network.parameters for network in networks))


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


def _readme(network: Network, error: float, step: bool) -> str:
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
        f"| `{name}.onnx` | whole sequences, (T, B, ·) of any size; `lengths` (B,): steps of each row |",
    ]
    if step:
        lines.append(f"| `{name}_step.onnx` | one step, (B, ·): states in, states out as `next_…` |")
    lines += [
        "",
        f"States begin so: {starts}. Past a row's length outputs are 0. ONNX Runtime's numbers were within "
        f"{error:.1e} of the layer's before this was written.",
        "",
    ]
    return "\n".join(lines)
