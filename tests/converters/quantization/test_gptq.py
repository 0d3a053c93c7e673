"""GPTQ: golden integers of a small kernel, and the correction of the bias.

test_cross_layer_equalization.py runs it on whole networks.
"""

import keras
import numpy as np
import pytest

from mobile_sr.converters import to_tflite
from mobile_sr.converters.quantization import gptq, keras_sync
from mobile_sr.converters.quantization.float_graph import FloatGraph
from tests.conftest import GPTQ_POSITIONS


@pytest.fixture(autouse=True)
def positions(monkeypatch):
    """As many positions as users get."""
    monkeypatch.setattr(gptq, "POSITIONS", GPTQ_POSITIONS)


@pytest.fixture(scope="module")
def layer():
    """(model with a first 1x1 convolution from 8 to 3 channels, its kernel [8, 3], an image with correlated channels)."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(8, 8)) * 0.5 + 1
    image = (rng.normal(size=(1, 16, 16, 8)) @ mix).astype(np.float32)
    kernel = rng.normal(size=(8, 3))
    start = keras.Input((None, None, 8))
    model = keras.Model(start, keras.layers.Conv2D(1, 1)(keras.layers.Conv2D(3, 1, name="conv")(start)))
    model.set_weights([kernel[None, None], np.array([0.5, -0.25, 0]), np.ones((1, 1, 3, 1)), np.zeros(1)])
    return model, kernel, image


def rounded_weights(model, images):
    """The weights of a Keras model after rounding; the model does not change."""
    data, before = to_tflite.float_tflite(model), model.get_weights()
    graph = FloatGraph(data)
    gptq.round_weights(graph, images)
    keras_sync.copy_weights(FloatGraph(data), graph, model)
    weights = model.get_weights()
    model.set_weights(before)
    return weights


def steps(kernel, rounded):
    """A rounded kernel [1, 1, 8, 3] in units of its scales, one row for each output channel."""
    return np.round(rounded[0, 0] / (np.abs(kernel).max(axis=0) / 127)).astype(int).T.tolist()


def test_golden_integers(layer):
    """They depend on the damping (0.004 and 0.006 give others), the order of the inputs and the update."""
    model, kernel, image = layer
    assert steps(kernel, kernel[None, None]) == [  # rounded to nearest
        [42, 34, -127, -18, -87, 80, 98, -69],
        [-52, -65, -23, 108, -127, -55, -77, 52],
        [-79, -69, 82, -127, -16, -70, 15, -22],
    ]
    assert steps(kernel, rounded_weights(model, [image])[0]) == [
        [42, 34, -127, -17, -87, 79, 98, -69],
        [-51, -65, -22, 109, -127, -56, -77, 52],
        [-79, -69, 82, -127, -14, -71, 15, -22],
    ]


def test_the_bias_keeps_the_mean_of_every_channel(layer):
    model, kernel, image = layer
    rounded, bias = rounded_weights(model, [image])[:2]
    before, after = image @ kernel + [0.5, -0.25, 0], image @ rounded[0, 0] + bias
    assert np.abs(before - after).max() > 3e-3
    assert np.abs((image @ (kernel - rounded[0, 0])).mean(axis=(0, 1, 2))).max() > 5e-4  # the error that the bias corrects
    np.testing.assert_allclose(after.mean(axis=(0, 1, 2)), before.mean(axis=(0, 1, 2)), atol=2e-6)


@pytest.mark.parametrize(("width", "every"), [(299, 1), (300, 2)])
def test_moments_are_of_about_40000_positions(monkeypatch, width, every):
    """From 1.5**2 * 40,000 positions on, every second one of each axis is used."""
    steps, patches = [], gptq.patches
    monkeypatch.setattr(gptq, "patches", lambda *args: steps.append(args[3]) or patches(*args))
    start = keras.Input((None, None, 1))
    model = keras.Model(start, keras.layers.Conv2D(1, 1)(keras.layers.Conv2D(1, 1)(start)))
    rounded_weights(model, [np.random.default_rng(0).random((1, 300, width, 1), np.float32)])
    assert steps == [every, every]


@pytest.mark.parametrize("spread", [0.1, 1e-3, 1e-4])
def test_inputs_far_from_0_that_hardly_vary(spread):
    """In float32, their covariance would be lost if it were computed as the difference of two large numbers. One layer only."""
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(4, 3, padding="same")(image))
    rng = np.random.default_rng(0)
    images = [(1 + spread * (rng.random((1, 24, 24, 3)) - 0.5)).astype(np.float32) for _ in range(2)]
    kernel, _ = rounded_weights(model, images)
    before = model.get_weights()[0]
    steps = np.abs(before).max(axis=(0, 1, 2)) / 127
    np.testing.assert_allclose(kernel / steps, np.round(kernel / steps), atol=1e-3)
    assert np.abs(kernel - before).max() < 4 * steps.max()
