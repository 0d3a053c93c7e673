"""Instructions of int8 convolutions: the counted figures, monotonicity, and gradients."""

import numpy as np
import pytest
import tensorflow as tf

from mobile_sr.models.nas import arm64, fgnas_costs


def estimate(*operator):
    return float(arm64.convolution(*operator))


def test_no_figure_is_off_by_more_than_stated():
    errors = {key: estimate(*key) / count - 1 for key, count in arm64.CONVOLUTIONS.items()}
    worst = max(map(abs, errors.values()))
    assert 0.9 * arm64.FIT_ERROR < worst <= arm64.FIT_ERROR


def test_more_channels_never_cost_less():
    for taps in (9, 1):
        costs = np.asarray(arm64.convolution(taps, np.arange(66.0)[:, None], np.arange(66.0)))
        assert (np.diff(costs, axis=0) >= 0).all()
        assert (np.diff(costs, axis=1) >= 0).all()
        assert (costs[0] == 0).all()
        assert (costs[:, 0] == 0).all()
        assert costs[1, 1] > 0
        assert costs[65, 64] == estimate(taps, 65, 64)


def test_costs_rise_in_the_kernels_blocks():
    assert estimate(9, 16, 1) == estimate(9, 16, 16) < estimate(9, 16, 17) == estimate(9, 16, 32)
    assert estimate(9, 13, 16) == estimate(9, 16, 16) < estimate(9, 17, 16)
    np.testing.assert_allclose(estimate(9, 32, 32), 13 + 2 * (24.6 + 9 * (5.58 + 32 * 1.244)), rtol=1e-6)  # no rest
    np.testing.assert_allclose(estimate(9, 12, 1), 13 + 24.6 + 9 * (5.58 + 12 * 1.244 + 1.02 + 0.85), rtol=1e-6)


def test_the_gradient_is_the_slope_between_full_blocks():
    """Also inside of a block, where the cost itself is constant."""
    inputs, outputs = tf.Variable(20.0), tf.Variable(17.0)
    with tf.GradientTape() as tape:
        cost = arm64.convolution(9, inputs, outputs)
    assert float(cost) == pytest.approx(estimate(9, 20, 32))
    by_inputs, by_outputs = (float(slope) for slope in tape.gradient(cost, (inputs, outputs)))
    assert by_inputs == pytest.approx(2 * 9 * 1.244, rel=1e-5)  # two blocks of outputs
    assert by_outputs == pytest.approx((estimate(9, 20, 32) - 13) / 32, rel=1e-5)
    assert by_outputs == pytest.approx((estimate(9, 20, 48) - estimate(9, 20, 16)) / 32, rel=1e-5)


def test_the_other_operators_of_a_network():
    """Addition of 16 channels about 39; depth_to_space 60 at x2 and 85 at x3, two QUANTIZE 50."""
    cost = fgnas_costs.Cost("arm64")
    assert (cost.of("add", 16.0, 16.0), cost.of("add", 32.0, 32.0), cost.of("relu", 8.0, 8.0)) == (39, 78, 0)
    assert cost.of("depth_to_space", 12.0, 12.0) == 50 + 60
    assert cost.of("depth_to_space", 27.0, 27.0) == 50 + 85
    assert float(cost.total([("conv3x3", 3.0, 16.0), ("conv1x1", 16.0, 16.0)])) == pytest.approx(
        estimate(9, 3, 16) + estimate(1, 16, 16)
    )
    for operator in ("prelu", "tanh"):
        with pytest.raises(ValueError, match=f"no figures for {operator}"):
            cost.of(operator, 8.0, 8.0)
