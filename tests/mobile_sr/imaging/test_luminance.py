"""Y of RGB images, and its combination with the bicubic Cb and Cr."""

import numpy as np
import pytest

from mobile_sr.imaging import luminance, metrics
from mobile_sr.imaging.resize import imresize
from tests.conftest import make_image

KINDS = tuple(luminance.RANGES)


def test_black_white_and_the_primaries():
    """The levels of MATLAB's rgb2ycbcr (16, 81, 145, 41, 235 when rounded) and of JPEG."""
    colours = np.array([[[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    for kind, levels in (("y", [16, 81.481, 144.553, 40.966, 235]), ("y_full", [0, 76.245, 149.685, 29.07, 255])):
        y = luminance.of_rgb(colours, kind)
        assert (y.shape, y.dtype) == ((1, 5, 1), np.float32)
        np.testing.assert_allclose(y[0, :, 0], levels, atol=1e-4)


def test_it_is_the_y_of_the_metric(photo):
    np.testing.assert_allclose(luminance.of_rgb(photo)[:, :, 0], metrics.rgb_to_y(photo), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_y_of_the_bicubic_image_gives_the_bicubic_image(kind):
    image = make_image(14, 17)
    bicubic = imresize(image, 3)
    result = luminance.upscale_chroma(image, luminance.of_rgb(bicubic, kind) / np.float32(255), kind)
    assert (result.shape, result.dtype) == ((42, 51, 3), np.float32)
    np.testing.assert_allclose(result * 255, bicubic, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_has_the_new_y_and_the_chroma_of_bicubic(kind):
    """Cb and Cr are B - Y and R - Y up to a factor."""
    image = make_image(12, 9)
    new = imresize(make_image(12, 9, seed=1), 2)
    y = luminance.of_rgb(new, kind) / np.float32(255)
    result = luminance.upscale_chroma(image, y, kind) * 255
    luma = result @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(luma, luminance.of_rgb(new, "y_full")[:, :, 0], atol=1e-3)
    bicubic = imresize(image, 2)
    before = bicubic @ np.array([0.299, 0.587, 0.114])
    for channel in (0, 2):
        np.testing.assert_allclose(result[..., channel] - luma, bicubic[..., channel] - before, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_gray_stays_gray(kind):
    gray = np.repeat(make_image(9, 9)[:, :, :1], 3, axis=2)
    y = luminance.of_rgb(imresize(np.repeat(make_image(9, 9, seed=2)[:, :, :1], 3, axis=2), 2), kind) / np.float32(255)
    result = luminance.upscale_chroma(gray, y, kind)
    assert np.array_equal(result[..., 0], result[..., 1])
    assert np.array_equal(result[..., 0], result[..., 2])


def test_two_pixels_to_each_side_decide_cb_and_cr():
    """REACH is exact: the third pixel has no influence, the second one has."""
    image = make_image(16, 16)
    for distance, changes in ((luminance.REACH, True), (luminance.REACH + 1, False)):
        other = image.copy()
        other[8 - distance] = 255 - other[8 - distance]
        y = np.zeros((48, 48, 1), np.float32)
        rows = [luminance.upscale_chroma(x, y)[24:27] @ np.array([1, 0, -1]) for x in (image, other)]
        assert np.allclose(*rows, atol=1e-5) != changes
