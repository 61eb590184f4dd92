"""What runs the parts of an export with NumPy alone, and ONNX Runtime for ONNX: it is written beside them.

It imports nothing of Gatework. `c_parts` and `onnx_parts` are used alike.
"""
