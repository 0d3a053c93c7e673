"""Training images from a function."""

import numpy as np
import pytest

from mobile_sr import extensions
from mobile_sr.errors import UserError
from mobile_sr.imaging import degradation
from mobile_sr.imaging.images import write_image
from mobile_sr.imaging.resize import downscale
from mobile_sr.training import sources, train_loop
from mobile_sr.training.recipes import Recipe
from tests.conftest import make_image


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
    for field, value in (("mixing", "mixup"), ("flat_share", 0.1), ("downscale_factors", (0.5,)), ("degrade", "noise=1")):
        with pytest.raises(UserError, match=f"--set {field}: not used with a data function; do it in test_sources.py:noise"):
            sources.open_source(recipe(**{field: value}), None, None)
    with pytest.raises(UserError, match="no images: give --data DIR, or a recipe with a data function"):
        sources.open_source(recipe(None), None, None)


DEGRADE = "blur=0..0.8,noise=1..5,jpeg=60..95"


def folder_source(folder, cache, **fields):
    changes = {"batch": 4, "patch": 8, "validation_images": 2, "validation_crop": 20, "degrade": DEGRADE, **fields}
    return sources.open_source(Recipe("r", {"network": "espcn", "scale": 2}, 4, **changes), folder, cache)


@pytest.mark.parametrize("fields", [{}, {"mixing": "cutmix"}, {"flat_share": 0.5}], ids=str)
def test_degraded_batches(image_folder, cache, fields):
    """They depend on the seed and the step, split into shares, and have the HR patches of clean ones."""
    source, plain = (folder_source(image_folder, cache, degrade=text, **fields) for text in (DEGRADE, ""))
    lr, hr = source.batch(5, slice(None))
    clean, same = plain.batch(5, slice(None))
    np.testing.assert_array_equal(hr, same)
    assert (np.abs(lr - clean).mean(axis=(1, 2, 3)) > 0.2 / 255).all()
    np.testing.assert_array_equal(source.batch(5, slice(None), clean=True)[0], clean)
    for share in (slice(0, 2), slice(2, 4)):
        np.testing.assert_array_equal(folder_source(image_folder, cache, **fields).batch(5, share)[0], lr[share])
    assert np.any(folder_source(image_folder, cache, seed=1, **fields).batch(5, slice(None))[0] != lr)
    assert len(np.unique(lr.reshape(4, -1), axis=0)) == 4


def test_degraded_validation_does_not_depend_on_the_seed(image_folder, cache):
    source, other, plain = (folder_source(image_folder, cache, **fields) for fields in ({}, {"seed": 1}, {"degrade": ""}))
    (lr, hr), (clean, same) = source.validation(), plain.validation()
    np.testing.assert_array_equal(hr, same)
    np.testing.assert_array_equal(other.validation()[0], lr)
    for k, amounts in enumerate(source.record["held_out_degradation"]):
        wanted, drawn = degradation.seeded(DEGRADE, 0).apply(clean[k], hr[k])
        np.testing.assert_array_equal(lr[k], wanted)
        assert amounts == drawn._asdict()
    assert "held_out_degradation" not in plain.record


def test_given_lr_images_are_not_used_with_a_blur(tmp_path, capsys):
    for k in range(3):
        hr = make_image(48, 60, seed=k)
        write_image(tmp_path / "in" / "HR" / f"{k}.png", hr)
        write_image(tmp_path / "in" / "LR" / "X2" / f"{k}.png", 255 - downscale(hr, 2))
    for degrade in ("noise=1", "blur=0.5"):
        source = folder_source(tmp_path / "in", tmp_path / "cache", degrade=degrade, validation_crop=20, validation_images=1)
        said = "the LR images of the folder are not used: --degrade blurs" in capsys.readouterr().err
        assert said == (degrade == "blur=0.5")
        lr, hr = source.batch(0, slice(None))
        box = hr.reshape(4, 8, 2, 8, 2, 3).mean(axis=(2, 4))
        assert (np.abs(box - lr).mean() < 0.1) == (degrade == "blur=0.5")


def test_a_teacher_sees_clean_images(image_folder, cache):
    """Its output, here its input, is the second half of the target."""

    def repeat(lr):
        return lr.repeat(2, axis=1).repeat(2, axis=2)

    recipe = Recipe("r", {"network": "espcn", "scale": 2}, 4, batch=4, patch=8, validation_crop=20, degrade=DEGRADE)
    source = sources.open_source(recipe, image_folder, cache)
    lr, target = train_loop._Batches(recipe, source, repeat, extensions.training(recipe))(2)
    clean, hr = source.batch(2, slice(None), clean=True)
    np.testing.assert_array_equal(target, np.concatenate([hr, repeat(clean)], axis=-1))
    np.testing.assert_array_equal(lr, source.batch(2, slice(None))[0])
    assert np.any(lr != clean)
