"""Converts a TensorFlow function of one image to a float32 .tflite."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from mobile_sr.converters.formats.float_model import FIX_THE_SIZE, FormatError, first_line
from mobile_sr.converters.quiet import quiet


def require_tensorflow(name: str) -> None:
    """Select the TensorFlow backend of Keras.

    Raises:
        FormatError: TensorFlow or Keras is not installed, or Keras uses another backend.
    """
    if find_spec("tensorflow") is None or find_spec("keras") is None:
        raise FormatError(f"{name}: its conversion needs TensorFlow and Keras: pip install 'mobile-sr[train]'")
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise FormatError(f"{name}: its conversion needs the TensorFlow backend; KERAS_BACKEND is {backend}")


def start_quietly() -> None:
    """Import TensorFlow, if it is installed, and create its devices, which prints lines that no setting turns off."""
    if find_spec("tensorflow") is not None:
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
        with quiet():
            import tensorflow as tf

            tf.zeros(1)


def convert(
    function: Callable[[Any], Any], name: str, channels: int, size: tuple[int, int] | None, layout: str = "NHWC"
) -> bytes:
    """Trace and convert a function.

    Args:
        function: maps a float32 tensor of one image to a tensor, in `layout`.
        name: the network, for messages.
        channels: channels of the input.
        size: (H, W) of the input, None for a dynamic size.
        layout: 'NHWC' or 'NCHW'; the ends of the .tflite are NHWC.

    Returns:
        The bytes of the .tflite file.

    Raises:
        FormatError: the function raised an error or has an operator that .tflite lacks.
    """
    with quiet() as captured, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow as tf
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        def channels_last(lr):
            return channels_first(tf, function, lr) if layout == "NCHW" else function(lr)

        spec = tf.TensorSpec((1, *(size or (None, None)), channels), tf.float32, name="lr")
        try:
            concrete = tf.function(channels_last, [spec], autograph=False).get_concrete_function()
            frozen = convert_variables_to_constants_v2(concrete)
        except FormatError:
            raise
        except Exception as error:  # user code and TensorFlow raise many types
            help_ = "" if size else f"; if it needs a known size, {FIX_THE_SIZE}"
            raise FormatError(f"{name}: cannot be traced ({first_line(error)}){help_}") from None
        try:
            return tf.lite.TFLiteConverter.from_concrete_functions([frozen], tf.Module()).convert()
        except Exception as error:  # the converter raises many types
            raise FormatError(f"{name}: TensorFlow cannot convert it to .tflite ({_reason(error, captured())})") from None


def _reason(error: Exception, printed: str) -> str:
    """The converter's reason: its list of unsupported operators if there is one, else its last line."""
    lines = [line.strip() for line in f"{printed}\n{error}".splitlines() if line.strip()]
    for k, line in enumerate(lines):
        if line.startswith(("Flex ops:", "Custom ops:")):
            return f"no .tflite operator for {line.partition(':')[2].strip()}"
        if "TF Select ops:" in line:
            return f"no .tflite operator for {line.partition('TF Select ops:')[2].strip()}"
        if "error:" in line and k:
            return line.rpartition("error:")[2].strip()[:300]
    return lines[-1][:300] if lines else type(error).__name__


def channels_first(tf: Any, function: Callable[[Any], Any], lr: Any) -> Any:
    """Run a function of [N, C, H, W] on [N, H, W, C]; an output of rank 4 is turned back."""
    output = function(tf.transpose(lr, (0, 3, 1, 2)))
    return tf.transpose(output, (0, 2, 3, 1))


def reference(function: Callable[[Any], Any], layout: str = "NHWC") -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from a [1, H, W, C] float32 array to an array that runs `function` on tensors in `layout`."""

    def run(image: np.ndarray) -> np.ndarray:
        import tensorflow as tf

        with quiet():
            lr = tf.constant(image, tf.float32)
            return np.asarray(channels_first(tf, function, lr) if layout == "NCHW" else function(lr))

    return run
