"""The networks of an image's patches under a budget."""

import itertools

import numpy as np
import pytest

from mobile_sr.routing import image_budget

COSTS = np.array([1.0, 2.0, 4.0])


def total(chosen):
    return float(COSTS[chosen].sum())


@pytest.mark.parametrize("limit", [9, 11.5, 17, 36])
def test_no_choice_of_the_same_cost_has_a_higher_value(limit):
    logits = np.random.default_rng(int(limit)).normal(size=(3, 3, 3))
    chosen = image_budget.choose(logits, COSTS, total, limit)
    assert total(chosen) <= limit
    value = np.take_along_axis(logits, chosen[..., None], 2).sum()
    for other in itertools.product(range(3), repeat=9):
        if COSTS[[*other]].sum() == total(chosen):
            assert logits.reshape(9, 3)[np.arange(9), [*other]].sum() <= value + 1e-9


def test_the_limits():
    logits = np.random.default_rng(0).normal(size=(2, 3, 3))
    assert image_budget.choose(logits, COSTS, total, 5.9) is None
    assert (image_budget.choose(logits, COSTS, total, 6) == 0).all()
    assert (image_budget.choose(logits, COSTS, total, 24) == 2).all()
    assert (image_budget.choose(logits, COSTS[[0, 2, 1]], lambda chosen: 1.0, 2) <= 2).all()  # costs out of order


def test_the_fastest_run_counts(monkeypatch):
    clock = iter([0, 5, 10, 12, 20, 24])
    monkeypatch.setattr(image_budget.time, "perf_counter", lambda: next(clock))
    shapes = []
    (found,) = image_budget.milliseconds([lambda image: shapes.append(image.shape)], 48)
    assert (shapes, found) == ([(144, 144, 3)] * 4, 2000 / 144**2)
