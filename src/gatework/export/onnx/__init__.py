"""Networks as ONNX: standard operators where the cell is one, a Scan over the graph of any other."""
