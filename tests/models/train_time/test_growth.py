"""Growth of ChainSR: the larger network starts with the outputs of the smaller one, and uses its new weights in training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mobile_sr import models
from mobile_sr.models.train_time import growth


def _config(**arguments):
    return models.complete({"network": "chainsr", **arguments})


def _random(config):
    """A network whose outputs are inside of the clip and depend on every layer."""
    keras.utils.set_random_seed(3)
    model = models.build(config)
    rng = np.random.default_rng(3)
    for variable in model.variables:
        variable.assign(variable + rng.normal(0, 0.02, variable.shape))
    return model


SMALL = {"channels": 4, "layers": 2}


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (SMALL, {"channels": 4, "layers": 5}),
        (SMALL, {"channels": 6, "layers": 2}),
        (SMALL, {"channels": 7, "layers": 3}),
        ({"channels": 4, "layers": 2, "widths": [2, 4]}, {"channels": 4, "layers": 4, "widths": [5, 3, 4, 4]}),
    ],
    ids=["deeper", "wider", "both", "widths"],
)
def test_the_grown_network_has_the_same_outputs_and_learns_with_its_new_weights(small, large):
    small, large = _config(**small), _config(**large)
    start, model = _random(small), models.build(large)
    assert growth.applies(small, large)

    paths = growth.grow(start, small, model, large)

    assert paths == {variable.path for variable in model.variables}
    lr = np.random.default_rng(0).random((1, 9, 8, 3)).astype(np.float32)
    before = start(lr)
    assert np.std(before - keras.ops.image.resize(lr, (27, 24))) > 0.1
    np.testing.assert_allclose(model(lr), before, atol=1e-6)
    for _ in range(3):  # a zero weight passes no gradient to what is in front of it in the first step
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(lr) - lr.mean()) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            variable.assign_sub(0.01 * gradient)
    used = np.abs(gradients[0].numpy()).reshape(-1, large["channels"]).max(axis=0)
    assert (used > 0).mean() > 0.5, "channels of the first convolution that learn"


def test_at_another_scale_the_last_convolution_keeps_its_initial_weights():
    small, large = _config(**SMALL, scale=3), _config(channels=4, layers=3, scale=2)
    start, model = _random(small), models.build(large)
    tail = model.get_layer("tail").get_weights()[0]
    paths = growth.grow(start, small, model, large)
    assert paths == {v.path for v in model.variables if not v.path.startswith("tail")}
    np.testing.assert_array_equal(model.get_layer("tail").get_weights()[0], tail)


@pytest.mark.parametrize(
    "large",
    [
        SMALL,
        {"channels": 4, "layers": 1},
        {"channels": 3, "layers": 4},
        {"channels": 4, "layers": 4, "exits": [2]},
        {"channels": 4, "layers": 3, "widths": [4, 3, 4]},
        {"channels": 4, "layers": 3, "output_activation": "linear"},
        {"network": "xlsr"},
    ],
    ids=["equal", "fewer_layers", "fewer_channels", "exits", "a_narrow_layer", "another_output", "another_network"],
)
def test_applies_rejects_what_cannot_keep_the_outputs(large):
    large = {"network": "chainsr", **large}
    assert not growth.applies(_config(**SMALL), models.complete(large))
