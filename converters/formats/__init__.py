"""Conversion of anybody's network to a float32 .tflite: Keras, SavedModel, ONNX, PyTorch and .tflite itself."""

from mobile_sr.converters.formats.float_model import FloatModel, FormatError
from mobile_sr.converters.formats.source import to_float_tflite

__all__ = ["FloatModel", "FormatError", "to_float_tflite"]
