"""Instructions of int8 operators: the counted figures, what is derived from them, and the table of a search."""

import numpy as np
import pytest
import tensorflow as tf

from mobile_sr.models.nas import arm64, fgnas_costs

COST = fgnas_costs.Cost("arm64")


@pytest.mark.parametrize(
    ("kernel", "groups", "inputs", "outputs", "counted"),
    [
        (3, 1, 3, 16, 139),
        (3, 1, 16, 16, 265),
        (3, 1, 16, 27, 523),
        (3, 1, 32, 32, 874),
        (3, 1, 64, 64, 3157),
        (3, 4, 32, 32, 726),
        (1, 1, 16, 16, 60),
        (5, 1, 3, 16, 311),
    ],
)
def test_counted_convolutions(kernel, groups, inputs, outputs, counted):
    assert round(arm64.convolution((kernel, kernel), inputs, outputs, groups)) == counted


def without(monkeypatch, **tables):
    """Hides rows of the table from the lookup of exact figures; what they are derived from stays."""
    kept = {name: {key: cost for key, cost in arm64._counted(name).items() if keep(key)} for name, keep in tables.items()}
    monkeypatch.setattr(arm64, "_counted", lambda name: kept.get(name, {}))


def test_other_kernels_and_groups_follow_from_the_counted_ones(monkeypatch):
    rows = {key: cost for key, cost in arm64._counted("CONV_2D").items() if key[0] > 3 or key[1] > 1}
    assert len(rows) > 50
    without(monkeypatch, CONV_2D=lambda key: key[0] <= 3 and key[1] == 1)
    arm64._grid.cache_clear()
    errors = [arm64.convolution((k, k), i, o, groups) / cost - 1 for (k, groups, i, o), cost in rows.items()]
    assert max(map(abs, errors)) < 0.03
    assert abs(np.mean(errors)) < 0.01


def test_transposed_convolutions_follow_from_those_of_stride_2(monkeypatch):
    rows = arm64._counted("TRANSPOSE_CONV")
    without(monkeypatch, TRANSPOSE_CONV=lambda key: key[3] == 2)
    errors = [arm64.transposed(k, i, o, stride) / cost - 1 for (k, i, o, stride), cost in rows.items()]
    assert len(errors) > 90
    assert max(map(abs, errors)) < 0.002


def test_channels_between_and_past_the_counted_ones():
    assert arm64.convolution((3, 3), 13, 14) == arm64.convolution((3, 3), 16, 16)
    line = [arm64.convolution((3, 3), channels, 32) for channels in (32, 64, 96)]
    assert line[2] - line[1] == pytest.approx(line[1] - line[0])
    assert arm64.by_channels("ADD", 128) == pytest.approx(2 * arm64.by_channels("ADD", 64))
    assert arm64.by_channels("ADD", 30) == pytest.approx((arm64.by_channels("ADD", 28) + arm64.by_channels("ADD", 32)) / 2)
    assert arm64.depthwise(17, 16) == pytest.approx((arm64.depthwise(9, 16) + arm64.depthwise(25, 16)) / 2)


def test_a_search_reads_the_counted_figures():
    assert float(COST.of("conv3x3", 16.0, 16.0)) == pytest.approx(arm64.convolution((3, 3), 16, 16))
    assert float(COST.of("conv1x1", 20.0, 12.0)) == pytest.approx(arm64.convolution((1, 1), 20, 12))
    assert float(COST.of("add", 32.0, 32.0)) == pytest.approx(77.7)
    assert (float(COST.of("relu", 8.0, 8.0)), float(COST.of("conv3x3", 0.0, 16.0))) == (0, 0)
    # depth_to_space, and ten times the conversion of an LR image
    assert float(COST.of("depth_to_space", 27.0, 27.0)) == pytest.approx(81.9 + 10 * 7.4)
    for operator in ("prelu", "tanh"):
        with pytest.raises(ValueError, match=f"no figures for {operator}"):
            COST.of(operator, 8.0, 8.0)


def test_the_gradient_has_no_steps():
    """Inside of a block of 16 outputs the cost is constant; the gradient is the cost per channel."""
    inputs, outputs = tf.Variable(20.0), tf.Variable(17.0)
    with tf.GradientTape() as tape:
        cost = COST.of("conv3x3", inputs, outputs)
    by_inputs, by_outputs = (float(slope) for slope in tape.gradient(cost, (inputs, outputs)))
    assert by_inputs == pytest.approx(float(cost) / 20, rel=1e-5)
    assert by_outputs == pytest.approx(float(cost) / 17, rel=1e-5)
