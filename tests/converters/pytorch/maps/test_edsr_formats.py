"""EDSR's checkpoints: the same function as the published code, borders included, in both sets of names."""

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.converters.pytorch import keras_weights, recognition

MEAN = np.array((0.4488, 0.4371, 0.4040))
RNG = np.random.default_rng(0)


def state_of(channels):
    """A state dict of EDSR x2 with one block, as its authors' code writes it."""
    sizes = {"head.0": (channels, 3), "body.0.body.0": (channels, channels), "body.0.body.2": (channels, channels)}
    sizes |= {"body.1": (channels, channels), "tail.0.0": (4 * channels, channels), "tail.1": (3, channels)}
    state = {f"{name}.weight": RNG.normal(0, 0.3 / shape[1] ** 0.5, (*shape, 3, 3)) for name, shape in sizes.items()}
    state |= {f"{name}.bias": RNG.normal(0, 5, shape[0]) for name, shape in sizes.items()}
    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        state |= {f"{name}.weight": np.eye(3).reshape(3, 3, 1, 1), f"{name}.bias": sign * 255 * MEAN}
    return state


def published(state, x, factor):
    """The output of the published code for [1, H, W, 3] in 0..255."""

    def conv(x, name):
        kernel = state[f"{name}.weight"].transpose(2, 3, 1, 0).astype(np.float32)
        y = keras.ops.conv(x.astype(np.float32), kernel, padding="same", data_format="channels_last")
        return keras.ops.convert_to_numpy(y) + state[f"{name}.bias"]

    features = conv(x - 255 * MEAN, "head.0")
    y = features + factor * conv(np.maximum(conv(features, "body.0.body.0"), 0), "body.0.body.2")
    y = conv(conv(y, "body.1") + features, "tail.0.0")
    n, h, w, c = y.shape
    pixels = y.reshape(n, h, w, c // 4, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(n, 2 * h, 2 * w, c // 4)
    return conv(pixels, "tail.1") + 255 * MEAN


def basicsr(state):
    names = {"head.0": "conv_first", "body.0.body.0": "body.0.conv1", "body.0.body.2": "body.0.conv2"}
    names |= {"body.1": "conv_after_body", "tail.0.0": "upsample.0", "tail.1": "conv_last"}
    return {f"{new}.{end}": state[f"{old}.{end}"] for old, new in names.items() for end in ("weight", "bias")}


@pytest.mark.parametrize(("channels", "factor"), [(6, 1.0), (256, 0.1)])
@pytest.mark.parametrize("rename", [dict, basicsr])
def test_edsr(channels, factor, rename):
    state = state_of(channels)
    (candidate,) = recognition.candidates(rename(state))
    expected_config = {"network": "edsr", "scale": 2, "channels": channels, "blocks": 1, "mean_shift": True}
    assert candidate.config.items() >= expected_config.items()
    config = models.complete({**candidate.config, "output_activation": "linear"})
    model = models.build(config)
    keras_weights.convert(model, config, rename(state))
    x = RNG.random((1, 6, 7, 3)) * 255
    expected = published(state, x, factor) / 255
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(x / 255)), expected, atol=1e-5 * np.abs(expected).max())
