"""Converts Keras models to .tflite files: first to float32, the common form of all networks, then to the other precisions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr.converters.quantization import quantizer
from mobile_sr.converters.quantization.quantizer import CALIBRATED, PRECISIONS, ConversionError
from mobile_sr.converters.quiet import quiet

if TYPE_CHECKING:
    import keras

__all__ = ["CALIBRATED", "PRECISIONS", "ConversionError", "center_crop_or_pad", "convert", "float_tflite"]


def float_tflite(model: keras.Model, size: tuple[int, int] | None = None) -> bytes:
    """Convert a Keras model to a float32 .tflite file with one signature.

    Args:
        model: the network in its export form, functional. Its first input is the image, [N, H, W, C].
        size: (height, width) of a fixed input, or None for a dynamic one.

    Returns:
        The bytes of the .tflite file. With a fixed size or several inputs the batch size is 1.

    Raises:
        ConversionError: TensorFlow's converter failed.
    """
    with quiet() as captured, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow as tf

        if size is not None or len(model.inputs) > 1:
            model = _with_batch_size_1(model, size or (None, None))
        return run_converter(tf.lite.TFLiteConverter.from_keras_model(model), captured)


def run_converter(converter: Any, captured: Callable[[], str]) -> bytes:
    """Run a tf.lite.TFLiteConverter.

    Args:
        converter: the converter.
        captured: function that returns what was printed, see `quiet`.

    Raises:
        ConversionError: the converter failed.
    """
    try:
        return bytes(converter.convert())
    except Exception as error:  # the converter raises many types
        lines = [line for line in f"{captured()}\n{error}".splitlines() if line.strip()]
        raise ConversionError(f"TensorFlow cannot convert the model: {' | '.join(lines[-3:])}") from error


def convert(
    model: keras.Model,
    precision: str,
    *,
    size: tuple[int, int] | None = None,
    calibration: Sequence[np.ndarray | tuple[np.ndarray, ...]] = (),
    per_tensor: bool = False,
) -> bytes:
    """Convert a Keras model to a .tflite file of any precision, without equalization or GPTQ.

    Args:
        model: as for `float_tflite`.
        precision: one of PRECISIONS, see `quantizer.convert`.
        size: as for `float_tflite`. Calibration images are cropped or padded to it.
        calibration: [1, H, W, 3] float32 images in 0..1, or tuples of one array per input. Required for the CALIBRATED
            precisions.
        per_tensor: use one scale for a whole kernel instead of one for each of its output channels.

    Returns:
        The bytes of the .tflite file.

    Raises:
        ValueError: the precision is wrong, or calibration images are missing.
        ConversionError: TensorFlow failed.
    """
    quantizer.check_arguments(precision, calibration)
    return quantizer.convert(float_tflite(model, size), precision, at_size(calibration, size), per_tensor)


def at_size(
    samples: Sequence[np.ndarray | tuple[np.ndarray, ...]], size: tuple[int, int] | None
) -> Sequence[np.ndarray | tuple[np.ndarray, ...]]:
    """Return samples with their images cropped or padded to the fixed size of a network; None changes nothing."""
    if size is None:
        return samples
    return [
        (center_crop_or_pad(sample[0], size), *sample[1:]) if isinstance(sample, tuple) else center_crop_or_pad(sample, size)
        for sample in samples
    ]


def _with_batch_size_1(model: keras.Model, size: tuple[int | None, int | None]) -> keras.Model:
    import keras

    first, *rest = model.inputs
    lr = keras.Input((*size, first.shape[-1]), batch_size=1, name="lr")
    others = [keras.Input(other.shape[1:], batch_size=1, name=other.name) for other in rest]
    return keras.Model([lr, *others] if others else lr, model([lr, *others] if others else lr))


def center_crop_or_pad(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crop an image at its centre, or pad it below and on the right with its edge pixels, to a given size.

    Args:
        image: [..., H, W, 3].
        size: (height, width).

    Returns:
        [..., height, width, 3].
    """
    top, left = (max(0, current - target) // 2 for current, target in zip(image.shape[-3:-1], size, strict=True))
    image = image[..., top : top + size[0], left : left + size[1], :]
    down, right = (target - current for current, target in zip(image.shape[-3:-1], size, strict=True))
    return np.pad(image, (*[(0, 0)] * (image.ndim - 3), (0, down), (0, right), (0, 0)), mode="edge")
