"""Maps of SPAN, whose branches are merged exactly, and of Bicubic++ and PAN, against a forward pass in NumPy as published."""

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.converters.pytorch import keras_weights, recognition
from mobile_sr.converters.pytorch.maps import compact
from tests.converters.pytorch.maps.test_classic import C, State
from tests.converters.pytorch.maps.test_mobile import IMAGE, pixel_shuffle


def test_the_branches_of_span_are_one_convolution():
    """A 1x1 plus 1x1, 3x3 and 1x1 with biases, run in PyTorch's order: the chain pads its input with zeros first."""
    rng = np.random.default_rng(0)
    sizes = {"sk": (4, 3, 1), "conv.0": (6, 3, 1), "conv.1": (8, 6, 3), "conv.2": (4, 8, 1)}
    state = {}
    for name, (outputs, inputs, side) in sizes.items():
        state[f"conv_2.{name}.weight"] = rng.normal(size=(outputs, inputs, side, side))
        state[f"conv_2.{name}.bias"] = rng.normal(size=outputs)
    x = rng.normal(size=(1, 5, 6, 3))

    def run(image, prefix, padding="valid"):
        kernel = state[f"{prefix}.weight"].transpose(2, 3, 1, 0)
        y = keras.ops.conv(image, kernel.astype(np.float32), padding=padding, data_format="channels_last")
        return keras.ops.convert_to_numpy(y) + state[f"{prefix}.bias"].astype(np.float32)

    y = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).astype(np.float32)
    for index in range(3):
        y = run(y, f"conv_2.conv.{index}")
    expected = y + run(x.astype(np.float32), "conv_2.sk")
    stale = {"conv_2.eval_conv.weight": np.zeros((4, 3, 3, 3)), "conv_2.eval_conv.bias": np.zeros(4)}
    first = {"conv_1.eval_conv.weight": np.ones((1, 1, 3, 3)), "conv_1.eval_conv.bias": np.zeros(1)}
    merged = compact.ARCHITECTURES["span"].prepare({**state, **stale, **first})
    assert sorted(merged) == ["conv_1.bias", "conv_1.weight", "conv_2.bias", "conv_2.weight", "mean.bias"]
    assert np.all(merged["conv_1.weight"] == 255)
    state |= {f"merged.{end}": merged[f"conv_2.{end}"] for end in ("weight", "bias")}
    np.testing.assert_allclose(run(x.astype(np.float32), "merged", "same"), expected, atol=2e-5)


def leaky(x, slope):
    return np.where(x > 0, x, slope * x)


def bicubic_plus_plus(state, scale):
    """The authors' code, cut to the size of the image: its sides are odd."""
    head = x = leaky(state.conv("conv0", IMAGE, C, bias=False)[:, ::2, ::2], 0.1)
    for k in (1, 2):
        x = leaky(state.conv(f"conv{k}", x, C, bias=False), 0.1)
    sr = pixel_shuffle(state.conv("conv_out", x + head, 3 * (2 * scale) ** 2, bias=False), 2 * scale)
    return sr[:, : IMAGE.shape[1] * scale, : IMAGE.shape[2] * scale]


def repeated(x, factor):
    return x.repeat(factor, axis=1).repeat(factor, axis=2)


def bilinear(x, scale):
    """PyTorch's interpolate(mode="bilinear", align_corners=False) of [C, H, W]."""
    for axis in (1, 2):
        places = np.clip((np.arange(x.shape[axis] * scale) + 0.5) / scale - 0.5, 0, x.shape[axis] - 1)
        low = np.floor(places).astype(int)
        share = (places - low)[:, None] if axis == 1 else places - low
        high = np.minimum(low + 1, x.shape[axis] - 1)
        x = (1 - share) * x.take(low, axis) + share * x.take(high, axis)
    return x


def pan(state, scale):
    """The authors' code with two blocks."""

    def masked(x, gate):
        return x / (1 + np.exp(-gate))

    head = x = state.conv("conv_first", IMAGE, C)
    for k in range(2):
        name = f"SCPA_trunk.{k}"
        a, b = (leaky(state.conv(f"{name}.conv1_{part}", x, C // 2, 1, bias=False), 0.2) for part in "ab")
        a = state.conv(f"{name}.k1.0", a, C // 2, bias=False)
        gate = state.conv(f"{name}.PAConv.k2", b, C // 2, 1)
        b = masked(state.conv(f"{name}.PAConv.k3", b, C // 2, bias=False), gate)
        b = state.conv(f"{name}.PAConv.k4", b, C // 2, bias=False)
        x = x + state.conv(f"{name}.conv3", leaky(np.concatenate([a, b]), 0.2), C, 1, bias=False)
    x = head + state.conv("trunk_conv", x, C)
    for step, factor in enumerate((2, 2) if scale == 4 else (scale,), 1):
        x = state.conv(f"upconv{step}", repeated(x, factor), 6)
        x = leaky(masked(x, state.conv(f"att{step}.conv", x, 6, 1)), 0.2)
        x = leaky(state.conv(f"HRconv{step}", x, 6), 0.2)
    return state.conv("conv_last", x, 3) + bilinear(IMAGE, scale)


BICUBIC, PAN = {"channels": C, "blocks": 2}, {"channels": C, "upscaled": 6, "blocks": 2}


@pytest.mark.parametrize(
    ("publish", "scale", "scales", "sizes"),
    [
        (bicubic_plus_plus, 2, [2], BICUBIC),
        (bicubic_plus_plus, 3, [3], BICUBIC),
        (pan, 2, [2, 3], PAN),
        (pan, 3, [2, 3], PAN),
        (pan, 4, [4], PAN),
    ],
)
def test_the_function_of_a_checkpoint_is_kept(publish, scale, scales, sizes):
    """Only PAN leaves the scale open, between x2 and x3."""
    state = State()
    expected = publish(state, scale).transpose(1, 2, 0)
    network = publish.__name__
    found = [candidate.config for candidate in recognition.candidates(state)]
    assert found == [{"network": network, "scale": each, **sizes} for each in scales]
    config = models.complete({"network": network, "scale": scale, **sizes, "output_activation": "linear"})
    model = models.build(config)
    assert keras_weights.convert(model, config, state) == []
    actual = keras.ops.convert_to_numpy(model(IMAGE.transpose(1, 2, 0)[None].astype(np.float32)))[0]
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(actual, expected, atol=2e-5 * np.ptp(expected))
