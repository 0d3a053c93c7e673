import hashlib
import math

import numpy as np
import pytest

from mobile_sr.imaging.resize import axis_matrix, blurred_downscale, downscale, imresize, modcrop


def plain_imresize(image, scale):
    """imresize pixel by pixel, from MATLAB's documentation: slow, simple and independent of the implementation under test."""

    def cubic(x):
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0

    def line(values, out_length):
        stretch = max(1.0, 1.0 / scale)
        result = []
        for out in range(out_length):
            center = (out + 0.5) / scale - 0.5
            first, last = math.floor(center - 2 * stretch), math.ceil(center + 2 * stretch)
            weights = [cubic((center - k) / stretch) for k in range(first, last + 1)]
            pixels = [float(values[min(max(k, 0), len(values) - 1)]) for k in range(first, last + 1)]
            value = math.fsum(w * p for w, p in zip(weights, pixels, strict=True)) / math.fsum(weights)
            result.append(min(255, max(0, math.floor(value + 0.5))))
        return result

    height, width = math.ceil(image.shape[0] * scale - 1e-9), math.ceil(image.shape[1] * scale - 1e-9)
    tall = np.array([line(image[:, x], height) for x in range(image.shape[1])]).T
    return np.array([line(tall[y], width) for y in range(height)], np.uint8)


@pytest.mark.parametrize("scale", [2, 3, 4, 1 / 2, 1 / 3, 1 / 4])
def test_equals_the_plain_definition(photo, scale):
    image = photo[:60, :48, 1]
    np.testing.assert_array_equal(imresize(image, scale), plain_imresize(image, scale))


def test_golden_pixels():
    """Compare a hash of the bytes, which reveals a one-level error that a mean over 256 levels hides."""
    image = np.random.default_rng(7).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    digest = [hashlib.sha256(imresize(image, scale).tobytes()).hexdigest()[:16] for scale in (3, 1 / 3)]
    assert digest == ["d70a8b60ca48e1df", "2831276c1c97336a"]


def test_large_images_are_made_in_bands_without_a_seam():
    image = np.random.default_rng(0).integers(0, 256, (700, 40, 3), dtype=np.uint8)
    whole = imresize(image, 2)
    assert whole.shape == (1400, 80, 3)
    np.testing.assert_array_equal(whole[200:800], imresize(image[90:410], 2)[20:620])


def test_a_constant_stays_constant_and_sizes_round_up():
    image = np.full((31, 20, 3), 77, np.uint8)
    assert (imresize(image, 3) == 77).all()
    assert imresize(image, 1 / 3).shape == (11, 7, 3)


def test_a_size_that_is_integer_except_for_float_rounding_is_not_rounded_up():
    assert 50 * 1.1 > 55
    assert imresize(np.zeros((50, 10), np.uint8), 1.1).shape == (55, 11)


def test_golden_weights_of_one_axis():
    """Keys' kernel with a = -0.5: enlarged twice in 128ths, and reduced with antialiasing in 2,048ths; ends are repeated."""
    enlarged = [[137, -9, 0], [102, 29, -3], [26, 111, -9], [-9, 111, 26], [-3, 29, 102], [0, -9, 137]]
    np.testing.assert_allclose(axis_matrix(3, 2) * 128, enlarged, atol=1e-12)
    reduced = [[1024, 888, 232, -72, -24, 0], [-96, 232, 888, 888, 232, -96], [0, -24, -72, 232, 888, 1024]]
    np.testing.assert_allclose(axis_matrix(6, 1 / 2) * 2048, reduced, atol=1e-12)


def test_modcrop_and_downscale(photo):
    assert modcrop(photo[:95, :119], 3).shape == (93, 117, 3)
    assert downscale(photo[:95, :119], 3).shape == (31, 39, 3)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="uint8"):
        imresize(np.zeros((4, 4)), 2)
    with pytest.raises(ValueError, match="scale"):
        imresize(np.zeros((4, 4), np.uint8), 0)


def plain_blur(image, sigma):
    """A Gaussian blur of an image whose edge pixels repeat, in floating point."""
    radius = 30
    taps = np.exp(-(np.arange(-radius, radius + 1.0) ** 2) / (2 * sigma**2))
    result = np.pad(image.astype(float), ((radius, radius), (radius, radius), (0, 0)), mode="edge")
    for axis in (0, 1):
        result = np.apply_along_axis(np.convolve, axis, result, taps / taps.sum(), mode="valid")
    return result


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_blurred_downscale_is_a_blur_and_then_bicubic(photo, scale):
    hr = photo[:60, :48]
    wanted = plain_blur(hr, 1.3)
    for axis in (0, 1):
        wanted = np.moveaxis(np.tensordot(axis_matrix(hr.shape[axis], 1 / scale), wanted, (1, axis)), 0, axis)
    difference = np.abs(blurred_downscale(hr, scale, 1.3) - wanted)[3:-3, 3:-3]
    assert difference.max() < 1.1  # two roundings of half a level each
    assert difference.mean() < 0.4
    np.testing.assert_array_equal(blurred_downscale(hr, scale, 1e-3), downscale(hr, scale))


def test_a_part_of_blurred_downscale_is_that_part_of_the_whole():
    hr = np.random.default_rng(0).integers(0, 256, (300, 420, 3), dtype=np.uint8)
    whole = blurred_downscale(hr, 2, 2.5)
    assert whole.shape == (150, 210, 3)
    np.testing.assert_array_equal(blurred_downscale(hr, 2, 2.5, (60, 90, 70, 120)), whole[60:130, 90:210])
    flat = blurred_downscale(np.full((40, 60, 3), 93, np.uint8), 2, 0.7)
    assert (flat == 93).all()
