"""From [H, W, 3] uint8 images and plain numbers to the values of a .tflite tensor and back."""

import math

import numpy as np

# Value ranges by name: the real values of black and white. -128 is a signed byte with scale 1: the level less 128.
RANGES = {1: (0, 1), 255: (0, 255), -1: (-1, 1), -128: (-128, 127)}
FLOAT_RANGES = (1, 255, -1)  # what float values of published networks mean, the preferred first
_MAX_OF_UNIT = 16  # between 1 and 255 by ratio: an unclipped output of 0..1 was seen to reach 3


def quantization(tensor):
    """(scale, zero point) of a quantized tensor, None for float; whole numbers without a scale mean themselves."""
    if tensor.dtype.startswith("float"):
        return None
    if len(tensor.scales) == 0:
        return 1.0, 0
    return float(tensor.scales[0]), int(tensor.zero_points[0])


def limits(tensor):
    """(least, largest) real value that a quantized tensor can hold."""
    scale, zero_point = quantization(tensor)
    levels = np.iinfo(tensor.dtype)
    return (levels.min - zero_point) * scale, (levels.max - zero_point) * scale


def value_ranges(tensor):
    """Keys of RANGES that an image in `tensor` can have, the likeliest first; one alone where both ends leave no doubt.

    int16 is symmetric about zero by TensorFlow Lite's rules, so its lower end says nothing against 0..1.
    """
    if tensor.dtype.startswith("float"):
        return FLOAT_RANGES
    low, high = limits(tensor)
    if high > _MAX_OF_UNIT:
        return (-128,) if low <= -100 and high < 160 else (255,)
    if low > -0.5:
        return (1,)
    return (-1, 1) if tensor.dtype != "int16" and max(abs(low + 1), abs(high - 1)) < 0.25 else (1, -1)


def _is_bytes(tensor, value_range):
    """Whether the values are those of the uint8 image, unchanged."""
    scale, zero_point = quantization(tensor)
    low, high = RANGES[value_range]
    return tensor.dtype == "uint8" and zero_point == 0 and low == 0 and abs(scale * 255 / high - 1) < 1e-5


def to_float(image, value_range=1):
    """[..., 3] uint8 as float32 in one of RANGES."""
    low, high = RANGES[value_range]
    values = image.astype(np.float32) * np.float32(high - low) / np.float32(255)
    return values + np.float32(low) if low else values


def from_float(values, value_range=1):
    """float32 values in one of RANGES as float32 in 0..1, not clipped."""
    low, high = RANGES[value_range]
    if (low, high) == (0, 1):
        return values
    return (values - np.float32(low)) / np.float32(high - low)


def encode(image, tensor, value_range=1):
    """[H, W, 3] uint8 as the values of the input `tensor`: in one of RANGES, quantized as the tensor asks."""
    if tensor.dtype == "float32":
        return to_float(image, value_range)
    if _is_bytes(tensor, value_range):
        return image
    scale, zero_point = quantization(tensor)
    levels, (low, high) = np.iinfo(tensor.dtype), RANGES[value_range]
    real_values = low + np.arange(256) * (high - low) / 255
    table = np.clip(np.floor(real_values / scale + 0.5) + zero_point, levels.min, levels.max)
    return table.astype(tensor.dtype)[image]


def decode(values, tensor, value_range=1):
    """The output `tensor`'s values as an image: float32 in 0..1 (not clipped) of float32, else rounded to uint8."""
    if tensor.dtype == "float32":
        return from_float(values, value_range)
    if _is_bytes(tensor, value_range):
        return values
    scale, zero_point = quantization(tensor)
    low, high = RANGES[value_range]
    unsigned = np.dtype("u" + tensor.dtype.removeprefix("u"))
    levels = np.arange(2 ** (8 * unsigned.itemsize)).astype(unsigned).view(tensor.dtype)  # by bit pattern
    real_values = (levels.astype(np.float64) - zero_point) * scale
    table = np.clip(np.floor((real_values - low) * 255 / (high - low) + 0.5), 0, 255).astype(np.uint8)
    return table[values.view(unsigned)]


def real(values, tensor):
    """An output's values as float32, by the tensor's scale and zero point."""
    if tensor.dtype.startswith("float"):
        return values.astype(np.float32)
    scale, zero_point = quantization(tensor)
    return ((values.astype(np.float64) - zero_point) * scale).astype(np.float32)


def scalar(text, tensor):
    """The value of a scalar input: `text` as an array of one element in the tensor's dtype and quantization.

    Raises: ValueError with the reason when it is no number or the tensor cannot hold it.
    """
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"'{text}' is no number") from None
    if not math.isfinite(value):
        raise ValueError(f"'{text}' is no finite number")
    shape = (1,) * len(tensor.shape)
    if tensor.dtype.startswith("float"):
        return np.full(shape, value, tensor.dtype)
    if tensor.dtype == "bool":
        low, high, scale, zero_point = 0, 1, 1.0, 0
    else:
        low, high = np.iinfo(tensor.dtype).min, np.iinfo(tensor.dtype).max
        scale, zero_point = quantization(tensor)
    if len(tensor.scales) == 0 and value != int(value):
        raise ValueError(f"{text} is no whole number, which {tensor.dtype} needs")
    least, most = (low - zero_point) * scale, (high - zero_point) * scale
    if not least - scale / 2 <= value <= most + scale / 2:
        raise ValueError(f"{text} is outside of {least:.6g}..{most:.6g}, what its {tensor.dtype} can hold")
    level = min(max(math.floor(value / scale + 0.5) + zero_point, low), high)
    return np.full(shape, level, tensor.dtype)
