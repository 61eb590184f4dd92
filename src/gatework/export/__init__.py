"""Models where Python is not: machine code with a C header, WebAssembly, and ONNX.

`gatework.export_layer` exports a layer, and a task's `export` what a task's steps are. Both read the graph of the cell,
so that a user's own cell is exported like one of the catalogue. The way back, `from_onnx` and `from_keras`, reads the
weights of other frameworks' layers.
"""

from gatework.export.files import Exported
from gatework.export.layer import export_layer
from gatework.export.weights import from_keras, from_onnx

__all__ = ["Exported", "export_layer", "from_keras", "from_onnx"]
