"""Programs that run an export with NumPy alone, and ONNX Runtime for ONNX: they are written beside it.

They import nothing of Gatework: `gatework.export.driver.NAME` is `NAME.py` in the folder of an export.
"""
