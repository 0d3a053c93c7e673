"""Tiles: the windows in which a large image is upscaled."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mobile_sr.errors import UserError

Slices = tuple[slice, slice]  # rows, columns


def plan_tiles(size: tuple[int, int], window: tuple[int, int], overlap: int) -> Iterator[tuple[Slices, Slices]]:
    """Cuts an image into windows that are run and inner parts that are kept.

    All windows have the same size, so the runtime allocates once. At the image border a window is moved inwards, so the
    network's zero padding acts as on the whole image. Elsewhere the inner part keeps a distance of `overlap` pixels from the
    window's edge. With overlap >= receptive field the result equals the untiled one.

    Args:
        size: (H, W) of the image in LR pixels.
        window: (H, W) of the windows in LR pixels.
        overlap: margin in LR pixels.

    Yields:
        ((rows, columns) of the window, (rows, columns) of the inner part), slices in LR pixels.

    Raises:
        UserError: a window smaller than the image has no pixels left inside its overlap.
    """
    axes = []
    for length, side in zip(size, window, strict=True):
        side = min(side, length)
        step = side - 2 * overlap
        if side < length and step < 1:
            raise UserError(f"a tile of {side} LR pixels is too small for an overlap of {overlap} on each side")
        count = 1 if side == length else math.ceil((length - 2 * overlap) / step)
        spans, kept = [], 0
        for k in range(count):
            start = min(k * step, length - side)
            stop = length if k == count - 1 else start + side - overlap
            spans.append((slice(start, start + side), slice(kept, stop)))
            kept = stop
        axes.append(spans)
    for rows, inner_rows in axes[0]:
        for columns, inner_columns in axes[1]:
            yield (rows, columns), (inner_rows, inner_columns)
