"""The content of a calibration set, crop by crop. converters/test_audit.py has its seed and its search for detail."""

import runpy

import numpy as np
import pytest

from mobile_sr.imaging import flat_colours
from mobile_sr.imaging.images import write_image
from mobile_sr.quantization import calibration

COUNT = calibration.COUNT  # conftest.py lowers it


@pytest.fixture
def folder(tmp_path):
    """A folder of two images of noise, small enough for crops of the whole LR image."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.png", rng.integers(0, 256, (60, 72, 3), dtype=np.uint8))
    return tmp_path


def test_users_get_32_crops_of_96_pixels():
    module = runpy.run_path(calibration.__file__)
    assert (module["COUNT"], module["CROP"], module["FLAT_SIDE"], module["TRIES"]) == (32, 96, 24, 8)


def test_every_crop_is_repeated_with_permuted_channels(folder):
    crops = calibration.calibration_set(folder, 2)[0]
    orders = [(0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    for k in range(COUNT):
        assert crops[k].shape == (1, 30, 36, 3)
        np.testing.assert_array_equal(crops[COUNT + k], crops[k][..., orders[k % 5]])


def test_black_white_flat_colours_and_ramps_follow(folder, all_colours):
    crops, record = calibration.calibration_set(folder, 2)
    assert len(crops) == 2 * COUNT + 2 + 27 + 13
    assert (record["crops"], record["flat_colours_and_ramps"]) == (2 * COUNT + 2, 40)
    black, white = crops[2 * COUNT : 2 * COUNT + 2]
    assert (black.max(), white.min()) == (0, 1)
    assert black.shape == white.shape == (1, calibration.CROP, calibration.CROP, 3)
    rest = [*(flat_colours.flat(colour, 24, 24) for colour in flat_colours.COLOURS), *flat_colours.ramps(24, 24).values()]
    for found, wanted in zip(crops[2 * COUNT + 2 :], rest, strict=True):
        np.testing.assert_array_equal(found[0], wanted.astype(np.float32) / 255)


def test_each_crop_has_the_most_detail_of_8(folder, monkeypatch):
    seen, detail = [], calibration._detail
    monkeypatch.setattr(calibration, "CROP", 16)
    monkeypatch.setattr(calibration, "_detail", lambda crop: seen.append((detail(crop), crop)) or seen[-1][0])
    crops = calibration.calibration_set(folder, 2)[0]
    assert len(seen) == 8 * COUNT
    for k in range(COUNT):
        richest = max(seen[8 * k : 8 * k + 8], key=lambda found: found[0])[1]
        np.testing.assert_array_equal(crops[k][0], richest.astype(np.float32) / 255)
