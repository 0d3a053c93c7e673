"""Rounded activations: their values and gradients, and the network's unchanged weights."""

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.errors import UserError
from mobile_sr.inference import weights
from mobile_sr.models.train_time import fake_quantization
from mobile_sr.training import recipes, train_loop
from tests.conftest import assert_same_arrays, smoke_recipe

IMAGE = np.random.default_rng(0).random((2, 16, 16, 3)).astype(np.float32)


def smoke(**changes):
    """FSRCNN's recipe shrunk to a few steps of a network with one of its four layers in the middle."""
    few = {"steps": 4, "validate_every": 2, "branches": "none", "activation_bits": 8, "flat_share": 0.5}
    recipe = smoke_recipe("fsrcnn_x2", **{**few, **changes})
    recipe.network |= {"d": 8, "s": 4, "m": 1}
    return recipe


@pytest.mark.parametrize("bits", [2, 8])
def test_values_are_multiples_of_the_step_and_include_zero(bits):
    x = np.random.default_rng(1).normal(size=(3, 5, 5, 4)).astype(np.float32)
    x[0, 0, 0, 0] = 0
    actual = keras.ops.convert_to_numpy(fake_quantization.rounded(x, bits))
    step = (x.max() - x.min()) / (2**bits - 1)
    np.testing.assert_allclose(actual / step, np.round(x / step), atol=1e-3)
    assert actual[0, 0, 0, 0] == 0
    assert 0.3 * step < np.abs(actual - x).max() <= 0.501 * step


def test_a_positive_tensor_has_its_range_from_zero():
    x = np.array([[0.5, 1.0, 1.02]], np.float32)
    np.testing.assert_allclose(fake_quantization.rounded(x, 2), [[0.34, 1.02, 1.02]], atol=1e-6)


def test_values_beyond_the_range_are_clipped():
    x = np.array([[-9.0, 0.1, 1.0, 9.0]], np.float32)
    actual = keras.ops.convert_to_numpy(fake_quantization.rounded(x, 8, end=2.0))
    assert np.abs(actual).max() <= 2.0 + 4 / 255
    np.testing.assert_allclose(actual[0, 1:3], [0.1, 1.0], atol=2 / 255 + 1e-6)


def test_gradients():
    """1 for the values; the rounding errors for the step, which the maximum determines."""
    tf = pytest.importorskip("tensorflow")
    x = tf.constant([[0.3, 0.6, 0.45, 0.9]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(fake_quantization.rounded(x, 2))
    # Step 0.3: the values are 1, 2, 1.5 and 3 steps; 1.5 is rounded to 2, and the step is a third of the largest.
    np.testing.assert_allclose(tape.gradient(y, x), [[1, 1, 1, 1 + 0.5 / 3]], atol=1e-4)


def reference(x, low, high):
    """TFLite's rounding to uint8 of the range low..high, in float64: (values, whether x is inside of the range)."""
    step = (high - low) / 255
    zero = np.round(-low / step)
    levels = np.round(x / step) + zero
    return (np.clip(levels, 0, 255) - zero) * step, (x >= -zero * step) & (x <= (255 - zero) * step), step


@pytest.mark.parametrize(("low", "high"), [(-0.7, 1.3), (0.0, 1.0), (-2.0, 0.0), (-1.0, 127 / 128)])
def test_values_in_a_range_equal_tflites(low, high):
    x = np.random.default_rng(2).normal(0, 1, 1000).astype(np.float32)
    actual = keras.ops.convert_to_numpy(fake_quantization.quantize_to_range(x, np.float32(low), np.float32(high)))
    expected, inside, step = reference(x.astype(float), low, high)
    ties = np.abs(x / step % 1 - 0.5) < 1e-3
    np.testing.assert_allclose(actual[~ties], expected[~ties], atol=1e-6)
    assert len(np.unique(np.round(actual / step))) <= 256
    assert 0 < inside.mean() < 1
    assert float(fake_quantization.quantize_to_range(np.zeros(1, np.float32), np.float32(low), np.float32(high))[0]) == 0


def test_gradients_of_a_range():
    """1 inside and 0 outside for the values; for the limits, the values beyond them and the rounding errors of those inside."""
    tf = pytest.importorskip("tensorflow")
    values = np.random.default_rng(3).normal(0, 1, 200).astype(np.float32)
    x, low, high = (tf.constant(v) for v in (values, np.float32(-0.8), np.float32(1.1)))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, low, high])
        y = tf.reduce_sum(fake_quantization.quantize_to_range(x, low, high))
    rounded, inside, step = reference(values.astype(float), np.float64(np.float32(-0.8)), np.float64(np.float32(1.1)))
    np.testing.assert_array_equal(tape.gradient(y, x), inside)
    error = np.sum((rounded - values)[inside]) / step / 255
    np.testing.assert_allclose(tape.gradient(y, low), np.sum(~inside & (values < 0)) - error, atol=1e-3)
    np.testing.assert_allclose(tape.gradient(y, high), np.sum(~inside & (values > 0)) + error, atol=1e-3)


@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 1), None])
def test_weights_are_rounded_per_output_channel(axes):
    w = np.random.default_rng(4).normal(size=(3, 3, 5, 4)).astype(np.float32)
    w[..., 0] *= 100
    steps = np.abs(w).max(axis=axes, keepdims=True) / 127
    actual = keras.ops.convert_to_numpy(fake_quantization.quantize_weights(w, axes))
    np.testing.assert_allclose(actual, np.round(w / steps) * steps, atol=1e-5)
    assert np.abs(np.round(actual / steps)).max() == 127


def test_gradient_of_weights_is_1():
    tf = pytest.importorskip("tensorflow")
    w = tf.constant(np.random.default_rng(5).normal(size=(3, 3, 2, 4)).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(w)
        y = tf.reduce_sum(fake_quantization.quantize_weights(w, (0, 1, 2)) * 3.0)
    np.testing.assert_array_equal(tape.gradient(y, w), np.full(w.shape, 3.0))


@pytest.mark.parametrize("network", ["espcn", "fsrcnn", "xlsr", "abpn", "fgnas"])
def test_the_network_stays_the_same(network):
    model = models.build({"network": network, "scale": 2})
    coarse, fine = (fake_quantization.quantized(model, bits) for bits in (8, 16))
    assert [v.path for v in coarse.variables] == [v.path for v in model.variables]
    for a, b in zip(coarse.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    expected = model(IMAGE)
    errors = [np.abs(keras.ops.convert_to_numpy(each(IMAGE) - expected)).max() for each in (coarse, fine)]
    assert errors[1] < 1e-3
    assert errors[0] > 5 * errors[1]


def test_which_tensors_are_rounded():
    """The argument of tanh and its result, a PReLU's product and sum, but not the output."""
    model = fake_quantization.quantized(models.build({"network": "espcn", "scale": 2, "activation": "tanh"}), 8)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds[1:8] == ["Conv2D", "FakeQuantize", "Activation", "FakeQuantize", "Conv2D", "FakeQuantize", "Activation"]
    assert kinds[-3:] == ["Conv2D", "ClippedReLU", "DepthToSpace"]
    model = fake_quantization.quantized(models.build({"network": "fsrcnn", "scale": 2}), 8)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds[1:5] == ["Conv2D", "FakeQuantize", "FakeQuantizedPReLU", "FakeQuantize"]
    assert kinds[-3:] == ["SubPixelConv2DTranspose", "ClippedReLU", "DepthToSpace"]


@pytest.mark.slow  # test_rounded_weights.py resumes in seconds, test_chainsr_recipe.py trains with rounded activations
def test_training_resumes_and_keeps_the_plain_network(image_folder, tmp_path, cache, train_interrupted):
    train_loop.train(smoke(), image_folder, tmp_path / "whole", cache=cache)
    train_interrupted(smoke(), tmp_path / "run", 3)
    for name in ("best.npz", "last.npz", "checkpoint.npz"):
        assert_same_arrays(tmp_path / "run" / name, tmp_path / "whole" / name)
    kept, network = weights.load_model(tmp_path / "whole" / "last.npz")
    assert network == smoke().network
    train_loop.train(smoke(activation_bits=0), image_folder, tmp_path / "plain", cache=cache)
    other = weights.load_model(tmp_path / "plain" / "last.npz")[0]
    assert any((a != b).any() for a, b in zip(kept.get_weights(), other.get_weights(), strict=True))


@pytest.mark.parametrize("value", ["1", "17", "-8", "8.5", "x"])
def test_bits_out_of_range(value):
    with pytest.raises(UserError, match="activation_bits must be a whole number from 2 to 16, or 0"):
        recipes.override(smoke(), [f"activation_bits={value}"])


def test_the_end_of_tanh_is_that_of_exported_files():
    from mobile_sr.converters.quantization import activation_ranges

    assert abs(fake_quantization._TANH_END + activation_ranges.TANH[0]) < 0.005
