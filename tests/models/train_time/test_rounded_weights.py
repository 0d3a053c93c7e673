"""Rounded weights in training: their values and gradients, and the network's unchanged variables."""

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.errors import UserError
from mobile_sr.imaging.metrics import psnr
from mobile_sr.inference import upscaler, weights
from mobile_sr.models.train_time import fake_quantization, rounded_weights
from mobile_sr.training import recipes, run_folder, train_loop
from tests.conftest import assert_same_arrays, smoke_recipe

IMAGE = np.random.default_rng(0).random((1, 12, 12, 3)).astype(np.float32)


def output(model):
    return keras.ops.convert_to_numpy(model(IMAGE))


@pytest.mark.parametrize("network", ["espcn", "xlsr", "abpn"])
def test_the_output_is_that_of_rounded_weights(network):
    """Rounding the kernels of the plain network by hand gives the same output."""
    keras.utils.set_random_seed(0)
    model = models.build({"network": network, "scale": 2})
    rounded = rounded_weights.with_rounded_weights(model)
    assert [v.path for v in rounded.variables] == [v.path for v in model.variables]
    for a, b in zip(rounded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    before = output(model)
    model.set_weights(
        [
            keras.ops.convert_to_numpy(fake_quantization.quantize_weights(w, (0, 1, 2))) if w.ndim == 4 else w
            for w in model.get_weights()
        ]
    )
    np.testing.assert_allclose(output(rounded), output(model), atol=1e-6)
    assert np.abs(output(rounded) - before).max() > 1e-5


def test_a_transposed_convolution_and_rounded_activations():
    model = models.build({"network": "fsrcnn", "scale": 2, "d": 8, "s": 4, "m": 1})
    rounded = rounded_weights.with_rounded_weights(model)
    both = fake_quantization.quantized(rounded, 16)
    assert 1e-6 < np.abs(output(rounded) - output(model)).max() < 0.05
    np.testing.assert_allclose(output(both), output(rounded), atol=1e-3)
    assert np.abs(output(both) - output(model)).max() > 1e-6


def test_gradients_pass_the_rounding():
    tf = pytest.importorskip("tensorflow")
    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1, name="only")(inputs))
    rounded = rounded_weights.with_rounded_weights(model)
    x = tf.constant(np.random.default_rng(1).random((1, 4, 4, 2)), tf.float32)
    gradients = []
    for network in (model, rounded):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(x))
        gradients.append(tape.gradient(loss, network.trainable_variables[0].value))
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-5)


def test_a_network_without_kernels_is_refused():
    inputs = keras.Input((4, 4, 2))
    with pytest.raises(ValueError, match="no kernels"):
        rounded_weights.with_rounded_weights(keras.Model(inputs, keras.layers.ReLU()(inputs)))


def smoke(**changes):
    few = {"steps": 4, "validate_every": 2, "branches": "none", "weight_bits": 8}
    return smoke_recipe("espcn_x2", **{**few, **changes})


@pytest.mark.slow
def test_training_resumes_and_keeps_the_plain_network(image_folder, tmp_path, cache, train_interrupted):
    train_loop.train(smoke(), image_folder, tmp_path / "whole", cache=cache)
    train_interrupted(smoke(), tmp_path / "run", 3)
    for name in ("best.npz", "last.npz", "checkpoint.npz"):
        assert_same_arrays(tmp_path / "run" / name, tmp_path / "whole" / name)
    kept, network = weights.load_model(tmp_path / "whole" / "last.npz")
    assert network == smoke().network
    with pytest.raises(UserError, match="recipe.weight_bits was 8 and is 0"):
        train_loop.train(smoke(weight_bits=0), image_folder, tmp_path / "run", cache=cache, resume=True)


def test_scores_are_those_of_rounded_weights(tmp_path):
    rng = np.random.default_rng(2)
    lr, hr = (rng.integers(0, 256, (2, side, side, 3), np.uint8) for side in (12, 24))
    keras.utils.set_random_seed(0)
    model = models.build(smoke().network)
    run = run_folder.TrainingRun(tmp_path, smoke(), model, (lr, hr))
    run._score()
    model.set_weights(
        [
            keras.ops.convert_to_numpy(fake_quantization.quantize_weights(w, (0, 1, 2))) if w.ndim == 4 else w
            for w in model.get_weights()
        ]
    )
    sr = [upscaler.to_uint8(upscaler.keras_runner(model)(image)) for image in lr]
    expected = np.mean([psnr(image, truth, "rgb", 2) for image, truth in zip(sr, hr, strict=True)])
    assert run._psnr[0] == pytest.approx(expected, abs=1e-3)


def test_branches_are_refused(image_folder, cache, tmp_path):
    with pytest.raises(UserError, match="weight_bits 8: the kernels of branches cannot be rounded; use --set branches=none"):
        train_loop.train(smoke(branches="ecb"), image_folder, tmp_path / "run", cache=cache)


def test_other_numbers_of_bits_are_refused():
    with pytest.raises(UserError, match="weight_bits must be a whole number 0 or 8"):
        recipes.override(smoke_recipe("espcn_x2"), ["weight_bits=7"])
