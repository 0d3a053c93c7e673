"""FSRCNN and ESPCN, the networks that the XLSR paper quantizes for comparison."""

import keras
import numpy as np
import pytest

from mobile_sr import models


@pytest.mark.parametrize(
    ("network", "scale", "parameters"),
    [("fsrcnn", 2, 24_683), ("fsrcnn", 3, 24_683), ("fsrcnn", 4, 24_683), ("espcn", 2, 26_796), ("espcn", 3, 31_131)],
)
def test_parameters_and_shapes(network, scale, parameters):
    model = models.build({"network": network, "scale": scale})
    assert model.count_params() == parameters
    assert tuple(model(np.zeros((2, 5, 7, 3), np.float32)).shape) == (2, 5 * scale, 7 * scale, 3)


def test_multiply_adds_for_a_720p_output():
    # 5x5 3->56, 1x1 56->12, four 3x3 12->12, 1x1 12->56, 9x9 56->3 per LR pixel (Dong et al. 2016, Sec. 3.3).
    count = 75 * 56 + 56 * 12 + 4 * 9 * 144 + 12 * 56 + 81 * 56 * 3
    assert models.multiply_adds(models.build({"network": "fsrcnn", "scale": 3}), 1) == count


@pytest.mark.parametrize("network", ["fsrcnn", "espcn"])
def test_output_activation(network):
    clipped, linear = (models.build({"network": network}, output_activation=a) for a in ("clipped_relu", "linear"))
    rng = np.random.default_rng(0)
    weights = [rng.normal(0, 0.2, w.shape) for w in clipped.get_weights()]
    x = rng.random((1, 8, 8, 3)).astype(np.float32)
    for model in (clipped, linear):
        model.set_weights(weights)
    a, b = (keras.ops.convert_to_numpy(m(x)) for m in (clipped, linear))
    assert b.min() < 0
    assert b.max() > 1
    np.testing.assert_allclose(a, np.clip(b, 0, 1), atol=1e-6)
    with pytest.raises(ValueError, match="output_activation"):
        models.build({"network": network}, output_activation="tanh")


@pytest.mark.parametrize("network", ["fsrcnn", "espcn"])
def test_training_starts_inside_the_clip(network):
    keras.utils.set_random_seed(0)
    model = models.build({"network": network}, output_activation="linear")
    sr = keras.ops.convert_to_numpy(model(np.random.default_rng(0).random((1, 16, 16, 3), np.float32)))
    assert ((sr > 0) & (sr < 1)).mean() > 0.7  # 0.5 with a bias of 0: below the clip there is no slope


def test_espcn_starts_where_tanh_bends():
    keras.utils.set_random_seed(0)
    model = models.build({"network": "espcn"})
    x = np.random.default_rng(0).random((1, 16, 16, 3), np.float32)
    for name in ("feature", "map"):
        values = keras.ops.convert_to_numpy(keras.Model(model.input, model.get_layer(name).output)(x))
        assert values.std() > 0.3  # 0.2 and less with Glorot's kernels, 0.03 to 0.1 after 30,000 steps from there


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_espcn_activation(activation):
    model = models.build({"network": "espcn"}, activation=activation)
    assert model.get_layer("feature").activation.__name__ == activation
    with pytest.raises(ValueError, match="activation"):
        models.build({"network": "espcn"}, activation="gelu")
