"""Checks a conversion by running the original network and the .tflite on the same image."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mobile_sr.converters.formats.float_model import FIX_THE_SIZE, FloatModel, FormatError, first_line
from mobile_sr.converters.quiet import quiet
from mobile_sr.converters.tflite import runtime

MAX_ERROR = 1e-4  # of the largest absolute value of the output
# (H, W) of the samples of a network of dynamic size: one of the first kind, which is a multiple of 16 or 64, and the first of
# the second kind on which the original runs. Odd sides test what is computed from the remainder of a division.
_SIZES = ((48, 64), (128, 192))
_OTHER_SIZES = ((37, 45), (38, 46), (36, 44), (64, 48), (192, 128))


def verify(model: FloatModel) -> FloatModel:
    """Run the original and the .tflite on a smooth image with noise, in 0..1 and in 0..255, and compare the outputs.

    Args:
        model: the conversion. Its `scale` is set.

    Returns:
        The same object.

    Raises:
        FormatError: one of the two fails, the output is not one larger image, or the outputs differ by more than MAX_ERROR.
    """
    for sizes in ([model.size],) if model.size else (_SIZES, _OTHER_SIZES):
        for number, size in enumerate(sizes):
            try:
                _verify(model, *size)
                if number:
                    failed = sizes[number - 1]
                    model.notes.append(
                        f"the network does not run at every size, such as {failed[1]}x{failed[0]}: {FIX_THE_SIZE}"
                    )
                break
            except _OriginalFails:
                if number == len(sizes) - 1:
                    raise
    return model


class _OriginalFails(FormatError):
    """The original network does not run on a sample."""


def _verify(model: FloatModel, height: int, width: int) -> None:
    for data_range in (1, 255):
        lr = data_range * sample(height, width, model.channels)
        try:
            expected = np.asarray(model.reference(lr), np.float32)
        except Exception as error:  # the frameworks raise many types
            raise _OriginalFails(f"{model.name}: the original fails on {width}x{height} ({first_line(error)})") from None
        if model.scale and expected.shape[:3] != (1, height * model.scale, width * model.scale):
            raise FormatError(
                f"{model.name}: turns {lr.shape} into {expected.shape}, other sizes become {model.scale} times larger; "
                f"{FIX_THE_SIZE}"
            )
        model.scale = _scale(model.name, lr.shape, expected.shape)
        if data_range > 1 and not np.isfinite(expected).all():
            continue  # a network of 0..1 may overflow
        result = run(model.data, lr, model.name)
        if data_range > 1 and not np.isfinite(result).all():  # as above: softplus is written with exp
            note = "the conversion overflows for values in 0..255, unlike the original"
            model.notes += [note] if note not in model.notes else []
            continue
        _compare(model.name, data_range, expected, result)


def sample(height: int, width: int, channels: int) -> np.ndarray:
    """Make a [1, height, width, channels] float32 image in 0..1: waves, an edge and noise."""
    y, x, c = np.ogrid[0:height, 0:width, 0:channels]
    waves = 0.5 + 0.3 * np.sin(0.4 * x + c) * np.cos(0.3 * y - c) + 0.1 * (x > width // 2)
    noise = np.random.default_rng(0).normal(0, 0.03, waves.shape)
    return np.clip(waves + noise, 0, 1).astype(np.float32)[None]


def run(data: bytes, lr: np.ndarray, name: str) -> np.ndarray:
    """Run a .tflite of one input on an array.

    Args:
        data: bytes of a .tflite file that was parsed by `flatbuffer.parse`.
        lr: the input.
        name: the network, for the message.

    Returns:
        The first output.

    Raises:
        FormatError: the runtime fails.
    """
    with quiet():
        try:
            interpreter = runtime.create_interpreter(data)
            index = interpreter.get_input_details()[0]["index"]
            interpreter.resize_tensor_input(index, lr.shape, strict=False)
            interpreter.allocate_tensors()
            interpreter.set_tensor(index, lr)
            interpreter.invoke()
            return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        except (ValueError, RuntimeError, MemoryError) as error:
            raise FormatError(f"{name}: the converted file does not run on {lr.shape} ({first_line(error)})") from None


def _scale(name: str, lr: Iterable[int], sr: Iterable[int]) -> int:
    lr, sr = tuple(lr), tuple(sr)
    scale = sr[1] // lr[1] if len(sr) == 4 else 0
    if scale < 1 or sr[:3] != (1, lr[1] * scale, lr[2] * scale) or sr[3] not in (1, 3):
        raise FormatError(f"{name}: turns {lr} into {sr}; expected one image, larger by an integer factor")
    return scale


def _compare(name: str, data_range: int, expected: np.ndarray, result: np.ndarray) -> None:
    if result.shape != expected.shape:
        raise FormatError(f"{name}: the conversion gives {result.shape}, the original {expected.shape}")
    if not np.isfinite(expected).all():
        raise FormatError(f"{name}: the output of the original is not finite for an image in 0..{data_range}")
    # A network of 0..1 that clips may cancel values near 255 in the second range: float32 is then no better than that.
    size = max(np.abs(expected).max(), 1e-6 if data_range == 1 else data_range)
    error = float(np.abs(result - expected).max() / size)
    if not error <= MAX_ERROR:
        raise FormatError(
            f"{name}: the conversion differs from the original by {error:.2g} of the output's range on an image in "
            f"0..{data_range}; the limit is {MAX_ERROR:g}"
        )
