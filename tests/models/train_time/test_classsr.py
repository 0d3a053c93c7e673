"""The joint model of ClassSR: what is weighted of its networks, and that no gradient reaches them at first."""

import keras
import numpy as np
import pytest
from keras import ops

from mobile_sr import models
from mobile_sr.models.train_time import classsr

NETS = [{"network": "espcn", "scale": 2}, {"network": "chainsr", "scale": 2, "channels": 4, "layers": 1}]


def test_the_output_is_the_weighted_sum():
    model = models.build({"network": "classsr", "scale": 2, "nets": NETS, "patch": 8, "combine": "sum"})
    assert len({v.path for v in model.variables}) == len(model.variables)
    classifier = model.get_layer("classifier")
    *others, kernel, bias = classifier.get_weights()
    classifier.set_weights([*others, kernel, bias + np.log([3, 1])])  # the kernel starts at 0: 3 to 1 everywhere
    lr = np.random.default_rng(0).random((1, 8, 16, 3), np.float32)
    sr, probabilities = model(lr)
    assert probabilities.shape == (1, 1, 2, 2)
    first, second = (model.get_layer(f"net{index}")(lr) for index in range(2))
    np.testing.assert_allclose(sr, 0.75 * ops.convert_to_numpy(first) + 0.25 * ops.convert_to_numpy(second), atol=1e-6)
    with pytest.raises(ValueError, match="two or more networks are needed, got 0"):
        models.build({"network": "classsr", "scale": 2})


def test_the_weighted_errors_are_added():
    model = models.build({"network": "classsr", "scale": 2, "nets": NETS, "patch": 8, "combine": "errors"})
    classifier = model.get_layer("classifier")
    *others, kernel, bias = classifier.get_weights()
    classifier.set_weights([*others, kernel, bias + np.log([3, 1])])
    rng = np.random.default_rng(0)
    lr, hr = rng.random((2, 8, 16, 3), np.float32), rng.random((2, 16, 32, 3), np.float32)
    outputs, _ = model(lr)
    assert outputs.shape == (2, 16, 32, 8)

    def absolute(true, predicted):
        return ops.mean(ops.abs(true - predicted))

    first, second = (float(absolute(hr, model.get_layer(f"net{index}")(lr))) for index in range(2))
    assert float(classsr.sum_of_errors(absolute)(hr, outputs)) == pytest.approx(0.75 * first + 0.25 * second, rel=1e-5)
    with pytest.raises(ValueError, match="combine must be one of sum, errors, got product"):
        models.build({"network": "classsr", "scale": 2, "nets": NETS, "combine": "product"})


def test_frozen_for_two_steps():
    dense = keras.layers.Dense(1)
    x = keras.Input((1,))
    model = keras.Model(x, classsr.Frozen(2)([dense(x)])[0])
    model.compile("sgd", "mse")
    weights = [dense.get_weights()[0].item()]
    for _ in range(3):
        model.train_on_batch(np.ones((1, 1)), np.full((1, 1), 9.0))
        weights.append(dense.get_weights()[0].item())
    assert weights[0] == weights[1] == weights[2] != weights[3]
