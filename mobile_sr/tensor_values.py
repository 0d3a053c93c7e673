"""From [H, W, 3] uint8 images and plain numbers to the values of a .tflite tensor and back."""

import math

import numpy as np

WHITES = (1, 255)  # the real values that white has in published networks
_LARGEST_OF_0_TO_1 = 16  # between 1 and 255 by ratio: an unclipped output of 0..1 was seen to reach 3
_ACCEPTED_ERROR = 255**2 / 10**1.5  # 15 dB: what is farther from bicubic is no picture
_CLEARLY_BETTER = 2  # 3 dB: an unclipped network of 0..1 also runs at 0..255, measured 1 to 2 dB farther from bicubic


def quantization(tensor):
    """(scale, zero point) of a quantized tensor, None for float; whole numbers without a scale mean themselves."""
    if tensor.dtype.startswith("float"):
        return None
    if len(tensor.scales) == 0:
        return 1.0, 0
    return float(tensor.scales[0]), int(tensor.zero_points[0])


def white_of(tensor):
    """The real value of white in a quantized image, 1 or 255 by the largest value that it can hold; None for float."""
    if tensor.dtype.startswith("float"):
        return None
    scale, zero_point = quantization(tensor)
    return 1 if (np.iinfo(tensor.dtype).max - zero_point) * scale <= _LARGEST_OF_0_TO_1 else 255


def _is_bytes(tensor, white):
    """Whether the values are those of the uint8 image, unchanged."""
    scale, zero_point = quantization(tensor)
    return tensor.dtype == "uint8" and zero_point == 0 and abs(scale * 255 / white - 1) < 1e-5


def encode(image, tensor, white=1):
    """[H, W, 3] uint8 as the values of the input `tensor`: 0..white in float32, or quantized as the tensor asks."""
    if tensor.dtype == "float32":
        return image.astype(np.float32) * np.float32(white) / np.float32(255)
    if _is_bytes(tensor, white):
        return image
    scale, zero_point = quantization(tensor)
    limits = np.iinfo(tensor.dtype)
    table = np.clip(np.floor(np.arange(256) * white / 255 / scale + 0.5) + zero_point, limits.min, limits.max)
    return table.astype(tensor.dtype)[image]


def decode(values, tensor, white=1):
    """The output `tensor`'s values as an image: float32 in 0..1 (not clipped) of float32, else rounded to uint8."""
    if tensor.dtype == "float32":
        return values if white == 1 else values / np.float32(white)
    if _is_bytes(tensor, white):
        return values
    scale, zero_point = quantization(tensor)
    unsigned = np.dtype("u" + tensor.dtype.removeprefix("u"))
    levels = np.arange(2 ** (8 * unsigned.itemsize)).astype(unsigned).view(tensor.dtype)  # by bit pattern
    real = (levels.astype(np.float64) - zero_point) * scale
    table = np.clip(np.floor(real * 255 / white + 0.5), 0, 255).astype(np.uint8)
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


def closest(pictures, target):
    """By which value of white a network's picture comes closest to what it should be about.

    Args:
        pictures: {key: [H, W, 3] uint8, or float32 in 0..1}, the preferred key first.
        target: [H, W, 3] uint8, bicubic interpolation.
    Returns: the key of least error; the first where its error is below twice the least, or where none reaches 15 dB.
    """
    errors = {}
    for key, picture in pictures.items():
        levels = picture if picture.dtype == np.uint8 else np.clip(picture * np.float32(255), 0, 255)
        error = float(np.mean((levels.astype(np.float64) - target) ** 2))
        errors[key] = math.inf if math.isnan(error) else error
    first, best = next(iter(errors)), min(errors, key=errors.get)
    if errors[best] > _ACCEPTED_ERROR or errors[first] < _CLEARLY_BETTER * errors[best]:
        return first
    return best
