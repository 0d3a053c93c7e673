"""Recognizes a pixel shuffle, its inverse or a selection of channels in a chain of reshapes and transpositions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
Step = tuple[str, Sequence[int]]  # ('reshape', shape), ('transpose', permutation) or ('broadcast', shape)


@dataclasses.dataclass(frozen=True)
class Shuffle:
    """What a chain of reshapes and transpositions does to an image.

    Attributes:
        kind: 'depth_to_space', 'space_to_depth' or 'channels'.
        block: the block size; 1 for 'channels'.
        channels: indices of the channels in their new order; with 'channels', some may be missing or repeated. They are
            selected before a depth_to_space and after a space_to_depth.
        layout_in: layout of the image before, 'NHWC' or 'NCHW'.
        layout_out: layout after.
        inputs: channels before.
    """

    kind: str
    block: int
    channels: tuple[int, ...]
    layout_in: str = "NHWC"
    layout_out: str = "NHWC"
    inputs: int = 0

    @property
    def keeps_order(self) -> bool:
        """Whether all channels stay in their order."""
        return self.channels == tuple(range(self.inputs * (self.block**2 if self.kind == "space_to_depth" else 1)))


def depth_to_space_order(channels: int, block: int) -> tuple[int, ...]:
    """Return the order of channels that turns ONNX's CRD mode (PyTorch's PixelShuffle) into TensorFlow's depth_to_space.

    Args:
        channels: channels before the shuffle, a multiple of block**2.
        block: block size.
    """
    return tuple(np.arange(channels).reshape(-1, block * block).T.reshape(-1).tolist())


def recognize(source: Sequence[int], steps: Sequence[Step]) -> Shuffle | None:
    """Follow the number of each value through a chain of operators, and compare with the shuffles.

    Args:
        source: shape of the image before, in NHWC or NCHW.
        steps: the operators.

    Returns:
        The shuffle, or None if it is something else.
    """
    if len(source) != 4 or source[0] != 1:
        return None
    before = np.arange(int(np.prod(source)), dtype=np.int32).reshape(source)
    after = before
    for kind, values in steps:
        if kind == "transpose":
            after = after.transpose(values)
        else:
            after = after.reshape(values) if kind == "reshape" else np.broadcast_to(after, values)
    if after.ndim != 4 or after.shape[0] != 1:
        return None
    for layout_in in ("NHWC", "NCHW"):
        for layout_out in ("NHWC", "NCHW"):
            x = before if layout_in == "NHWC" else before.transpose(TO_NHWC)
            y = after if layout_out == "NHWC" else after.transpose(TO_NHWC)
            found = _compare(x[0], y[0])
            if found is not None:
                return dataclasses.replace(found, layout_in=layout_in, layout_out=layout_out, inputs=x.shape[3])
    return None


def _compare(x: np.ndarray, y: np.ndarray) -> Shuffle | None:
    """The shuffle that turns [H, W, C] into another shape."""
    (height, width, _), (high, wide, _) = x.shape, y.shape
    if high == height and wide == width:
        return _selected(x, y, "channels", 1)
    block = high // height
    if block > 1 and (high, wide) == (height * block, width * block):
        return _selected(x, _space_to_depth(y, block), "depth_to_space", block)
    block = height // high
    if block > 1 and (height, width) == (high * block, wide * block):
        return _selected(_space_to_depth(x, block), y, "space_to_depth", block)
    return None


def _selected(x: np.ndarray, y: np.ndarray, kind: str, block: int) -> Shuffle | None:
    """A shuffle whose channels turn x into y."""
    position = {int(value): channel for channel, value in enumerate(x[0, 0])}
    channels = [position.get(int(value), -1) for value in y[0, 0]]
    return Shuffle(kind, block, tuple(channels)) if -1 not in channels and np.array_equal(x[..., channels], y) else None


def _space_to_depth(image: np.ndarray, block: int) -> np.ndarray:
    height, width, channels = (image.shape[0] // block, image.shape[1] // block, image.shape[2])
    parts = image.reshape(height, block, width, block, channels).transpose(0, 2, 1, 3, 4)
    return parts.reshape(height, width, block * block * channels)
