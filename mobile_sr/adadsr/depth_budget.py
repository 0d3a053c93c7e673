"""Choice of the desired depth for a budget of time or multiply-adds (the motivation of Liu et al. 2020, Sec. 1)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mobile_sr.adadsr import depth_counts
from mobile_sr.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from mobile_sr.inference.upscaler import Upscaler


STEPS = 6  # of the bisection: the depth is determined to 1/64 of the maximum depth
RUNS = 3  # timed runs of an image at one depth; the fastest counts


def choose(upscaler: Upscaler, image: np.ndarray, *, gmacs: float | None = None, ms: float | None = None) -> float:
    """Returns the maximum desired depth at which one image stays within a budget.

    The depth is determined by bisection, which assumes that the cost grows with the depth. Give one of `gmacs` and `ms`.

    Args:
        upscaler: an Upscaler of a network with a desired depth.
        image: [H, W, 3] uint8, the LR image.
        gmacs: 10**9 multiply-adds for the whole image, see `depth_counts.count`.
        ms: wall-clock milliseconds on this machine.

    Returns:
        The depth in blocks, 0..upscaler.max_depth.

    Raises:
        UserError: depth 0 already exceeds the budget, the model has no desired depth, or its costs are unknown.
    """
    if upscaler.max_depth is None:
        raise UserError(f"{upscaler.name}: does not support a desired depth, so a budget cannot be met")
    costs = upscaler.costs
    if gmacs is not None and costs is None:
        raise UserError(f"{upscaler.name}: its multiply-adds are unknown; they are recorded in the sidecar of an exported file")
    budget, unit = (ms, "ms") if gmacs is None else (gmacs, "G multiply-adds")
    if budget is None:
        raise ValueError("one of gmacs and ms is needed")

    def cost(depth: float) -> float:
        if gmacs is None or costs is None:
            return min(_milliseconds(upscaler, image, depth) for _ in range(RUNS))
        return depth_counts.count(costs, upscaler.with_depth_map(image, depth=depth)[1]) / 1e9

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


def _milliseconds(upscaler: Upscaler, image: np.ndarray, depth: float) -> float:
    start = time.perf_counter()
    upscaler(image, depth=depth)
    return 1000 * (time.perf_counter() - start)
