"""The way back of an export: weights of other frameworks' recurrent layers as layers."""

from gatework.export.weights.keras import from_keras
from gatework.export.weights.onnx import from_onnx

__all__ = ["from_keras", "from_onnx"]
