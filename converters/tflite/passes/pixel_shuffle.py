"""Recognizes a pixel shuffle, its inverse or a channel shuffle in a RESHAPE-TRANSPOSE-RESHAPE."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Shuffle:
    """What a RESHAPE-TRANSPOSE-RESHAPE does to an NHWC tensor.

    Attributes:
        kind: 'depth_to_space', 'space_to_depth' or 'channels'.
        block: the block size; 1 for 'channels'.
        channels: indices of the channels in their new order. They are selected before a depth_to_space and after a
            space_to_depth.
    """

    kind: str
    block: int
    channels: tuple[int, ...]

    @property
    def is_identity(self) -> bool:
        """Whether the order of the channels stays."""
        return self.channels == tuple(range(len(self.channels)))


def depth_to_space_order(channels: int, block: int) -> tuple[int, ...]:
    """Return the order of channels that turns ONNX's CRD mode (PyTorch's PixelShuffle) into TensorFlow's depth_to_space.

    Args:
        channels: channels before the shuffle, a multiple of block**2.
        block: block size.
    """
    return tuple(np.arange(channels).reshape(-1, block * block).T.reshape(-1).tolist())


def recognize(
    source: Sequence[int],
    middle: Sequence[int],
    permutation: Sequence[int],
    target: Sequence[int],
    roles_in: str = "NHWC",
    roles_out: str = "NHWC",
) -> Shuffle | None:
    """Interpret a reshape to `middle`, a transposition and a reshape to `target`.

    Every side of the source must split into sides of `middle`, and these must merge to sides of the target.

    Args:
        source: shape before.
        middle: shape after the first reshape.
        permutation: of the transposition.
        target: shape after the second reshape.
        roles_in: what the sides of the source are, such as 'NCHW'.
        roles_out: the same of the target.

    Returns:
        The shuffle, or None if it is something else.
    """
    splits = _group(source, middle)
    if splits is None or len(target) != 4 or len(source) != 4:
        return None
    moved = [middle[axis] for axis in permutation]
    merges = _group(target, moved)
    if merges is None:
        return None
    # Sides of 1 carry no information and may be in any group.
    parts = {role: [axis for axis in group if middle[axis] > 1] for role, group in zip(roles_in, splits, strict=True)}
    result = {role: [permutation[k] for k in group if moved[k] > 1] for role, group in zip(roles_out, merges, strict=True)}
    if parts["N"] or result["N"]:
        return None
    height, width, channels = (parts[role] for role in "HWC")
    order = np.arange(int(np.prod([middle[a] for a in channels]))).reshape([middle[a] for a in channels])
    if result["H"] == height and result["W"] == width and sorted(result["C"]) == channels:
        axes = [channels.index(axis) for axis in result["C"]]
        return Shuffle("channels", 1, _tuple(order.transpose(axes)))
    if result["H"][:-1] == height and result["W"][:-1] == width and len(height) == len(width) == 1:
        row, column = result["H"][-1], result["W"][-1]
        axes = [row, column, *result["C"]]
        if sorted(axes) == channels and middle[row] == middle[column]:
            return Shuffle("depth_to_space", middle[row], _tuple(order.transpose([channels.index(axis) for axis in axes])))
    if len(height) == len(width) == 2 and result["H"] == height[:1] and result["W"] == width[:1]:
        inner = [height[1], width[1], *channels]
        if sorted(result["C"]) == sorted(inner) and middle[height[1]] == middle[width[1]]:
            sizes = [middle[axis] for axis in inner]
            order = np.arange(int(np.prod(sizes))).reshape(sizes)
            return Shuffle("space_to_depth", middle[height[1]], _tuple(order.transpose([inner.index(a) for a in result["C"]])))
    return None


def _tuple(order: np.ndarray) -> tuple[int, ...]:
    return tuple(order.reshape(-1).tolist())


def _group(outer: Sequence[int], inner: Sequence[int]) -> list[list[int]] | None:
    """Axes of `inner` whose product is each side of `outer`, in order; None if sides are cut in another way."""
    groups: list[list[int]] = []
    axis = 0
    for side in outer:
        group: list[int] = []
        product = 1
        while product < side and axis < len(inner):
            product *= inner[axis]
            group.append(axis)
            axis += 1
        if product != side:
            return None
        groups.append(group)
    return groups if all(side == 1 for side in inner[axis:]) else None
