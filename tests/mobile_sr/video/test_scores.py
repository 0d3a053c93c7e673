"""Flicker: the change of the error from frame to frame."""

import numpy as np
import pytest

from mobile_sr.imaging import metrics
from mobile_sr.video import scores
from tests.conftest import make_image

LEVEL = 219 / 255  # of Y for a level of a gray image


def test_a_constant_error_does_not_flicker():
    found = scores.ClipScores(shave=2)
    for k in range(3):
        hr = np.full((20, 24, 3), 60 + 10 * k, np.uint8)
        found.add(str(k), hr, hr + np.uint8(5), hr + np.uint8([0, 6, 0][k]))
    assert [row["flicker"] for row in found.rows] == [None, pytest.approx(0), pytest.approx(0)]
    assert [row["bicubic_flicker"] for row in found.rows][1:] == [pytest.approx(6 * LEVEL)] * 2
    assert found.rows[0]["psnr"] == pytest.approx(20 * np.log10(255 / (5 * LEVEL)))
    mean = found.summary()["mean"]
    assert (mean["flicker"], mean["bicubic_flicker"]) == (pytest.approx(0), pytest.approx(6 * LEVEL))


def test_flicker_is_the_difference_of_the_temporal_differences():
    hr, sr = ([make_image(20, 24, seed + k) for k in range(2)] for seed in (0, 5))
    found = scores.ClipScores(shave=3)
    for a, b in zip(hr, sr, strict=True):
        found.add("", a, b, b)
    y = [[metrics.rgb_to_y(image[3:-3, 3:-3]) for image in clip] for clip in (hr, sr)]
    wanted = np.sqrt(np.mean(((y[1][1] - y[1][0]) - (y[0][1] - y[0][0])) ** 2))
    assert found.rows[1]["flicker"] == pytest.approx(wanted)


def test_the_plot_has_both_lines():
    rows = [{"psnr": 30.0 + k, "bicubic_psnr": 28.0} for k in range(3)]
    svg = scores.plot(rows, "net<x>")
    assert svg.count("<polyline") == 2
    assert "net&lt;x&gt;" in svg
    assert scores.plot(rows * 400, "net").count('class="mark"') == 2 * 400 + 2  # blocks of three frames, and the legend
    assert scores.plot([{"psnr": np.inf, "bicubic_psnr": np.inf}], "net") == ""
