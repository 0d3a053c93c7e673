"""The fit of last convolutions: it finds the weights that made the images, and leaves all other layers alone."""

import keras
import numpy as np

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
