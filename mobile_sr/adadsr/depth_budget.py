"""Choice of the desired depth for a budget of time or multiply-adds (the motivation of Liu et al. 2020, Sec. 1).

A choice runs only the head and the adapter, at the depths of a bisection. A budget of time also needs a table of times against
multiply-adds. It is measured once for each Upscaler.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from mobile_sr.adadsr import depth_counts
from mobile_sr.errors import UserError

if TYPE_CHECKING:
    from mobile_sr.adadsr.depth_upscaler import DepthUpscaler


STEPS = 6  # of the bisection: the depth is determined to 1/64 of the maximum depth
RUNS = 2  # timed runs at each depth of the table; the fastest counts
TABLE = (0.0, 0.25, 0.5, 1.0)  # depths of the table, in shares of the maximum
Table = tuple[np.ndarray, np.ndarray]  # (work per LR pixel, ascending; ms per LR pixel)


def choose(upscaler: DepthUpscaler, image: np.ndarray, *, gmacs: float | None = None, ms: float | None = None) -> float:
    """Returns the maximum desired depth at which one image stays within a budget.

    The depth is determined by bisection, which assumes that the cost grows with the depth. Give one of `gmacs` and `ms`.

    Args:
        upscaler: an Upscaler of a network with a desired depth.
        image: [H, W, 3] uint8, the LR image.
        gmacs: 10**9 multiply-adds for the whole image, see `depth_counts.count`.
        ms: wall-clock milliseconds on this machine, as predicted from `table`.

    Returns:
        The depth in blocks, 0..upscaler.max_depth.

    Raises:
        UserError: depth 0 already exceeds the budget, the model has no desired depth, or its costs are unknown.
    """
    if upscaler.max_depth is None:
        raise UserError(f"{upscaler.name}: does not support a desired depth, so a budget cannot be met")
    if gmacs is not None and upscaler.costs is None:
        raise UserError(f"{upscaler.name}: its multiply-adds are unknown; they are recorded in the sidecar of an exported file")
    budget, unit = (ms, "ms") if gmacs is None else (gmacs, "G multiply-adds")
    if budget is None:
        raise ValueError("one of gmacs and ms is needed")
    times = None if gmacs is not None else upscaler.times or table(upscaler, image)
    upscaler.times = times or upscaler.times
    area, pixels = math.prod(image.shape[:2]), upscaler.pixels((image.shape[0], image.shape[1]))

    def cost(depth: float) -> float:
        work = _work(upscaler, image, depth)
        return work * area / 1e9 if times is None else float(np.interp(work, times[0], times[1])) * pixels

    minimum = cost(0)
    if minimum > budget:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise UserError(f"{upscaler.name}: {size} costs {minimum:.3g} {unit} at depth 0, more than the budget of {budget:g}")
    if cost(upscaler.max_depth) <= budget:
        return float(upscaler.max_depth)
    low, high = 0.0, float(upscaler.max_depth)
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) <= budget else (low, middle)
    return low


def table(upscaler: DepthUpscaler, image: np.ndarray) -> Table:
    """Measures times against multiply-adds on the middle tile of an image, at the depths of TABLE.

    Returns:
        (work per LR pixel, ms per LR pixel), ascending. The work is the multiply-adds, or the depth if these are unknown.
    """
    part = image if upscaler.receptive_field is None else image[tuple(_middle(side, upscaler) for side in image.shape[:2])]
    pixels = upscaler.pixels((part.shape[0], part.shape[1]))
    depths = [share * upscaler.max_depth for share in TABLE]
    times = [min(_milliseconds(upscaler, part, depth) for _ in range(RUNS)) / pixels for depth in depths]
    work = np.array([_work(upscaler, part, depth) for depth in depths])
    order = np.argsort(work, kind="stable")
    return work[order], np.maximum.accumulate(np.array(times)[order])


def _middle(side: int, upscaler: DepthUpscaler) -> slice:
    """The middle of an image's side, as long as a tile with its overlap."""
    length = min(side, upscaler.default_tile + 2 * (upscaler.receptive_field or 0))
    return slice((side - length) // 2, (side + length) // 2)


def _work(upscaler: DepthUpscaler, image: np.ndarray, depth: float) -> float:
    if upscaler.costs is None:
        return depth
    return depth_counts.count(upscaler.costs, upscaler.depth_map(image, depth)) / math.prod(image.shape[:2])


def _milliseconds(upscaler: DepthUpscaler, image: np.ndarray, depth: float) -> float:
    start = time.perf_counter()
    upscaler(image, depth=depth)
    return 1000 * (time.perf_counter() - start)
