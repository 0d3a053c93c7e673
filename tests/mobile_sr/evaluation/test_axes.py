"""Axes of the charts, against values computed by hand."""

import pytest

from mobile_sr.evaluation import axes


@pytest.mark.parametrize(("span", "step"), [(6, 1), (6.1, 2), (12.1, 5), (30.1, 10), (0.06, 0.01), (0.061, 0.02), (1, 0.2)])
def test_steps_are_round_and_six_at_most(span, step):
    assert axes.round_step(span) == pytest.approx(step)


def test_ticks_of_a_plot():
    axis = axes.plot_axis([0.0, 1.0], 0, 112)
    assert (axis.low, axis.high) == pytest.approx((-0.06, 1.06))
    assert axis.ticks() == [(value, pytest.approx(6 + 100 * value)) for value in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]


def test_bars_begin_at_0_and_end_at_a_tick():
    axis = axes.bar_axis([0.3, 5.2], 10, 70)
    assert (axis.low, axis.high) == (0, 6)
    assert axis.ticks() == [(value, 10 + 10 * value) for value in range(7)]
    assert axes.bar_axis([5.01], 0, 1).high == 5  # by 1 % of a step too long
    assert axes.bar_axis([], 0, 1).high == 0.2  # one step
    assert [value for value, _ in axes.bar_axis([-0.5, 5.4], 0, 1).ticks()] == [-1, 0, 1, 2, 3, 4, 5, 6]


def test_ticks_of_a_logarithmic_axis():
    assert [value for value, _ in axes.plot_axis([2, 200], 0, 1, log=True).ticks()] == [2, 5, 10, 20, 50, 100, 200]
    assert [value for value, _ in axes.plot_axis([1, 10_000], 0, 1, log=True).ticks()] == [1, 10, 100, 1000, 10_000]
