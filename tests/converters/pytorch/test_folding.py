"""Folding of weight and batch normalization, against the unfolded form computed in NumPy."""

import numpy as np

from mobile_sr.converters.pytorch import folding

RNG = np.random.default_rng(0)


def norm(channels):
    """Arrays of a batch normalization, and the function that it computes on [pixels, channels]."""
    weight, bias, mean = RNG.normal(size=(3, channels))
    variance = RNG.random(channels) + 0.1
    arrays = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": variance, "num_batches_tracked": np.int64(3)}
    return arrays, lambda x: (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def test_batch_norm_after_a_convolution_without_a_bias():
    arrays, apply = norm(4)
    weight, x = RNG.normal(size=(4, 3, 1, 1)), RNG.normal(size=(5, 3))
    state = {"c.weight": weight, **{f"n.{key}": value for key, value in arrays.items()}}
    folded = folding.batch_norm_after(state, "c", "n")
    assert sorted(folded) == ["c.bias", "c.weight"]
    expected = apply(x @ weight[:, :, 0, 0].T)
    np.testing.assert_allclose(x @ folded["c.weight"][:, :, 0, 0].T + folded["c.bias"], expected, atol=1e-12)


def test_batch_norm_before_a_convolution():
    arrays, apply = norm(3)
    weight, bias, x = RNG.normal(size=(4, 3, 1, 1)), RNG.normal(size=4), RNG.normal(size=(5, 3))
    state = {"c.weight": weight, "c.bias": bias, **{f"n.{key}": value for key, value in arrays.items()}}
    folded = folding.batch_norm_before(state, "n", "c")
    assert sorted(folded) == ["c.bias", "c.weight"]
    expected = apply(x) @ weight[:, :, 0, 0].T + bias
    np.testing.assert_allclose(x @ folded["c.weight"][:, :, 0, 0].T + folded["c.bias"], expected, atol=1e-12)


def test_weight_norm_of_both_kinds_of_names():
    """The length of each output channel's kernel becomes g."""
    g, v = np.array([2.0, -3.0]).reshape(2, 1, 1, 1), RNG.normal(size=(2, 3, 3, 3))
    for length, direction in (
        ("weight_g", "weight_v"),
        ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    ):
        folded = folding.weight_norm({f"a.{length}": g, f"a.{direction}": v, "a.bias": np.zeros(2)})
        assert sorted(folded) == ["a.bias", "a.weight"]
        np.testing.assert_allclose(np.sqrt((folded["a.weight"] ** 2).sum(axis=(1, 2, 3))), [2, 3])
        assert folded["a.weight"][1, 0, 0, 0] * v[1, 0, 0, 0] < 0
