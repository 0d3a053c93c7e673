import math

import numpy as np
import pytest

from mobile_sr.imaging import images, layouts, pairs
from mobile_sr.imaging.metrics import psnr, rgb_to_y, ssim
from mobile_sr.inference import upscaler

# Bicubic rows of the literature (Y, shave = scale): e.g. Kim et al., CVPR 2016, and Lim et al., CVPRW 2017.
PUBLISHED = {
    ("Set5", 2): (33.66, 0.9299),
    ("Set5", 3): (30.39, 0.8682),
    ("Set5", 4): (28.42, 0.8104),
    ("Set14", 2): (30.24, 0.8688),
    ("Set14", 3): (27.55, 0.7742),
    ("Set14", 4): (26.00, 0.7027),
    ("B100", 2): (29.56, 0.8431),
    ("B100", 3): (27.21, 0.7385),
    ("B100", 4): (25.96, 0.6675),
}


@pytest.mark.parametrize(
    ("name", "scale"),
    [row if row[0] == "Set5" else pytest.param(*row, marks=pytest.mark.slow) for row in PUBLISHED],
)
def test_bicubic_gives_the_published_rows(data_dir, name, scale):
    bicubic = upscaler.load("bicubic", scale)
    scores = []
    for _, hr_file, lr_file in layouts.find_pairs(data_dir / name, scale):
        hr, lr = pairs.read_pair(hr_file, lr_file, scale)
        gray, sr = images.is_gray_file(hr_file), bicubic(lr)
        scores.append((psnr(sr, hr, "y", scale, gray), ssim(sr, hr, "y", scale, gray)))
    found = np.mean(scores, axis=0)
    assert abs(found[0] - PUBLISHED[name, scale][0]) <= 0.02
    assert abs(found[1] - PUBLISHED[name, scale][1]) <= 0.001


def test_psnr_of_a_known_error(photo):
    other = np.where(photo > 127, photo - 5, photo + 5).astype(np.uint8)
    assert psnr(photo, other, "rgb") == pytest.approx(20 * math.log10(255 / 5))
    assert psnr(photo, photo) == math.inf
    changed = photo.copy()
    changed[:3] ^= 255
    assert psnr(changed, photo, "rgb", shave=3) == math.inf
    assert psnr(changed, photo, "rgb", shave=2) < 40


def test_y_range_follows_bt601():
    ends = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], np.uint8)
    np.testing.assert_allclose(rgb_to_y(ends)[0], [16, 235, 16 + 65.481])


def test_gray_files_are_measured_on_their_own_channel():
    a = np.full((20, 20, 3), 100, np.uint8)
    b = np.full((20, 20, 3), 110, np.uint8)
    assert psnr(a, b, "y", gray=True) == pytest.approx(20 * math.log10(255 / 10))
    assert psnr(a, b, "y") == pytest.approx(20 * math.log10(255 / (10 * 219 / 255)))


def test_an_rgb_result_for_a_gray_file_is_converted_by_bt601():
    """Golden errors of one channel: 0.299, 0.587 and 0.114 of it, over the full range."""
    black = np.zeros((12, 12, 3), np.uint8)
    for channel, weight in enumerate((0.299, 0.587, 0.114)):
        other = black.copy()
        other[..., channel] = 100
        for space in ("y", "rgb"):
            assert psnr(other, black, space, gray=True) == pytest.approx(20 * math.log10(255 / (100 * weight)), abs=1e-9)
        level = 100 * weight
        assert ssim(other, black, gray=True) == pytest.approx(2.55**2 / (level**2 + 2.55**2), rel=1e-9)


def test_ssim_equals_scikit_image(photo):
    skimage = pytest.importorskip("skimage.metrics")
    noisy = np.clip(photo + np.random.default_rng(0).normal(0, 12, photo.shape), 0, 255).astype(np.uint8)
    full = skimage.structural_similarity(
        rgb_to_y(photo),
        rgb_to_y(noisy),
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )[1]
    assert ssim(photo, noisy) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-9)
    assert ssim(photo, photo) == pytest.approx(1.0)


def test_wrong_arguments(photo):
    with pytest.raises(ValueError, match="shape"):
        psnr(photo, photo[1:])
    with pytest.raises(ValueError, match="uint8"):
        psnr(photo.astype(float), photo)
    with pytest.raises(ValueError, match="space"):
        psnr(photo, photo, "yuv")
    with pytest.raises(ValueError, match="shave"):
        psnr(photo[:6], photo[:6], shave=3)
    with pytest.raises(ValueError, match="11"):
        ssim(photo[:10], photo[:10])
