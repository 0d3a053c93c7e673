"""The budget of a routed model: its form, and the price of a multiply-add that meets it."""

from __future__ import annotations

import numpy as np

from mobile_sr.architecture_search import budgets
from mobile_sr.errors import UserError


def parse(text: str | None, costs: np.ndarray, scale: int) -> float:
    """Converts a budget to multiply-adds per LR pixel.

    Args:
        text: '65%' of the largest network, '60G' multiply-adds of a 1280x720 output, or None for halfway between the
            cheapest and the largest network.
        costs: multiply-adds per LR pixel of the networks, ascending.
        scale: scale factor of the networks.

    Raises:
        UserError: the text is neither, or not between the cheapest and the largest network.
    """
    if text is None:
        return float(costs[0] + costs[-1]) / 2
    value, is_share = budgets.parse(text, ("G", "%"), "a share or multiply-adds for a 1280x720 output, e.g. 65% or 60G")
    per_image = budgets.HD / scale**2 / 1e9
    limit = value * costs[-1] if is_share else value / 1e9 / per_image
    if not costs[0] < limit < costs[-1]:
        minimum = f"{costs[0] * per_image:.4g}G ({costs[0] / costs[-1]:.1%})"
        raise UserError(f"--budget {text}: must be between {minimum}, the cheapest network, and {costs[-1] * per_image:.4g}G")
    return limit


def price(values: np.ndarray, costs: np.ndarray, limit: float) -> float:
    """Returns the minimum price of a multiply-add at which the choices meet a budget.

    Each row of `values` - price * `costs` chooses the network with the maximum. The price can be negative, so that the budget
    is used up. It is determined by bisection to 2**-60 of its range.

    Args:
        values: [n, networks], the value of each network on each patch.
        costs: multiply-adds per LR pixel of the networks, ascending.
        limit: budget, the mean multiply-adds per LR pixel.
    """
    spread = (
        float(np.abs(values - values[:, -1:]).max()) / np.diff(costs).min() + 1e-12
    )  # beyond it one network wins everywhere
    low, high = -spread, spread
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if costs[(values - middle * costs).argmax(1)].mean() > limit else (low, middle)
    return high
