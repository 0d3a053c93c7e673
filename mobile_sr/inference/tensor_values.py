"""Conversion of [H, W, C] images and plain numbers to the values of a .tflite tensor and back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mobile_sr.converters.tflite.flatbuffer import Tensor

# Value ranges by name: the real values of black and white. -128 is a signed byte with scale 1: the level minus 128.
RANGES: dict[int, tuple[int, int]] = {1: (0, 1), 255: (0, 255), -1: (-1, 1), -128: (-128, 127)}
FLOAT_RANGES = (1, 255, -1)  # ranges of published float networks, the preferred one first
_MAX_OF_UNIT = 16  # geometric middle of 1 and 255: an unclipped output for 0..1 was observed to reach 3


def quantization(tensor: Tensor) -> tuple[float, int] | None:
    """Returns (scale, zero point) of a quantized tensor, (1.0, 0) for integers without a scale, None for float tensors."""
    return None if tensor.dtype.startswith("float") else _quant_params(tensor)


def _quant_params(tensor: Tensor) -> tuple[float, int]:
    """Returns (scale, zero point) of an integer tensor."""
    if len(tensor.scales) == 0:
        return 1.0, 0
    return float(tensor.scales[0]), int(tensor.zero_points[0])


def limits(tensor: Tensor) -> tuple[float, float]:
    """Returns the (minimum, maximum) real value that a quantized tensor can represent."""
    scale, zero_point = _quant_params(tensor)
    levels = np.iinfo(tensor.dtype)
    return (levels.min - zero_point) * scale, (levels.max - zero_point) * scale


def value_ranges(tensor: Tensor) -> tuple[int, ...]:
    """Returns the keys of RANGES that are possible for an image in `tensor`, the most likely one first.

    The result has one entry if the minimum and maximum leave no doubt. int16 is symmetric around zero by the rules of
    TensorFlow Lite, so its minimum does not exclude 0..1.
    """
    if tensor.dtype.startswith("float"):
        return FLOAT_RANGES
    low, high = limits(tensor)
    if high > _MAX_OF_UNIT:
        return (-128,) if low <= -100 and high < 160 else (255,)
    if low > -0.5:
        return (1,)
    return (-1, 1) if tensor.dtype != "int16" and max(abs(low + 1), abs(high - 1)) < 0.25 else (1, -1)


def _is_bytes(tensor: Tensor, value_range: int) -> bool:
    """Returns whether the tensor's values equal those of the uint8 image."""
    scale, zero_point = _quant_params(tensor)
    low, high = RANGES[value_range]
    return tensor.dtype == "uint8" and zero_point == 0 and low == 0 and abs(scale * 255 / high - 1) < 1e-5


def to_float(image: np.ndarray, value_range: int = 1) -> np.ndarray:
    """Converts [..., C] levels of 0..255, uint8 or float32, to float32 in one of RANGES."""
    low, high = RANGES[value_range]
    values = image.astype(np.float32) * np.float32(high - low) / np.float32(255)
    return values + np.float32(low) if low else values


def from_float(values: np.ndarray, value_range: int = 1) -> np.ndarray:
    """Converts float32 values in one of RANGES to float32 in 0..1, not clipped."""
    low, high = RANGES[value_range]
    if (low, high) == (0, 1):
        return values
    return (values - np.float32(low)) / np.float32(high - low)


def encode(image: np.ndarray, tensor: Tensor, value_range: int = 1) -> np.ndarray:
    """Converts an image to the values of the input `tensor`: in one of RANGES, quantized as the tensor requires.

    Args:
        image: [H, W, C] levels of 0..255: uint8, or float32 for a luminance that is not rounded.
        tensor: the input.
        value_range: a key of RANGES.
    """
    if tensor.dtype == "float32":
        return to_float(image, value_range)
    if image.dtype != np.uint8:
        return _quantized(to_float(image, value_range), tensor)
    if _is_bytes(tensor, value_range):
        return image
    low, high = RANGES[value_range]
    return _quantized(low + np.arange(256) * (high - low) / 255, tensor)[image]


def _quantized(real_values: np.ndarray, tensor: Tensor) -> np.ndarray:
    scale, zero_point = _quant_params(tensor)
    levels = np.iinfo(tensor.dtype)
    return np.clip(np.floor(real_values / scale + 0.5) + zero_point, levels.min, levels.max).astype(tensor.dtype)


def decode(values: np.ndarray, tensor: Tensor, value_range: int = 1) -> np.ndarray:
    """Converts the values of the output `tensor` to an image.

    Returns:
        float32 in 0..1, not clipped, for a float32 tensor; else uint8, rounded.
    """
    if tensor.dtype == "float32":
        return from_float(values, value_range)
    if _is_bytes(tensor, value_range):
        return values
    scale, zero_point = _quant_params(tensor)
    low, high = RANGES[value_range]
    unsigned = np.dtype("u" + tensor.dtype.removeprefix("u"))
    levels = np.arange(2 ** (8 * unsigned.itemsize)).astype(unsigned).view(tensor.dtype)  # by bit pattern
    real_values = (levels.astype(np.float64) - zero_point) * scale
    table = np.clip(np.floor((real_values - low) * 255 / (high - low) + 0.5), 0, 255).astype(np.uint8)
    return table[values.view(unsigned)]


def real(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Dequantizes an output's values to float32 by the tensor's scale and zero point."""
    if tensor.dtype.startswith("float"):
        return values.astype(np.float32)
    scale, zero_point = _quant_params(tensor)
    return ((values.astype(np.float64) - zero_point) * scale).astype(np.float32)


def scalar(text: str | float, tensor: Tensor) -> np.ndarray:
    """Converts a number to the value of a scalar input.

    Args:
        text: the number.
        tensor: the input.

    Returns:
        An array of one element in the tensor's dtype and quantization.

    Raises:
        ValueError: `text` is not a number, or the tensor cannot represent it.
    """
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"'{text}' is not finite")
    shape = (1,) * len(tensor.shape)
    if tensor.dtype.startswith("float"):
        return np.full(shape, value, tensor.dtype)
    if tensor.dtype == "bool":
        low, high, scale, zero_point = 0, 1, 1.0, 0
    else:
        low, high = np.iinfo(tensor.dtype).min, np.iinfo(tensor.dtype).max
        scale, zero_point = _quant_params(tensor)
    if len(tensor.scales) == 0 and value != int(value):
        raise ValueError(f"{text} is not an integer, which {tensor.dtype} requires")
    minimum, maximum = (low - zero_point) * scale, (high - zero_point) * scale
    if not minimum - scale / 2 <= value <= maximum + scale / 2:
        raise ValueError(f"{text} is outside {minimum:.6g}..{maximum:.6g}, the range of its {tensor.dtype}")
    level = min(max(math.floor(value / scale + 0.5) + zero_point, low), high)
    return np.full(shape, level, tensor.dtype)
