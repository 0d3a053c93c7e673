"""The networks of the NTIRE 2022 efficient challenge: measures, shapes, receptive fields, blocks."""

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.imaging.resize import imresize
from mobile_sr.models.bicubic import BicubicUpscale
from mobile_sr.models.ntire2022 import blocks, mobilesr
from mobile_sr.models.ntire2022 import layers as challenge_layers
from tests.conftest import make_image

# Parameters, the script's FLOPs (G), activations (M), convolutions at 256x256, x4. The challenge's Table 1 lists these in fewer
# digits; it counts the linear layers of MobileSR and BSRN differently from its script.
MEASURES = {
    "imdn": (893_936, 58.532, 154.141, 43),
    "rfdn": (433_448, 27.103, 112.034, 64),
    "rlfn": (317_218, 19.695, 80.045, 39),
    "fmen": (341_066, 22.280, 72.090, 34),
    "efdn": (272_038, 16.860, 79.585, 59),
    "bsrn": (156_288, 2.022, 65.758, 43),
    "mobilesr": (175_883, 8.730, 160.432, 25),
    "arfdn": (241_548, 14.507, 151.356, 100),
    "imdn_plus": (275_844, 17.985, 92.799, 59),
    "pruned_rfdn": (289_888, 17.701, 91.718, 64),
}
TRUE_FLOPS = {"fmen": 22.309, "bsrn": 9.430, "mobilesr": 15.398}  # G, where the script's quirks matter
QUICK = ("fmen", "rlfn", "mobilesr")
_ESA = {"channels": 8, "attention": 2, "blocks": 1}
_DISTILLED = {**_ESA, "distilled": 4}
# Further networks of the challenge, of a few channels.
TEAMS = {
    **dict.fromkeys(("dilated_rfdn", "sfdn", "cl_rfdn", "bmdn", "msdn"), _DISTILLED),
    **dict.fromkeys(("faster_rfdn", "esan", "rfesr"), _ESA),
    "repafdn": {**_DISTILLED, "blocks": 2},
    "afdn": {"channels": 8, "distilled": 4, "blocks": 1},
    "fden": {**_DISTILLED, "expanded": 12},
    "m_rfdn": {**_DISTILLED, "upscaled": 6},
    "resdn": {**_DISTILLED, "blocks": 2},
    "efdn_nku": {"channels": 8, "attention": 2},
    "esa_rfdn": {**_ESA, "stages": 2},
    "rfdnext": {"channels": 8, "distilled": 4, "blocks": 1},
    "nasnet_bn": {"channels": 8, "cells": ("leaky", "inverted6", "relu")},
    "scet": {"channels": 16, "hidden": 6, "heads": 2, "blocks": 1},
    "mdgn": {"channels": 8, "blocks": 1},
    "prrn": {"channels": 8, "blocks": 1},
    "aaln": {**_ESA, "attention": 4},
    "lwfanet": {**_ESA, "attention": 4, "upscaled": 6},
    "depthwise_rfdn": _DISTILLED,
    "rlcsr": {**_DISTILLED, "squeezed": 4, "blocks": 2},
    "imdeception": {"core": 4},
    "mdan": {"channels": 6, "blocks": 1, "dilations": (1, 1, 2)},
    "nlffc": {"channels": 4, "blocks": 2},
    "vlesr": {"channels": 32, "blocks": 2, "units": 1},
    "restormer": {"channels": 8, "hidden": 6, "heads": 2, "blocks": 1},
    "nas_rfdn": _DISTILLED,
    "imdtn": {"channels": 16, "heads": 2, "window": 4, "hidden": 8, "blocks": 1},
    "hnct": {"channels": 8, "heads": 2, "window": 4, "hidden": 12, "attention": 2, "blocks": 1},
    "imdn_cca": {**_ESA, "attention": 4},
    "compact": {"channels": 8, "blocks": 1},
    "imdn_rtc": {"channels": 8, "blocks": 1},
    "span": {"channels": 8, "blocks": 2},
    "bicubic_plus_plus": {"channels": 8, "blocks": 1},
    "pan": {"channels": 8, "upscaled": 6, "blocks": 1},
}
MINI = {
    **{name: {"channels": 8, "distilled": 4, "attention": 2, "blocks": 1} for name in ("rfdn", "efdn", "bsrn", "arfdn")},
    "pruned_rfdn": {"channels": 8, "distilled": 4, "attention": 2, "blocks": 1},
    "rlfn": {"channels": 8, "middle": 6, "attention": 2, "blocks": 1},
    "fmen": {"channels": 8, "attention": 6, "blocks": 1},
    "imdn": {"channels": 8, "blocks": 1},
    "imdn_plus": {"channels": 12, "blocks": 1},
    "mobilesr": {"channels": 8, "heads": 2, "ratios": (2,)},
    **{name: {"channels": 8, "blocks": 1} for name in ("abpn", "etds", "ecbsr")},
    "srcnn": {"channels": 8},
    "vdsr": {"channels": 8, "blocks": 1},
}


@pytest.mark.parametrize("net", [net if net in QUICK else pytest.param(net, marks=pytest.mark.slow) for net in MEASURES])
def test_the_measures_of_the_challenge(net):
    actual = models.challenge_counts({"network": net, "scale": 4})
    parameters, flops, activations, convolutions = MEASURES[net]
    assert actual["parameters"] == parameters
    assert round(actual["script_flops"] / 1e9, 3) == flops
    assert round(actual["activations"] / 1e6, 3) == activations
    assert actual["convolutions"] == convolutions
    assert round(actual["flops"] / 1e9, 3) == TRUE_FLOPS.get(net, flops)


@pytest.mark.parametrize("net", [*MINI, *(pytest.param(net, marks=pytest.mark.slow) for net in TEAMS)])
def test_shapes_outputs_and_configuration(net):
    """Odd sizes, all scales, two images; the clipped output is the clip of the linear one; the configuration rebuilds it."""
    sizes = (MINI | TEAMS)[net]
    x = np.random.default_rng(0).random((2, 17, 23, 3)).astype(np.float32)
    for scale in (2, 4) if net == "scet" else (2, 3, 4):
        assert models.build({"network": net, "scale": scale, **sizes}).compute_output_shape(x.shape) == (
            *(2, 17 * scale, 23 * scale, 3),
        )
    config = {"network": net, "scale": 2, **sizes}
    linear, clipped = (models.build({**config, "output_activation": end}) for end in ("linear", "clipped_relu"))
    clipped.set_weights([w * 3 for w in linear.get_weights()])
    linear.set_weights(clipped.get_weights())
    expected, actual = (keras.ops.convert_to_numpy(model(x)) for model in (linear, clipped))
    assert actual.shape == (2, 34, 46, 3)
    assert expected.min() < 0 or expected.max() > 1
    np.testing.assert_allclose(actual, np.clip(expected, 0, 1), atol=1e-6)
    rebuilt = keras.Model.from_config(clipped.get_config())
    assert [w.shape for w in rebuilt.weights] == [w.shape for w in clipped.weights]
    with pytest.raises(ValueError, match="output_activation"):
        models.build({**config, "output_activation": "tanh"})


def test_resize_like_is_torchs_bilinear():
    """Half-pixel centers: from 2 to 4 samples at -1/4, 1/4, 3/4, 5/4, the ends repeated (align_corners=False)."""
    x = np.array([[0.0, 1.0]], np.float32).reshape(1, 1, 2, 1)
    y = blocks.ResizeLike()([x, np.zeros((1, 1, 4, 3), np.float32)])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(y).ravel(), [0, 0.25, 0.75, 1])


def test_edge_padding_does_not_change_maxima():
    """Equal to PyTorch's max-pooling, which pads with -inf."""
    x = np.random.default_rng(0).normal(-5, 1, (1, 16, 20, 2)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), axis=(1, 2))[:, ::7, ::7].max(axis=(-2, -1))
    actual = keras.layers.MaxPooling2D(7, 7)(blocks.EdgePad()(x))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(actual), windows)


def test_window_attention_is_attention_in_windows():
    layer = mobilesr.WindowAttention(heads=2, window=4)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 6, 9, 4)).astype(np.float32)
    layer.build(x.shape)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    actual = keras.ops.convert_to_numpy(layer(x))
    inward, outward, bias = layer.get_weights()
    padded = np.pad(x, ((0, 0), (0, 2), (0, 3), (0, 0)))
    pixels = padded[0, 4:, 4:8].reshape(-1, 4) @ inward  # a window with two rows of padding
    heads = []
    for h in range(2):
        q, k, v = (pixels[:, part * 4 + 2 * h :][:, :2] for part in range(3))
        weights = np.exp(q @ k.T / 2**0.5)
        heads.append(weights / weights.sum(axis=1, keepdims=True) @ v)
    expected = (np.concatenate(heads, axis=1) @ outward + bias).reshape(4, 4, 4)[:2]
    np.testing.assert_allclose(actual[0, 4:, 4:8], expected, atol=1e-4)


def test_selu_is_kerass():
    x = np.linspace(-6, 6, 97).astype(np.float32)
    ours = keras.ops.convert_to_numpy(challenge_layers.SELU()(x))
    np.testing.assert_allclose(ours, keras.ops.convert_to_numpy(keras.activations.selu(x)), atol=1e-6)


def test_imdn_rtc():
    """The parameters of the published class with its own sizes, and multiply-adds counted by hand for one pixel."""
    found = models.challenge_counts({"network": "imdn_rtc"}, 1, 1)
    block = 9 * (12 * 12 + 2 * 9 * 12 + 9 * 3) + 12 * 12
    assert found["parameters"] == 20_190
    assert found["multiply_adds"] == 9 * 3 * 12 + 5 * block + 12 * 12 + 9 * 12 * 12
    assert found["convolutions"] == 1 + 5 * 5 + 2


def test_bicubic_plus_plus():
    """The parameters of the published class at x3, and its multiply-adds for two by two pixels, counted by hand."""
    found = models.challenge_counts({"network": "bicubic_plus_plus"}, 2, 2)
    products = 9 * (3 * 32 + 2 * 32 * 32 + 32 * 108)
    assert found["parameters"] == found["multiply_adds"] == products == 50_400


def test_bicubic_plus_plus_pads_like_pytorch():
    """The first convolution is centered on pixels 0, 2, 4, ... of the image, with one row and column of zeros around it.

    PyTorch's padding=1 does that for even and for odd sides. Each output block is twice the scale, cut at an odd side.
    """
    config = {"network": "bicubic_plus_plus", "scale": 2, "channels": 1, "blocks": 0}
    model = models.build(config, output_activation="linear")
    taps = np.arange(1.0, 10.0).reshape(3, 3)
    head, tail = np.zeros((3, 3, 3, 1)), np.zeros((3, 3, 1, 48))
    head[:, :, 0, 0], tail[1, 1] = taps, 0.5  # the skip adds the features to themselves
    model.set_weights([head, tail])
    x = np.random.default_rng(0).random((1, 5, 4, 3)).astype(np.float32)
    padded = np.pad(x[0, :, :, 0], 1)
    features = [[np.sum(padded[y : y + 3, x : x + 3] * taps) for x in (0, 2)] for y in (0, 2, 4)]
    expected = np.repeat(np.repeat(features, 4, axis=0), 4, axis=1)[:10]
    actual = keras.ops.convert_to_numpy(model(x))[0]
    np.testing.assert_allclose(actual, expected[..., None].repeat(3, axis=2), rtol=1e-5)


def test_pan():
    """The parameters of the published class; without weights, bilinear upscaling. Its README prints 272K parameters at x4."""
    counts = [models.build({"network": "pan", "scale": scale}).count_params() for scale in (2, 3, 4)]
    assert counts == [261_403, 261_403, 272_419]
    model = models.build({"network": "pan", "scale": 2, **TEAMS["pan"]})
    model.set_weights([np.zeros(w.shape) for w in model.get_weights()])
    x = np.array([[0.0, 1.0]], np.float32).reshape(1, 1, 2, 1).repeat(3, axis=3)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(x))[0, :, :, 0], [[0, 0.25, 0.75, 1]] * 2)


def test_compact():
    """The parameters of Real-ESRGAN's files for x4 with 16 and 32 blocks; without weights, the nearest neighbour."""
    assert models.build({"network": "compact", "blocks": 32}).count_params() == 1_213_296
    model = models.build({"network": "compact"})
    assert model.count_params() == 621_424
    model.set_weights([np.zeros(w.shape) for w in model.get_weights()])
    x = np.random.default_rng(0).random((1, 4, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(x)), x.repeat(4, axis=1).repeat(4, axis=2))


def test_the_original_imdn():
    """Hui et al., Table 5: 694K, 703K and 715K parameters."""
    counts = [models.build({"network": "imdn_cca", "scale": scale}).count_params() for scale in (2, 3, 4)]
    assert [count // 1000 for count in counts] == [694, 703, 715]


def test_abpn():
    model = models.build({"network": "abpn", "scale": 3})
    assert model.count_params() == 42_539
    model.set_weights([np.zeros(w.shape) for w in model.get_weights()])
    x = np.random.default_rng(0).random((1, 4, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(x)), x.repeat(3, axis=1).repeat(3, axis=2))


def test_multiply_adds_of_strides_and_attention():
    """The estimate by number of pixels agrees with the count at a size, except for ESA's borders."""
    for net in ("rlfn", "mobilesr"):
        config = {"network": net, "scale": 4, **MINI[net]}
        estimate, exact = models.multiply_adds(models.build(config), 256**2), models.challenge_counts(config)["multiply_adds"]
        assert abs(estimate / exact - 1) < 2e-3


def test_bicubic_is_matlabs_before_rounding():
    """Within the rounding of imresize's two passes, borders included."""
    image = make_image(19, 24)
    for scale in (2, 3, 4):
        actual = keras.ops.convert_to_numpy(BicubicUpscale(scale)(image[None].astype(np.float32)))[0]
        assert np.abs(np.clip(actual, 0, 255) - imresize(image, scale)).max() < 1.3


@pytest.mark.parametrize(("net", "parameters", "per_pixel"), [("srcnn", 69_251, 69_152), ("vdsr", 668_227, 667_008)])
def test_networks_behind_bicubic(net, parameters, per_pixel):
    """Dong et al. and Kim et al. count 57K and 665K for luma; these have RGB inputs and outputs. Bicubic is not counted."""
    model = models.build({"network": net, "scale": 3})
    assert model.count_params() == parameters
    assert models.multiply_adds(model, 1) == 9 * per_pixel
    model.set_weights([np.zeros(w.shape) for w in model.get_weights()])
    x = np.random.default_rng(0).random((1, 9, 8, 3)).astype(np.float32)
    kept = BicubicUpscale(3)(x) if net == "vdsr" else 0
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(x)), np.clip(kept + np.zeros((1, 27, 24, 3)), 0, 1))
