"""The desired depth for a budget of time or of multiply-adds (the motive of Liu et al. 2020, Sec. 1)."""

import time

from mobile_sr.adadsr import depth_counts
from mobile_sr.errors import UserError

STEPS = 6  # of the bisection: the depth is found to 1/64 of the maximum depth
RUNS = 3  # timed runs of an image at one depth; the fastest counts


def choose(upscaler, image, *, gmacs=None, ms=None):
    """The largest desired depth at which one image stays within a budget.

    The image is run at the depths of a bisection, which takes the cost to grow with the depth.

    Args:
        upscaler: of a network that takes a desired depth. image: [H, W, 3] uint8, the LR image.
        gmacs: 10**9 multiply-adds of the whole image (depth_counts.count). ms: wall-clock milliseconds on this machine.
    Returns: float, 0..upscaler.max_depth.
    Raises: UserError when depth 0 is above the budget already, the model takes no desired depth, or its costs are not known.
    """
    if upscaler.max_depth is None:
        raise UserError(f"{upscaler.name}: takes no desired depth, so that there is nothing to choose for a budget")
    if gmacs is not None and upscaler.costs is None:
        raise UserError(f"{upscaler.name}: its multiply-adds are not known; its sidecar would say them")
    if gmacs is not None:
        budget, unit = gmacs, "G multiply-adds"

        def cost(depth):
            return depth_counts.count(upscaler.costs, upscaler.with_depth_map(image, depth=depth)[1]) / 1e9
    else:
        budget, unit = ms, "ms"

        def cost(depth):
            return min(_milliseconds(upscaler, image, depth) for _ in range(RUNS))

    least = cost(0)
    if least > budget:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise UserError(f"{upscaler.name}: {size} costs {least:.3g} {unit} at depth 0, more than the budget of {budget:g}")
    if cost(upscaler.max_depth) <= budget:
        return float(upscaler.max_depth)
    low, high = 0.0, float(upscaler.max_depth)
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) <= budget else (low, middle)
    return low


def _milliseconds(upscaler, image, depth):
    start = time.perf_counter()
    upscaler(image, depth=depth)
    return 1000 * (time.perf_counter() - start)
