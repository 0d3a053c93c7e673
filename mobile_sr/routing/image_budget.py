"""The choice of networks for the patches of one image under a budget."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mobile_sr.imaging import sample_images

MAX_PRICES = 1 << 9
SIDE = 128  # LR pixels of the image on which networks are timed
RUNS = 3  # timed runs, of which the fastest counts; one more is not timed


def choose(logits: np.ndarray, costs: Sequence[float], cost: Callable[[np.ndarray], float], limit: float) -> np.ndarray | None:
    """Returns the networks of the patches at the lowest price of their cost that meets a budget.

    Each patch gets the network with the maximum of its logit - price * cost. Choices change only at the prices at which two
    networks of a patch are equal, so the price is searched among these. With more than MAX_PRICES of them, evenly spaced ones
    are tried.

    Args:
        logits: [rows, columns, networks], the value of each network on each patch.
        costs: costs per LR pixel of the networks, ascending. One below that before it, such as a noisy time, is raised.
        cost: returns the total cost of chosen networks, [rows, columns] ints.
        limit: the largest total cost.

    Returns:
        [rows, columns] ints, or None if not even the cheapest network everywhere meets the budget.
    """
    values = logits.astype(np.float64)
    prices = np.maximum.accumulate(np.asarray(costs, np.float64)) * (1 + 1e-6 * np.arange(len(costs)))  # all different
    pairs = itertools.combinations(range(len(costs)), 2)
    equal = [((values[..., j] - values[..., i]) / (prices[j] - prices[i])).ravel() for i, j in pairs]
    steps = np.unique(np.concatenate(equal))
    if len(steps) > MAX_PRICES:
        steps = steps[np.linspace(0, len(steps) - 1, MAX_PRICES).round().astype(int)]
    margin = 1 + np.abs(steps).max()
    between = [steps[0] - margin, *(steps[1:] + steps[:-1]) / 2, steps[-1] + margin]  # the last one: all cheapest

    def at(index: int) -> np.ndarray:
        result: np.ndarray = (values - between[index] * prices).argmax(2)
        return result

    low, high = -1, len(between) - 1
    if cost(at(high)) > limit:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(at(middle)) > limit else (low, middle)
    return at(high)


def milliseconds(runs: Sequence[Callable[[np.ndarray], Any]], patch: int) -> list[float]:
    """Returns the wall-clock milliseconds per LR pixel of functions of an image on this machine.

    Args:
        runs: functions of [H, W, 3] uint8.
        patch: side of a patch, of which the timed image has a multiple.
    """
    side = -(-SIDE // patch) * patch
    image, result = sample_images.generated(side, side), []
    for run in runs:
        run(image)
        times = []
        for _ in range(RUNS):
            start = time.perf_counter()
            run(image)
            times.append(time.perf_counter() - start)
        result.append(1000 * min(times) / side**2)
    return result
