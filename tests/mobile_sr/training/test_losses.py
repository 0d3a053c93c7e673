"""Losses, teachers, mixed batches, and the recipe fields that select them."""

import math
import shutil

import numpy as np
import pytest

from mobile_sr.errors import UserError
from mobile_sr.files import sha256_file
from mobile_sr.imaging import metrics
from mobile_sr.imaging.resize import imresize
from mobile_sr.inference import weights
from mobile_sr.training import dataset, losses, recipes, train_loop
from tests.conftest import smoke_recipe


def random_images(seed=0, channels=3):
    return np.random.default_rng(seed).random((2, 8, 6, channels)).astype(np.float32)


def recipe_of(*settings):
    made = recipes.load("xlsr_x3")
    recipes.override(made, settings)
    return made


def test_charbonnier_equals_the_paper():
    y_true, y_pred = np.zeros((1, 2, 2, 3), np.float32), np.full((1, 2, 2, 3), 0.3, np.float32)
    wanted = math.sqrt(0.3**2 + 0.1**2)
    assert float(losses.charbonnier(0.1)(y_true, y_pred)) == pytest.approx(wanted, rel=1e-6)
    assert float(losses.make_loss(recipe_of())(y_true, y_pred)) == pytest.approx(wanted, rel=1e-6)


def test_squared_error_and_frequencies():
    a, b = random_images(1), random_images(2)
    spectrum = np.fft.fft2(b - a, axes=(1, 2), norm="ortho")
    wanted = np.abs(spectrum.real).mean() + np.abs(spectrum.imag).mean()
    assert float(losses.frequencies(a, b)) == pytest.approx(wanted, rel=1e-5)
    loss = losses.make_loss(recipe_of("loss=l2", "frequency_weight=0.1"))
    assert float(loss(a, b)) == pytest.approx(np.square(a - b).mean() + 0.1 * wanted, rel=1e-5)


def test_psnr_loss_is_the_mean_over_images():
    a, b = ((255 * random_images(seed)).astype(np.uint8) for seed in (1, 2))
    b[0] = 0.9 * a[0] + 0.1 * b[0]  # ten times closer than the other image
    wanted = np.mean([metrics.psnr(x, y, "rgb") for x, y in zip(a, b, strict=True)])
    a, b = (each.astype(np.float32) / 255 for each in (a, b))
    loss = losses.make_loss(recipe_of("loss=psnr", "psnr_eps=1e-6"))
    assert -10 / np.log(10) * float(loss(a, b)) == pytest.approx(wanted, rel=1e-5)
    assert float(losses.make_loss(recipe_of("loss=psnr"))(a, a)) == pytest.approx(np.log(0.01**2), rel=1e-5)


def test_luminance_loss_uses_the_y_of_the_metrics():
    a, b = ((255 * random_images(seed)).astype(np.uint8) for seed in (1, 2))
    y, rgb = (np.mean([metrics.psnr(*pair, space) for pair in zip(a, b, strict=True)]) for space in ("y", "rgb"))
    a, b = (each.astype(np.float32) / 255 for each in (a, b))
    loss = losses.make_loss(recipe_of("loss=psnr", "psnr_eps=1e-6", "luminance_weight=3"))
    assert -10 / np.log(10) * float(loss(a, b)) == pytest.approx(rgb + 3 * y, rel=1e-5)


def test_contrastive_loss_is_a_ratio_of_distances():
    contrast = losses.contrastive(3)
    image = (random_images(6)[:, :6] * 255).astype(np.uint8)
    true = image.astype(np.float32) / 255
    blurred = np.stack([imresize(imresize(each, 1 / 3), 3) for each in image]).astype(np.float32) / 255
    assert float(contrast(true, true)) == 0
    between, far = float(contrast(true, (true + blurred) / 2)), float(contrast(true, blurred))
    assert 0.8 < between < 1.25  # equally far from both, except for tanh
    assert far > 50  # only rounding to uint8 separates it from the blurred image
    loss = losses.make_loss(recipe_of("loss=l2", "contrastive_weight=0.5"))
    y = random_images(7)[:, :6]
    assert float(loss(true, y)) == pytest.approx(np.square(true - y).mean() + 0.5 * float(contrast(true, y)), rel=1e-5)
    flat = np.full_like(true, 0.5)
    assert np.isfinite(float(contrast(flat, flat)))


@pytest.mark.parametrize(("scale", "wanted"), [(2, 1.140413), (3, 1.219916)])
def test_golden_contrastive_features(scale, wanted):
    """Golden values fix the seed, number, sizes and variance of the random convolutions, and the tanh between them."""
    y, x, k = np.mgrid[0:6, 0:6, 0:3]
    true, other = (3 * y * y + 5 * x + 7 * k * y * x) % 11 / 10, (2 * y * y + 9 * x + 4 * k * y * x) % 13 / 12
    true, other = (image[None].astype(np.float32) for image in (true, other))
    assert float(losses.contrastive(scale)(true, other)) == pytest.approx(wanted, rel=1e-4)


def test_teacher_loss_is_added_to_the_pixel_loss():
    true, taught, y = random_images(1), random_images(2), random_images(3)
    loss = losses.make_loss(recipe_of("loss=l2", "teacher=any", "teacher_weight=0.5"))
    wanted = np.square(true - y).mean() + 0.5 * np.square(taught - y).mean()
    assert float(loss(np.concatenate([true, taught], axis=-1), y)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("kind", ["mixup", "cutmix", "colours"])
def test_lr_and_hr_are_mixed_alike(kind):
    lr = random_images(4).repeat(4, axis=0)[:, :6]
    lr += np.linspace(0, 1, len(lr), dtype=np.float32)[:, None, None, None]
    hr = lr.repeat(3, axis=1).repeat(3, axis=2)  # mixing commutes with nearest-neighbour upscaling
    small, large = dataset.mix_batch(lr, hr, kind, np.random.default_rng(5))
    np.testing.assert_array_equal(small.repeat(3, axis=1).repeat(3, axis=2), large)
    changed = [not np.array_equal(a, b) for a, b in zip(lr, small, strict=True)]
    assert 0 < sum(changed) < len(lr)
    assert lr.min() <= small.min() < small.max() <= lr.max()


def test_mixed_batches_depend_on_the_step_and_split_into_shares(image_folder, cache):
    images = dataset.TrainingImages(image_folder, 3, cache, smallest=8)
    how = {"batch": 6, "patch": 8, "brightness_factors": (1.0,), "seed": 1}
    plain = dataset.patch_batch(images, range(6), 3, **how)
    whole = dataset.patch_batch(images, range(6), 3, mixing="cutmix", **how)
    assert not np.array_equal(plain[0], whole[0])
    part = dataset.patch_batch(images, range(6), 3, mixing="cutmix", share=slice(2, 4), **how)
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(a[2:4], b)


def test_teacher_trains_and_is_checked(image_folder, model_file, tmp_path, cache):
    file = shutil.copy(model_file, tmp_path)
    recipe = smoke_recipe("espcn_x3", steps=2, validate_every=2, teacher=str(file))
    train_loop.train(recipe, image_folder, tmp_path / "run", cache=cache)
    assert weights.load_model(tmp_path / "run" / "best.npz")
    train_loop.train(recipe, image_folder, tmp_path / "run", resume=True, cache=cache)
    teacher, network = weights.load_model(file)
    weights.save_model(file, teacher, network, {"note": "trained on"})
    with pytest.raises(UserError, match=f"cannot resume: teacher_sha256 was .* and is {sha256_file(file)[:37]}"):
        train_loop.train(recipe, image_folder, tmp_path / "run", resume=True, cache=cache)
    for teacher, message in (("xlsr_x2", "its scale is 2"), ("nosuch", "nosuch")):
        recipe.teacher = teacher
        with pytest.raises(UserError, match=message):
            train_loop.train(recipe, image_folder, tmp_path / teacher, cache=cache)
        assert not (tmp_path / teacher).exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("patch", "KEY one of activation_bits, batch, branches"),
        ("network=x", "KEY one of"),
        ("patch=big", "patch must be a whole number of at least 1"),
        ("patch=0", "at least 1"),
        ("peak_learning_rate=-1", "peak_learning_rate must be a number of at least 0"),
        ("peak_learning_rate=nan", "peak_learning_rate must be a number of at least 0"),
        ("peak_learning_rate=inf", "peak_learning_rate must be a number of at least 0"),
        ("warmup_fraction=2", "warmup_fraction must be a number of at least 0 and at most 1"),
        ("ema_decay=1", "ema_decay must be a number of at least 0 and below 1"),
        ("charbonnier_eps=0", "charbonnier_eps must be a number above 0"),
        ("psnr_eps=0", "psnr_eps must be a number above 0"),
        ("brightness_factors=1,x", "comma-separated numbers"),
        ("downscale_factors=0.8,1", "downscale_factors must be comma-separated numbers above 0 and below 1"),
        ("brightness_factors=", "brightness_factors must be comma-separated numbers"),
        ("loss=l3", "one of charbonnier, l2"),
        ("seed=-1", "seed must be a whole number from 0 to 4294967295"),
        ("validation_crop=2", "validation_crop must be a whole number of at least 3"),
    ],
)
def test_invalid_settings(setting, message):
    with pytest.raises(UserError, match=f"--set {setting}: .*{message}"):
        recipe_of(setting)


def test_settings_of_all_types():
    made = recipe_of(
        "patch=48", "peak_learning_rate=1e-3", "brightness_factors=1,0.7", "mixing=mixup", "ema_decay=0", "warmup_fraction=1"
    )
    assert (made.patch, made.peak_learning_rate, made.brightness_factors, made.mixing) == (48, 1e-3, (1.0, 0.7), "mixup")
    assert (made.ema_decay, made.warmup_fraction) == (0.0, 1.0)
    assert recipe_of("downscale_factors=0.8,0.6").downscale_factors == (0.8, 0.6)
    assert recipe_of("downscale_factors=").downscale_factors == ()
