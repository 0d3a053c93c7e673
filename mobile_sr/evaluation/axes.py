"""Axes of the charts: values to coordinates, with ticks at round values."""

from __future__ import annotations

import math
from collections.abc import Sequence

_MAX_STEPS = 6  # between the two ends of a linear axis
_MARGIN = 0.06  # of the values' spread, beyond the smallest and the largest value of a plot
_TOLERANCE = 1e-9  # of a step, by which the rounding of floats may put a tick outside of the axis


def round_step(span: float) -> float:
    """Returns the smallest step of 1, 2 or 5 times a power of ten that divides `span` into 6 steps at most."""
    min_step = span / _MAX_STEPS
    power = 10.0 ** math.floor(math.log10(min_step))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= min_step)


class Axis:
    """A linear axis.

    Attributes:
        low, high: values at the two ends, `low` < `high`.
        start, stop: coordinates of `low` and `high`; `start` may be the larger one, as on a vertical SVG axis.
        step: the distance of the ticks.
    """

    low: float
    high: float
    start: float
    stop: float
    step: float

    def __init__(self, low: float, high: float, start: float, stop: float, step: float | None = None):
        """`step` defaults to `round_step` of the range."""
        self.low, self.high, self.start, self.stop = low, high, start, stop
        self.step = round_step(high - low) if step is None else step

    def __call__(self, value: float) -> float:
        """Returns the coordinate of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self) -> list[tuple[float, float]]:
        """Returns [(value, coordinate)] at multiples of `step`."""
        first = math.ceil(self.low / self.step - _TOLERANCE)
        last = math.floor(self.high / self.step + _TOLERANCE)
        values = [round(k * self.step, 12) for k in range(first, last + 1)]
        return [(value, self(value)) for value in values]


class LogAxis(Axis):
    """A logarithmic axis; `low` and `high` are decimal logarithms, and the values are above 0."""

    def __call__(self, value: float) -> float:
        """Returns the coordinate of a value above 0."""
        return super().__call__(math.log10(value))

    def ticks(self) -> list[tuple[float, float]]:
        """Returns [(value, coordinate)] at 1, 2 and 5 times powers of ten, or at powers of ten for three or more decades."""
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        digits = (1, 2, 5) if self.high - self.low < 3 else (1,)
        values = [round(digit * 10.0**power, 10) for power in powers for digit in digits]
        return [(value, self(value)) for value in values if self.low <= math.log10(value) <= self.high]


def plot_axis(values: Sequence[float], start: float, stop: float, log: bool = False) -> Axis:
    """Returns an axis for a plot of points: the range of the values with a margin at both ends."""
    if log:
        values = [math.log10(value) for value in values]
    low, high = min(values), max(values)
    spread = (high - low) or abs(high) or 1.0
    return (LogAxis if log else Axis)(low - _MARGIN * spread, high + _MARGIN * spread, start, stop)


def bar_axis(values: Sequence[float], start: float, stop: float) -> Axis:
    """Returns an axis for bars: from 0, or from below it for negative values, with a tick at each end."""
    low, high = min([0.0, *values]), max([0.0, *values])
    step = round_step((high - low) or 1.0)
    # A bar may reach 2 % of a step beyond the axis: a rounding error does not add a step.
    first, last = math.floor(low / step + 0.02), max(math.ceil(high / step - 0.02), 1)
    return Axis(first * step, last * step, start, stop, step)
