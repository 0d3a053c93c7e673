"""FloatModel, the result of every conversion to a float32 .tflite, and the error of those that fail."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np

FIX_THE_SIZE = "give a fixed size with --height and --width"


class FormatError(ValueError):
    """A network cannot be converted. The message is one line: where, what, and what would help."""


class SizeError(FormatError):
    """A network of dynamic size can only be converted for a known size."""


@dataclasses.dataclass
class FloatModel:
    """A network as a float32 .tflite with the ends [1, H, W, C] and [1, H * scale, W * scale, C'].

    Values keep the range of the original, such as 0..1 or 0..255.

    Attributes:
        data: bytes of the .tflite file.
        name: name for file names and messages.
        origin: 'keras', 'saved_model', 'onnx', 'pytorch' or 'tflite'.
        reference: runs the original network: [1, H, W, C] float32 to [1, H * scale, W * scale, C'] float32.
        size: (H, W) if the input size is fixed, else None.
        channels: channels C of the input, 1 or 3.
        scale: scale factor.
        notes: one line for each change or assumption.
    """

    data: bytes
    name: str
    origin: str
    reference: Callable[[np.ndarray], np.ndarray]
    size: tuple[int, int] | None = None
    channels: int = 3
    scale: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type if there is none.

    Of Keras's "Exception encountered when calling X.call()", which is followed by the reason, it is "X: reason".
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # colours
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    layer = re.fullmatch(r"Exception encountered when calling (\w+)\.call\(\)\.", lines[0]) if len(lines) > 1 else None
    if layer:
        return f"{layer[1]}: {lines[1].partition('. ')[0]}"[:300]
    return lines[0][:300] if lines else type(error).__name__


def image_ends(name: str, shape: Sequence[int | None]) -> tuple[str, int, tuple[int, int] | None]:
    """Read an image shape.

    Args:
        name: the network, for the message.
        shape: the four sides; None or -1 for a dynamic one.

    Returns:
        The layout 'NHWC' or 'NCHW', the number of channels, and (H, W) if both are fixed, else None.

    Raises:
        FormatError: it is not the shape of one image of 1 or 3 channels.
    """
    sides = [side if side is not None and side > 0 else None for side in shape]
    if len(sides) == 4 and sides[0] in (1, None):
        for layout, channel, spatial in (("NHWC", 3, sides[1:3]), ("NCHW", 1, sides[2:4])):
            channels, (height, width) = sides[channel], spatial
            if channels in (1, 3):
                return layout, channels, None if height is None or width is None else (height, width)
    shown = [side or -1 for side in sides]
    raise FormatError(f"{name}: input {shown} is not one image; expected [1, H, W, 3], [1, H, W, 1] or channels first")


def fixed_size(
    name: str, own: tuple[int, int] | None, wanted: tuple[int, int] | None, notes: list[str]
) -> tuple[int, int] | None:
    """Choose the input size of a conversion: the one asked for, or the network's own.

    Args:
        name: the network, for the message.
        own: (H, W) of a network of fixed size, else None.
        wanted: (H, W) that was asked for, or None.
        notes: gets a line if the network's own size is used.

    Returns:
        (H, W), or None for a dynamic size.

    Raises:
        FormatError: the network has another fixed size.
    """
    if own is None or own == wanted:
        return wanted
    if wanted is not None:
        raise FormatError(
            f"{name}: has the fixed input size {own[1]}x{own[0]}; --height {wanted[0]} --width {wanted[1]} does not fit"
        )
    notes.append(f"fixed input size {own[1]}x{own[0]}")
    return own
