"""Quantization of a float .tflite to every precision."""

import numpy as np

from mobile_sr.converters.quantization import quantizer


def test_equal_biases_are_broken():
    equal = np.full(4, 0.5, np.float32)
    result = quantizer.break_equal_bias(equal)
    assert result[0] != 0.5
    np.testing.assert_allclose(result, equal, rtol=1e-7)
    for kept in (np.zeros(4, np.float32), np.full(1, 0.5, np.float32), np.array([0.5, 0.6]), np.ones((1, 1, 2, 2))):
        np.testing.assert_array_equal(quantizer.break_equal_bias(kept), kept)
