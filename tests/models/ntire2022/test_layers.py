"""Layers of the challenge's networks, compared with NumPy."""

import keras
import numpy as np
import pytest

from mobile_sr.models.ntire2022 import layers
from mobile_sr.models.ntire2022.attention import nlffc

X = np.random.default_rng(0).normal(size=(2, 6, 5, 8)).astype(np.float32)


@pytest.mark.parametrize("axes", [(1, 2), (3,)])
def test_the_fine_softmax_is_a_softmax(axes):
    powers = np.exp(X)
    actual = keras.ops.convert_to_numpy(layers.FineSoftmax(axes)(X))
    np.testing.assert_allclose(actual, powers / powers.sum(axis=axes, keepdims=True), rtol=1e-5)


def test_the_channel_shuffle_is_shufflenets():
    actual = keras.ops.convert_to_numpy(layers.ChannelShuffle(2)(X))
    np.testing.assert_array_equal(actual, X[..., [0, 4, 1, 5, 2, 6, 3, 7]])


@pytest.mark.parametrize("height", [6, 5])
def test_the_spectrum_is_that_of_the_columns(height):
    """Against the definition of the Fourier transform; odd heights come back as well."""
    x = X[:, :height]
    spectrum = nlffc.ColumnSpectrum()(x)
    rows = np.arange(height // 2 + 1)[:, None] * np.arange(height)
    expected = np.einsum("fh,nhwc->nfwc", np.exp(-2j * np.pi * rows / height), x) / height**0.5
    values = keras.ops.convert_to_numpy(spectrum)
    np.testing.assert_allclose(values[..., 0::2], expected.real, atol=1e-5)
    np.testing.assert_allclose(values[..., 1::2], expected.imag, atol=1e-5)
    back = nlffc.FromColumnSpectrum()([spectrum, x])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(back), x, atol=1e-5)
