"""The fit of last convolutions: it finds the weights that made the images, and leaves all other layers alone."""

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.models.train_time import output_fit


def test_the_fit_finds_the_last_convolutions_of_every_exit_that_made_the_images():
    network = {"network": "chainsr", "scale": 2, "channels": 4, "layers": 2, "exits": [1], "output_activation": "clipped_relu"}
    keras.utils.set_random_seed(1)
    model = models.build(network)
    rng = np.random.default_rng(1)
    kernel, bias = rng.normal(0, 0.02, (3, 3, 4, 12)), rng.uniform(0.4, 0.6, 12)
    lr = rng.random((4, 12, 12, 3), np.float32)
    model.get_layer("tail").set_weights([kernel, bias])
    hr = np.asarray(model.predict_on_batch(lr)[0])
    model.get_layer("tail").set_weights([np.zeros_like(kernel), np.zeros_like(bias)])
    first = model.get_layer("conv1").get_weights()
    loaded = {variable.path for variable in model.variables if "tail" not in variable.path}

    tails = {f"{name}/{array}" for name in ("tail", "tail_1") for array in ("kernel", "bias")}
    assert output_fit.fit(model, loaded, lambda: [(lr[:2], hr[:2]), (lr[2:], hr[2:])]) == tails
    found = model.get_layer("tail").get_weights()
    np.testing.assert_allclose(found[0], kernel, atol=1e-3)
    np.testing.assert_allclose(found[1], bias, atol=1e-3)
    np.testing.assert_array_equal(model.get_layer("conv1").get_weights()[0], first[0])
    for given in (loaded | tails, loaded - {"head/kernel"}):  # nothing is missing, or the features are not trained
        assert output_fit.fit(model, given, lambda: [(lr, hr)]) == set()


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("depth", ["none", "input"])
def test_an_upsampler_of_several_layers_passes_the_fitted_image_on(scale, depth):
    """EDSR's last convolution was loaded, as from another scale. The fit is that of one convolution to all pixels."""
    keras.utils.set_random_seed(1)
    network = {"network": "edsr", "scale": scale, "blocks": 1, "channels": 12, "depth": depth, "output_activation": "linear"}
    model = models.build(network)
    rng = np.random.default_rng(1)
    lr = rng.random((4, 12, 12, 3), np.float32)
    inputs, further = ([lr, np.ones((4, 1), np.float32)], [1.0]) if depth == "input" else (lr, [])
    features = np.asarray(keras.Model(model.inputs, model.get_layer("up1").input).predict_on_batch(inputs))
    kernel = rng.normal(0, 0.1, (3, 3, 12, 3 * scale**2)).astype(np.float32)
    hr = np.asarray(keras.ops.depth_to_space(keras.ops.conv(features, kernel, padding="same"), scale)) + np.float32(0.5)
    new = {name for name in ("up1", "up2") if name in {layer.name for layer in model.layers}}
    loaded = {variable.path for variable in model.variables if variable.path.split("/")[0] not in new}

    fitted = output_fit.fit(model, loaded, lambda: [(lr, hr)], further)
    assert fitted == {f"{name}/{array}" for name in (*new, "tail") for array in ("kernel", "bias")}
    result = model.predict_on_batch(inputs)
    np.testing.assert_allclose(result[0] if depth == "input" else result, hr, atol=2e-3)


def test_an_upsampler_of_too_few_channels_stays_as_it_is():
    model = models.build({"network": "edsr", "scale": 4, "blocks": 1, "channels": 8})
    loaded = {variable.path for variable in model.variables if not variable.path.startswith("up")}
    assert output_fit.fit(model, loaded, list) == set()
