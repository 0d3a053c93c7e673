"""Checkpoints of models/mobile: random weights in the published forms, against a forward pass in NumPy as published."""

import itertools

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.converters.pytorch import keras_weights, recognition
from mobile_sr.converters.pytorch.maps import mobile

IMAGE = np.random.default_rng(0).random((3, 7, 9))  # [C, H, W]
CHANNELS, BLOCKS = 8, 2


def state_of(**shapes):
    """Random weights: {"name": (outputs, inputs, side of the kernel)} gives name.weight and name.bias."""
    state, rng = {}, np.random.default_rng(1)
    for name, (outputs, inputs, side) in shapes.items():
        scale = 1.5 / (inputs * side**2) ** 0.5
        state[f"{name}.weight"] = rng.normal(0, scale, (outputs, inputs, side, side)).astype(np.float32)
        state[f"{name}.bias"] = rng.normal(0, 0.2, outputs).astype(np.float32)
    return state


def conv(state, name, x):
    """A convolution of [C, H, W] with zero padding."""
    kernel = state[f"{name}.weight"].astype(np.float64)
    side = kernel.shape[-1]
    padded = np.pad(x, ((0, 0), (side // 2, side // 2), (side // 2, side // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))
    return np.einsum("oiyx,ihwyx->ohw", kernel, windows) + state[f"{name}.bias"][:, None, None]


def relu(x):
    return np.maximum(x, 0)


def pixel_shuffle(x, scale):
    """PyTorch's PixelShuffle, written as loops: [C * s * s, H, W] -> [C, H * s, W * s]."""
    channels, height, width = x.shape[0] // scale**2, *x.shape[1:]
    result = np.zeros((channels, height * scale, width * scale))
    for c, i, j in itertools.product(range(channels), range(scale), range(scale)):
        result[c, i::scale, j::scale] = x[c * scale**2 + i * scale + j]
    return result


def two_streams(scale, residual=3):
    """(state, output) of ETDS as it is trained."""
    inner, outputs = CHANNELS - residual, 3 * scale**2
    state = state_of(
        conv_first=(inner, 3, 3),
        conv_residual_first=(residual, 3, 3),
        **{f"backbone_convs.{k}": (inner, inner, 3) for k in range(BLOCKS)},
        **{f"residual_convs.{k}": (residual, residual, 3) for k in range(BLOCKS)},
        **{f"add_residual_convs.{k}": (inner, residual, 3) for k in range(BLOCKS)},
        conv_last=(outputs, inner, 3),
        conv_residual_last=(outputs, residual, 3),
    )
    x, r = relu(conv(state, "conv_first", IMAGE)), relu(conv(state, "conv_residual_first", IMAGE))
    for k in range(BLOCKS):
        added = conv(state, f"add_residual_convs.{k}", r)
        x, r = relu(conv(state, f"backbone_convs.{k}", x) + added), relu(conv(state, f"residual_convs.{k}", r))
    return state, pixel_shuffle(conv(state, "conv_last", x) + conv(state, "conv_residual_last", r), scale)


def with_clip(scale):
    """(state, output) of ETDS as it is published: the output is clipped by two ReLUs, at x3 with an unused channel."""
    outputs = 28 if scale == 3 else 3 * scale**2
    layers = {f"backbone_convs.{k}": (CHANNELS, CHANNELS, 3) for k in range(BLOCKS)}
    state = state_of(conv_first=(CHANNELS, 3, 3), **layers, conv_last=(outputs, CHANNELS, 3))
    state["conv_clip.weight"] = -np.eye(outputs, dtype=np.float32)[:, :, None, None]
    state["conv_clip.bias"] = np.ones(outputs, np.float32)
    x = relu(conv(state, "conv_first", IMAGE))
    for k in range(BLOCKS):
        x = relu(conv(state, f"backbone_convs.{k}", x))
    y = relu(conv(state, "conv_clip", relu(conv(state, "conv_last", x))))
    return state, pixel_shuffle(y[: 3 * scale**2], scale)


def anchored(state, names, activation, scale):
    """The output of ABPN and ECBSR: a chain, and the input repeated for every HR pixel."""
    x = IMAGE
    for name in names[:-1]:
        x = activation(conv(state, name, x), name)
    return pixel_shuffle(conv(state, names[-1], x) + np.repeat(IMAGE, scale**2, axis=0), scale)


def abpn(scale):
    outputs, names = 3 * scale**2, ("backbone.0", "backbone.2.0", "backbone.3.0", "backbone.4", "backbone.6")
    shapes = ((CHANNELS, 3, 3), (CHANNELS, CHANNELS, 3), (CHANNELS, CHANNELS, 3), (outputs, CHANNELS, 3), (outputs, outputs, 3))
    state = state_of(**dict(zip(names, shapes, strict=True)))
    return state, anchored(state, names, lambda x, name: relu(x), scale)


def ecbsr(scale):
    """With slopes from -0.5 to 2.5, which models.layers.PReLU allows up to 1 only."""
    outputs, names = 3 * scale**2, tuple(f"backbone.{k}.0" for k in range(BLOCKS + 2))
    shapes = ((CHANNELS, 3, 3), *[(CHANNELS, CHANNELS, 3)] * BLOCKS, (outputs, CHANNELS, 3))
    state = state_of(**dict(zip(names, shapes, strict=True)))
    slopes = {f"backbone.{k}.0": np.linspace(-0.5, 2.5, CHANNELS, dtype=np.float32) for k in range(BLOCKS + 1)}
    state |= {f"{name.removesuffix('.0')}.1.weight": slope for name, slope in slopes.items()}
    return state, anchored(state, names, lambda x, name: np.where(x > 0, x, x * slopes[name][:, None, None]), scale)


def espcn(scale):
    """With a sigmoid at its end."""
    shapes = {"conv1": (64, 3, 5), "conv2": (32, 64, 3), "conv3": (3 * scale**2, 32, 3)}
    state = state_of(**shapes)
    x = np.tanh(conv(state, "conv2", np.tanh(conv(state, "conv1", IMAGE))))
    return state, pixel_shuffle(1 / (1 + np.exp(-conv(state, "conv3", x))), scale)


def conv_transpose(state, name, x, stride, padding):
    """PyTorch's ConvTranspose2d whose output has `stride` times as many rows and columns, as a sum over LR pixels."""
    kernel = state[f"{name}.weight"].astype(np.float64)  # [I, O, K, K]
    side, (_, height, width) = kernel.shape[-1], x.shape
    full = np.zeros((kernel.shape[1], height * stride + side + padding, width * stride + side + padding))
    for i, j in itertools.product(range(height), range(width)):
        full[:, i * stride : i * stride + side, j * stride : j * stride + side] += np.einsum("c,coyx->oyx", x[:, i, j], kernel)
    cut = full[:, padding : padding + height * stride, padding : padding + width * stride]
    return cut + state[f"{name}.bias"][:, None, None]


def fsrcnn(scale):
    """FSRCNN(8, 4, 2) with slopes above 1."""
    names = ("first_part.0", "mid_part.0", "mid_part.2", "mid_part.4", "mid_part.6")
    state = state_of(
        **dict(zip(names, ((8, 3, 5), (4, 8, 1), (4, 4, 3), (4, 4, 3), (8, 4, 1)), strict=True)), last_part=(8, 3, 9)
    )
    state["last_part.bias"] = state["last_part.bias"][:3]
    x = IMAGE
    for name in names:
        part, index = name.split(".")
        alpha = state[f"{part}.{int(index) + 1}.weight"] = np.linspace(0, 2, state[f"{name}.bias"].size, dtype=np.float32)
        x = conv(state, name, x)
        x = np.where(x > 0, x, x * alpha[:, None, None])
    return state, conv_transpose(state, "last_part", x, scale, 4)


def imported(network, scale, state, **sizes):
    """[H * s, W * s, 3]: the output of the Keras network with the weights of a state."""
    config = models.complete({"network": network, "scale": scale, "output_activation": "linear", **sizes})
    model = models.build(config)
    keras_weights.convert(model, config, state)
    return keras.ops.convert_to_numpy(model(IMAGE.transpose(1, 2, 0)[None].astype(np.float32)))[0]


@pytest.mark.parametrize(
    ("network", "publish", "scale", "sizes"),
    [
        ("etds", two_streams, 2, {"channels": CHANNELS, "blocks": BLOCKS}),
        ("etds", with_clip, 2, {"channels": CHANNELS, "blocks": BLOCKS}),
        ("etds", with_clip, 3, {"channels": CHANNELS, "blocks": BLOCKS}),
        ("abpn", abpn, 3, {"channels": CHANNELS, "blocks": 3}),
        ("ecbsr", ecbsr, 4, {"channels": CHANNELS, "blocks": BLOCKS}),
        ("espcn", espcn, 2, {"sigmoid": True}),
        ("fsrcnn", fsrcnn, 2, {"d": 8, "s": 4, "m": 2, "padding": 4}),
        ("fsrcnn", fsrcnn, 3, {"d": 8, "s": 4, "m": 2, "padding": 4}),
        ("fsrcnn", fsrcnn, 4, {"d": 8, "s": 4, "m": 2, "padding": 4}),
    ],
    ids=lambda value: value if isinstance(value, str | int) else getattr(value, "__name__", ""),
)
def test_the_function_of_a_checkpoint_is_kept(network, publish, scale, sizes):
    state, expected = publish(scale)
    found = [candidate.config for candidate in recognition.candidates(state)]
    assert {"network": network, "scale": scale, **sizes} in found
    assert len(found) == {"espcn": 2, "fsrcnn": 3}.get(network, 1)  # what no shape tells: the sigmoid, and the scale
    found = imported(network, scale, state, **sizes)
    if publish is with_clip:
        assert 0.1 < np.mean((found > 0) & (found < 1)) < 0.9  # both sides of the clip are tested
        found = np.clip(found, 0, 1)
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(found, expected.transpose(1, 2, 0), atol=1e-5 * np.ptp(expected))


def test_more_channels_may_carry_the_image():
    """The authors' `num_residual_feat`, three in all published networks."""
    state, expected = two_streams(2, residual=4)
    found = imported("etds", 2, state, channels=CHANNELS, blocks=BLOCKS)
    np.testing.assert_allclose(found, expected.transpose(1, 2, 0), atol=1e-5)


@pytest.mark.parametrize(
    ("publish", "change", "said"),
    [
        (two_streams, {"conv_residual_last.bias": None}, "conv_residual_last.bias is missing"),
        (two_streams, {"add_residual_convs.1.weight": np.zeros((4, 3, 3, 3))}, "two streams have shapes that do not fit"),
        (two_streams, {"conv_first.bias": np.zeros(5, int)}, "conv_first.bias is not an array of floating-point"),
        (two_streams, {"extra.weight": np.zeros(3)}, r"1 unknown \(extra.weight\)"),
        (with_clip, {"conv_clip.bias": np.full(12, 0.5)}, "conv_clip is not a clip to 0..1"),
        (with_clip, {"backbone_convs.0.bias": None}, r"1 missing \(backbone_convs.0.bias\)"),
    ],
)
def test_other_checkpoints_are_refused(publish, change, said):
    state, _ = publish(2)
    state = {key: value for key, value in (state | change).items() if value is not None}
    with pytest.raises(ValueError, match=said):
        imported("etds", 2, state, channels=CHANNELS, blocks=BLOCKS)


def test_slopes_of_at_most_one_are_kept():
    state, _ = ecbsr(2)
    state = {key: np.minimum(value, 1) if key.endswith(".1.weight") else value for key, value in state.items()}
    for key, value in mobile.ecbsr_state(state).items():
        np.testing.assert_array_equal(value, state[key])
