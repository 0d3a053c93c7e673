"""Training images from a function."""

import numpy as np
import pytest

from mobile_sr.errors import UserError
from mobile_sr.training import sources
from mobile_sr.training.recipes import Recipe


def noise(step, batch, patch, rng):
    hr = rng.integers(0, 256, (batch, 2 * patch, 2 * patch, 3)).astype(np.uint8)
    return hr[:, ::2, ::2], hr / 255


def recipe(data=noise, **fields):
    r = Recipe("r", {"network": "espcn", "scale": 2}, 4, batch=4, patch=8, validation_images=3, validation_crop=10, **fields)
    r.hooks.data = data
    return r


def test_batches_depend_on_the_seed_and_the_step():
    source, again, other = (sources.open_source(recipe(seed=seed), None, None) for seed in (1, 1, 2))
    lr, hr = source.batch(5, slice(None))
    assert (lr.shape, hr.shape, lr.dtype, hr.dtype) == ((4, 8, 8, 3), (4, 16, 16, 3), np.float32, np.float32)
    np.testing.assert_array_equal(lr, hr[:, ::2, ::2])
    np.testing.assert_array_equal(again.batch(5, slice(2, 4))[1], hr[2:])
    assert np.any(source.batch(6, slice(None))[1] != hr)
    assert np.any(other.batch(5, slice(None))[1] != hr)


def test_validation_images():
    source = sources.open_source(recipe(), None, None)
    lr, hr = source.validation()
    assert (lr.shape, hr.shape, lr.dtype, hr.dtype) == ((3, 10, 10, 3), (3, 20, 20, 3), np.uint8, np.uint8)
    np.testing.assert_array_equal(lr, hr[:, ::2, ::2])
    expected = np.random.default_rng([0, 0, 4]).integers(0, 256, (3, 20, 20, 3))
    np.testing.assert_array_equal(hr, expected)
    assert source.record["function"] == "test_sources.py:noise"
    assert source.sha256 != sources.open_source(recipe(seed=1), None, None).sha256


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (lambda *a: None, r"step -1: returned a NoneType; expected \(lr, hr\)"),
        (lambda *a: (noise(*a)[0],) * 2, r"step -1: hr has the shape \(3, 10, 10, 3\); expected \(3, 20, 20, 3\)"),
        (lambda *a: [part * 300.0 for part in noise(*a)], r"lr has values from .* to \d+; expected 0\.\.1"),
        (lambda *a: [part * np.nan for part in noise(*a)], r"lr has values from nan to nan"),
        (lambda *a: [part.astype(int) for part in noise(*a)], r"lr has the type int64; expected uint8, or float in 0\.\.1"),
        (lambda step: None, r"TypeError: .* takes 1 positional argument but 4 were given"),
    ],
)
def test_refused_batches(data, said):
    with pytest.raises(UserError, match=said):
        sources.open_source(recipe(data), None, None)


def test_options_of_a_folder_are_refused():
    for field, value in (("mixing", "mixup"), ("flat_share", 0.1), ("downscale_factors", (0.5,))):
        with pytest.raises(UserError, match=f"--set {field}: not used with a data function; do it in test_sources.py:noise"):
            sources.open_source(recipe(**{field: value}), None, None)
    with pytest.raises(UserError, match="no images: give --data DIR, or a recipe with a data function"):
        sources.open_source(recipe(None), None, None)
