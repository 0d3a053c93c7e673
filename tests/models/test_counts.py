"""Counts of a small network, by hand. test_efficient.py has the challenge's ten networks."""

import keras

from mobile_sr.models import counts
from mobile_sr.models.layers import GroupedConv2D


def network():
    """3 -> 8 by 3x3 with ReLU, 8 -> 8 grouped, LeakyReLU, a linear layer 8 -> 5, tanh."""
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = keras.layers.LeakyReLU(0.1)(GroupedConv2D(8, 3, groups=2)(x))
    return keras.Model(image, keras.layers.Activation("tanh")(keras.layers.Dense(5, name="mix_linear")(x)))


def test_golden_counts():
    """At 4x6: 24 pixels. The script multiplies the heights, 4 * 4, for the linear layer."""
    products, linear, rectified = 24 * (9 * 3 * 8 + 9 * 4 * 8), 24 * 8 * 5, 24 * (8 + 8)
    found = counts.counts(network(), 4, 6)
    assert found == {
        "parameters": 27 * 8 + 8 + 36 * 8 + 8 + 40 + 5,
        "script_flops": products + rectified + 4 * 4,
        "flops": products + linear + rectified,
        "multiply_adds": products + linear,
        "activations": 24 * (8 + 8),
        "convolutions": 2,
    }
    skipped = counts.counts(network(), 4, 6, script_skips=("LeakyReLU",))
    assert skipped == {**found, "script_flops": found["script_flops"] - 24 * 8}
