"""What the depth map of the packaged AdaEDSR does: nothing on flat areas, and more than a uniform depth elsewhere."""

import re
import runpy

import pytest

from mobile_sr.imaging import flat_colours
from mobile_sr.inference import upscaler
from tests.conftest import ROOT

NETWORK = "adaedsr_b8_x2"


@pytest.mark.parametrize("precision", ["uint8", "float32"])
@pytest.mark.parametrize("desired", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow), 8])
def test_an_image_of_one_colour_uses_at_most_half_a_block(precision, desired):
    network = upscaler.load(f"{NETWORK}:{precision}")
    images = [flat_colours.flat(colour, 48, 48) for colour in flat_colours.COLOURS]
    assert max(float(network.depth_map(image, desired).mean()) for image in images) <= 0.5


@pytest.mark.slow
@pytest.mark.parametrize("images", ["Set5", "B100"])
def test_the_map_is_worth_a_tenth_of_a_decibel(data_dir, tmp_path, capsys, images):
    """In uint8, at equal executed multiply-adds, against the same network at uniform depths; the first 20 images."""
    main = runpy.run_path(str(ROOT / "benchmarks" / "depth_map_gain.py"))["main"]
    main(data_dir, NETWORK, "uint8", 20, [images], [1, 2, 3, 4], [1, 2], tmp_path)
    gains = [float(gain) for gain in re.findall(r"\| d = \d .*\| ([+-][0-9.]+) \|", capsys.readouterr().out)]
    assert len(gains) == 2
    assert min(gains) >= 0.1
