"""Figures of adaptive inference, computed by hand."""

import numpy as np
import pytest

from mobile_sr.adadsr import depth_usage

COSTS = {"always": 1000, "once": 0, "blocks": [[10, 20], [10, 20]], "dense_above": 2.0, "span": 1}


def test_usage_and_means():
    """One pixel of 25 at 1.5 blocks: conv1 works on its 9 neighbours, and both blocks are active at it."""
    depth = np.zeros((5, 5, 1), np.float32)
    depth[2, 2] = 1.5
    found = depth_usage.usage(COSTS, depth, 2)
    assert found == {"desired": 2.0, "mean": pytest.approx(0.06), "active": [0.04, 0.04], "multiply_adds": 25000 + 2 * 110}
    other = depth_usage.usage(COSTS, depth * 0, 2)
    mean = depth_usage.mean([found, other], "model", 2)
    assert mean == {
        "of": "model",
        "deepest": 2,
        "desired": 2.0,
        "mean": pytest.approx(0.03),
        "multiply_adds": 25110,
        "active": [0.02, 0.02],
    }


def test_without_costs_or_a_desired_depth():
    found = depth_usage.usage(None, np.ones((2, 2, 1)), None)
    assert found == {"desired": None, "mean": 1.0, "active": None, "multiply_adds": None}
    assert depth_usage.describe(found, 8) == "mean depth 1.00 of 8 blocks"
    assert depth_usage.mean([found], "model", 8)["desired"] is None


def test_many_blocks_are_summarized():
    assert depth_usage.shares([1, 0.5]) == "100 50 %"
    assert depth_usage.shares([1.0] * 20 + [0.0] * 20) == "100 100 100 100 100 0 0 0 0 0 % in tenths of the network"
