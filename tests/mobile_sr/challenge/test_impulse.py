"""Receptive fields measured by one changed pixel, and minimum sides."""

import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.challenge import impulse


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"network": "imdn", "channels": 8, "blocks": 2}, 11),
        ({"network": "fmen", "channels": 8, "attention": 6, "blocks": 0}, None),  # its attention multiplies by zeros on black
        ({"network": "fsrcnn"}, 8),
    ],
    ids=lambda value: value["network"] if isinstance(value, dict) else "",
)
def test_the_measured_field_is_the_declared_one(config, field):
    """Exactly, which effects in float32 without a black image would not be for 11 layers."""
    config = {**config, "scale": 2}
    declared = models.receptive_field(models.complete(config))
    assert field in (None, declared)
    assert impulse.of_config(config) == (declared, False)


def test_attention_over_the_whole_image():
    distance, whole = impulse.of_config({"network": "imdn_cca", "channels": 8, "attention": 4, "blocks": 1, "scale": 2})
    assert whole
    assert distance >= impulse.UNKNOWN_FIELD


def test_of_a_runner():
    """A box of 5x5 pixels reaches 2; of a fixed size too."""

    def run(image):
        padded = np.pad(image.astype(np.float32), ((2, 2), (2, 2), (0, 0)))
        sums = sum(padded[y : y + image.shape[0], x : x + image.shape[1]] for y in range(5) for x in range(5))
        return sums.repeat(3, 0).repeat(3, 1) / 25 / 255

    assert impulse.of_runner(run, 3, 1, None) == (2, False)
    assert impulse.of_runner(run, 3, None, (16, 20)) == (2, False)
    assert impulse.of_runner(run, 3, None, (5, 5)) == (2, True)


def test_the_smallest_side():
    config = {"network": "efdn", "channels": 8, "distilled": 4, "attention": 2, "blocks": 1, "scale": 2}
    assert models.smallest_side(config) == 5
    assert impulse.runs_at(config, 5)
    assert not impulse.runs_at(config, 4)
