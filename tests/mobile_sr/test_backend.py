"""The backend of Keras: TensorFlow's graphs compute what the layers compute."""

import keras
import numpy as np
import pytest

from mobile_sr import backend


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="about TensorFlow")
def test_a_convolution_a_sum_and_a_leaky_relu_in_a_graph():
    """With its default settings, TensorFlow 2.21 is off by 0.6 here on a CPU with oneDNN."""
    backend.choose_backend("tensorflow")
    keras.utils.set_random_seed(0)
    x = keras.Input((None, None, 8))
    y = keras.layers.Add()([keras.layers.Conv2D(8, 3, padding="same")(x), x])
    model = keras.Model(x, keras.layers.LeakyReLU(0.05)(y))
    values = np.random.default_rng(0).normal(size=(1, 12, 12, 8)).astype(np.float32)
    eager = keras.ops.convert_to_numpy(model(values))
    np.testing.assert_allclose(model.predict_on_batch(values), eager, atol=1e-5)
