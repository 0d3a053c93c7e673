"""Checkpoints of the AIMET Model Zoo: random weights in the published form, against a forward pass in NumPy as published."""

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.converters.pytorch import keras_weights, recognition
from mobile_sr.converters.pytorch.maps import aimet
from tests.converters.pytorch.maps.test_classic import State
from tests.converters.pytorch.maps.test_mobile import IMAGE, pixel_shuffle, relu

C = 8  # channels
HUGE = 9  # channels inside of a linear block, 256 in published networks


def clip(x):
    return np.clip(x, 0, 1)


def quicksrnet(state, scale, anchor):
    x = IMAGE
    for k in range(3):
        x = clip(state.conv(f"cnn.{2 * k}", x, C))
    x = state.conv("conv_last", x, 3 * scale**2)
    return pixel_shuffle(x + state.conv("anchor.net", IMAGE, 3 * scale**2, 1) if anchor else x, scale)


def repeated(state, scale):
    """The frozen anchor of SESR."""
    state["anchor.net.weight"] = np.repeat(np.eye(3), scale**2, axis=0)[:, :, None, None]
    state["anchor.net.bias"] = np.zeros(3 * scale**2)
    return np.repeat(IMAGE, scale**2, axis=0)


def sesr(state, scale):
    """As it is trained: each block is a convolution to many channels and a 1x1 convolution."""

    def block(name, x, outputs, side):
        return state.conv(f"{name}.conv_squeeze", state.conv(f"{name}.conv_expand", x, HUGE, side, bias=False), outputs, 1)

    head = x = relu(block("conv_first", IMAGE, C, 5))
    for k in range(2):
        x = relu(x + block(f"residual_block.{k}", x, C, 3))
    return pixel_shuffle(block("conv_last", x + head, 3 * scale**2, 5) + repeated(state, scale), scale)


def collapsed(state, scale):
    """As it is deployed; the skips of the blocks are in their kernels."""
    head = x = relu(state.conv("conv_first.conv_expand", IMAGE, C, 5))
    for k in range(2):
        x = relu(state.conv(f"residual_block.{k}.conv_expand", x, C))
    return pixel_shuffle(state.conv("conv_last.conv_expand", x + head, 3 * scale**2, 5) + repeated(state, scale), scale)


def xlsr(state, scale):
    x = state.conv("cnn.2", relu(state.conv("cnn.0", IMAGE, 32)), 32, 1)
    for k in (3, 4, 5):
        x = state.conv(f"cnn.{k}.net.2", relu(state.conv(f"cnn.{k}.net.0", x, 32, groups=4)), 32, 1)
    x = np.concatenate([x, state.conv("residual", IMAGE, 16)])
    return pixel_shuffle(state.conv("tail.2", relu(state.conv("tail.0", x, 32, 1)), 3 * scale**2), scale)


SIZES = {"channels": C, "blocks": 2}


@pytest.mark.parametrize(
    ("network", "publish", "scale", "sizes"),
    [
        ("quicksrnet", lambda state, scale: quicksrnet(state, scale, False), 3, {**SIZES, "anchor": False}),
        ("quicksrnet", lambda state, scale: quicksrnet(state, scale, True), 2, {**SIZES, "anchor": True}),
        ("sesr", sesr, 2, SIZES),
        ("sesr", collapsed, 3, SIZES),
        ("xlsr", xlsr, 4, {}),
    ],
    ids=["quicksrnet", "quicksrnet_anchor", "sesr", "sesr_collapsed", "xlsr"],
)
def test_the_function_of_a_checkpoint_is_kept(network, publish, scale, sizes):
    state = State()
    expected = publish(state, scale).transpose(1, 2, 0)
    (candidate,) = recognition.candidates(state)
    assert candidate.config == {"network": network, "scale": scale, **sizes}
    config = models.complete({**candidate.config, "output_activation": "linear"})
    model = models.build(config)
    assert keras_weights.convert(model, config, state) == []
    actual = keras.ops.convert_to_numpy(model(IMAGE.transpose(1, 2, 0)[None].astype(np.float32)))[0]
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(actual, expected, atol=2e-5 * np.ptp(expected))


def test_another_anchor_is_not_dropped():
    state = State()
    sesr(state, 2)
    state["anchor.net.bias"][3] = 0.1
    assert recognition.candidates(state) == []
    with pytest.raises(ValueError, match="anchor.net does not repeat the input"):
        aimet.sesr_state(state)
