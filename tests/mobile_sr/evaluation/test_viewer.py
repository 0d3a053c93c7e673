"""Images in report pages: which part of a large one is shown, rows of equal length, flat colours."""

import re

import numpy as np
import pytest

from mobile_sr.evaluation import viewer


@pytest.mark.parametrize(
    ("size", "window", "rows", "columns"),
    [
        ((30, 30), (0, 0, 5, 5), (0, 30), (0, 30)),  # small enough
        ((100, 100), (80, 40, 10, 10), (30, 60), (70, 100)),  # around the window, inside of the image
        ((10, 1000), (0, 0, 4, 4), (0, 10), (0, 90)),  # a long one keeps its short side
    ],
)
def test_the_visible_part(size, window, rows, columns):
    shown = viewer.visible(size, window, 900)
    assert [(part.start, part.stop) for part in shown] == [rows, columns]


def test_the_viewer_says_what_is_cut_and_compressed(monkeypatch):
    monkeypatch.setattr(viewer, "_LOSSLESS_PIXELS", 1799)
    monkeypatch.setattr(viewer, "PAGE_PIXELS", 2 * 900)
    image = np.zeros((100, 100, 3), np.uint8)
    page = viewer.section([viewer.View("<photo>", [("a", image, "A"), ("b", image, "B")], (80, 40, 10, 10))], "a", "b")
    assert "<b>&lt;photo&gt;</b>, the 30x30 pixels at (70, 30) of 100x100 pixels, as JPEG" in page
    assert page.count("data:image/jpeg") == 2
    assert '<option value="1" selected>b</option>' in page


@pytest.mark.parametrize(("count", "columns", "odd"), [(2, 2, False), (5, 5, True), (7, 4, True), (8, 4, False), (13, 5, True)])
def test_rows_of_equal_length(count, columns, odd):
    crop = np.zeros((4, 4, 3), np.uint8)
    page = viewer.crops("photo", "title", [(str(k), crop, "") for k in range(count)])
    assert f"--columns:{columns}" in page
    assert ('class="strip odd"' in page) == odd


def test_flat_colours_show_input_output_and_large_errors():
    colours = [
        {"colour": [255, 0, 0], "becomes": [250, 9, 9], "error": 9},
        {"colour": [0, 0, 0], "becomes": [0, 0, 2], "error": 2},
    ]
    errors = {"flat": 9, "colour": "255, 0, 0", "becomes": "250, 9, 9", "ramps": 1, "ramp": "K-R", "colours": colours}
    page = viewer.colours([("net", errors)])
    assert "linear-gradient(rgb(255,0,0) 50%,rgb(250,9,9) 50%)" in page
    assert re.findall(r"<b>(\d+)</b>", page) == ["9"]
