"""Costs of small networks, computed by hand. test_efficient.py has the ten networks of the challenge."""

import keras
import pytest

from mobile_sr import models
from mobile_sr.models import counts, patch_classifier
from mobile_sr.models.layers import GroupedConv2D, SubPixelConv2DTranspose
from mobile_sr.models.nas import fgnas, fgnas_costs
from mobile_sr.models.ntire2022.mobilesr import WindowAttention


def network():
    """3 -> 8 by 3x3 with ReLU, 8 -> 8 grouped, LeakyReLU, a linear layer 8 -> 5, tanh."""
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = keras.layers.LeakyReLU(0.1)(GroupedConv2D(8, 3, groups=2)(x))
    return keras.Model(image, keras.layers.Activation("tanh")(keras.layers.Dense(5, name="mix_linear")(x)))


def test_golden_counts():
    """At 4x6: 24 pixels. The script multiplies the heights, 4 * 4, for the linear layer."""
    products, linear, rectified = 24 * (9 * 3 * 8 + 9 * 4 * 8), 24 * 8 * 5, 24 * (8 + 8)
    result = counts.counts(network(), 4, 6)
    assert result == {
        "parameters": 27 * 8 + 8 + 36 * 8 + 8 + 40 + 5,
        "script_flops": products + rectified + 4 * 4,
        "flops": products + linear + rectified,
        "multiply_adds": products + linear,
        "activations": 24 * (8 + 8),
        "convolutions": 2,
    }
    skipped = counts.counts(network(), 4, 6, script_skips=("LeakyReLU",))
    assert skipped == {**result, "script_flops": result["script_flops"] - 24 * 8}


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (keras.layers.Conv2D(5, (3, 1)), 3 * 8 * 5),
        (keras.layers.DepthwiseConv2D(3), 9 * 8),
        (GroupedConv2D(12, 3, groups=4), 9 * 2 * 12),
        (SubPixelConv2DTranspose(3, 9, 2), 81 * 8 * 3),
        (keras.layers.Dense(5), 8 * 5),
        (WindowAttention(heads=2, window=4), 4 * 8**2 + 2 * 4**2 * 8),
        (keras.layers.ReLU(), 0),
    ],
)
def test_golden_multiply_adds_of_a_layer(layer, expected):
    layer.build((None, None, None, 8))
    assert counts.per_pixel(layer) == expected
    assert type(counts.per_pixel(layer)) is int


def test_executed_multiply_adds_include_channels_of_zeros():
    """A 3x3 convolution of 5 channels to channels 0 and 2 of 7."""
    layer = fgnas.SpreadConv2D([0, 2], 7)
    layer.build((None, None, None, 5))
    assert (counts.per_pixel(layer), counts.per_pixel(layer, executed=True)) == (9 * 5 * 2, 9 * 5 * 7)


def test_every_count_agrees():
    """By pixels, at a size, differentiably and executed, for a network without borders or empty channels."""
    config = {"network": "fgnas", "scale": 2, **fgnas.uniform(2, 8)}
    model = models.build(config)
    per_pixel = 9 * 3 * 8 + 5 * 9 * 8 * 8 + 9 * 8 * 12
    operators = [("conv3x3", 3, 8), *[("conv3x3", 8, 8)] * 5, ("conv3x3", 8, 12)]
    assert models.multiply_adds(model, 35) == fgnas.executed_multiply_adds(model, 35) == 35 * per_pixel
    assert models.challenge_counts(config, 5, 7)["multiply_adds"] == 35 * per_pixel
    assert fgnas_costs.Cost("multiply_adds").total(operators) == per_pixel


def test_golden_multiply_adds_of_the_patch_classifier():
    """For patches of 12 pixels: 4x4 convolution with stride 4, two 1x1, and one output for each patch."""
    expected = (16 * 3 * 32 + 2 * 32 * 32) / 4**2 + 32 * 3 / 12**2
    assert patch_classifier.multiply_adds(patch_classifier.build(3, 12)) == pytest.approx(expected, rel=1e-12)
