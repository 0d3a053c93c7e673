"""Hooks of the export for networks with depth maps."""

import numpy as np
import pytest

from mobile_sr.adadsr.depth_export import DepthExport
from mobile_sr.errors import UserError

ADJUSTABLE = {"network": "edsr", "scale": 2, "blocks": 4, "depth": "input"}
FIXED = {**ADJUSTABLE, "depth": "fixed"}


@pytest.mark.parametrize(
    ("network", "requested", "precision", "expected"),
    [
        (ADJUSTABLE, None, "uint8", "sparse"),
        (ADJUSTABLE, None, "int16", "dense"),
        (ADJUSTABLE, "dense", "uint8", "dense"),
        (FIXED, None, "uint8", "sparse"),
        (FIXED, None, "int16", "dense"),
        (FIXED, "sparse", "uint8", "sparse"),
    ],
)
def test_the_path_of_a_precision(network, requested, precision, expected):
    assert DepthExport(network).path(requested, precision, "net.npz") == expected


def test_what_cannot_be_exported():
    hooks = DepthExport(ADJUSTABLE)
    with pytest.raises(UserError, match="--path sparse: not supported for int16; use float32"):
        hooks.path("sparse", "int16", "net.npz")


def test_a_file_is_compared_at_three_depths():
    hooks = DepthExport(ADJUSTABLE)
    assert [hooks.options(value) for value in hooks.values()] == [{"desired_depth": d} for d in ("0", "2.0", "4")]
    assert hooks.max_value == 4
    assert hooks.at(lambda image, depth: (image + depth, "map"), 2.0)(1) == 3.0
    ((image, depth),) = hooks.samples([np.ones((1, 2, 2, 3), np.float32)])
    assert (image.shape, depth.shape) == ((1, 2, 2, 3), (1, 1))


def test_a_fixed_depth_has_no_second_input():
    hooks = DepthExport(FIXED)
    assert (hooks.values(), hooks.max_value, hooks.options(None)) == ((None,), None, {})
    assert hooks.at(len, None) is len
    assert hooks.samples([1]) == [1]
