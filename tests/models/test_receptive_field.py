"""Receptive fields, by which tiles overlap: the distance at which a changed pixel has an effect."""

import keras
import numpy as np
import pytest

from mobile_sr import models

SIDE = 41  # side of the image in pixels; the centre is changed
EDSR = {"network": "edsr", "blocks": 2, "channels": 8}
CHAIN = {"network": "chainsr", "channels": 4, "layers": 2}
NETWORKS = [{"network": "xlsr"}, CHAIN, {"network": "fsrcnn"}, {"network": "espcn"}, EDSR, {**EDSR, "depth": "fixed"}]
EFFICIENT = [
    {"network": "imdn", "channels": 8, "blocks": 1},
    {"network": "imdn_plus", "channels": 12, "blocks": 1},
    {"network": "imdn_rtc", "channels": 8, "blocks": 1},
    {"network": "pan", "channels": 8, "upscaled": 6, "blocks": 1},
    {"network": "fmen", "channels": 8, "attention": 6, "blocks": 0},
    {"network": "abpn", "channels": 8, "blocks": 2},
    {"network": "etds", "channels": 8, "blocks": 2},
    {"network": "ecbsr", "channels": 8, "blocks": 2},
    {"network": "vdsr", "channels": 8, "blocks": 3},
    {"network": "srcnn", "channels": 8},
    {"network": "afdn", "channels": 8, "distilled": 4, "blocks": 1},
    {"network": "rfdnext", "channels": 8, "distilled": 4, "blocks": 1},
    {"network": "mdgn", "channels": 8, "blocks": 1},
    {"network": "nasnet_bn", "channels": 8, "cells": ("inverted3", "relu", "leaky")},
]


def reach(model, scale):
    """Returns the distance in LR pixels at which a change of one pixel has an effect, with random weights."""
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    if len(model.outputs) > 1:  # depths around 1, where the second mask depends on them
        last = model.get_layer("adapter5")
        last.set_weights([last.get_weights()[0] * 0.01, np.array([1.0])])
    x = rng.random((1, SIDE, SIDE, 3)).astype(np.float32)
    other, middle = x.copy(), SIDE // 2
    other[0, middle, middle] += 0.5
    actual = [model(image) for image in (x, other)]
    a, b = (keras.ops.convert_to_numpy(y[0] if len(model.outputs) > 1 else y)[0] for y in actual)
    moved = np.argwhere(np.any(a != b, axis=2)) // scale
    return max(middle - moved.min(), moved.max() - middle)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("config", NETWORKS, ids=lambda config: "_".join(map(str, config.values())))
def test_the_receptive_field_is_the_declared_one(config, scale):
    """Exactly, except for FSRCNN, whose field is one pixel smaller at some scales."""
    model = models.build({**config, "scale": scale, "output_activation": "linear"})
    field = models.receptive_field({**config, "scale": scale})
    assert field - (1 if config["network"] == "fsrcnn" else 0) <= reach(model, scale) <= field


@pytest.mark.parametrize("config", EFFICIENT, ids=lambda config: config["network"])
def test_the_receptive_field_of_efficient_networks(config):
    """Not larger than declared, and at most one LR pixel smaller: with random weights a long path may vanish."""
    model = models.build({**config, "scale": 2, "output_activation": "linear"})
    field = models.receptive_field(models.complete({**config, "scale": 2}))
    assert field - 1 <= reach(model, 2) <= field


def test_the_receptive_field_of_a_supernet():
    """That of fgnas.py with all blocks: a search validates the supernet itself."""
    config = {"network": "fgnas_supernet", "scale": 2, "blocks": 2, "channels": 4, "output_activation": "linear"}
    model = models.build(config)
    rng = np.random.default_rng(0)
    x = rng.random((1, 23, 23, 3)).astype(np.float32)
    other = x.copy()
    other[0, 11, 11] += 0.5
    a, b = (keras.ops.convert_to_numpy(model(image))[0] for image in (x, other))
    moved = np.argwhere(np.any(a != b, axis=2)) // 2
    assert max(11 - moved.min(), moved.max() - 11) == models.receptive_field(config) == 7


def test_rcan_sees_the_whole_image():
    assert models.receptive_field({"network": "rcan", "scale": 2}) is None
