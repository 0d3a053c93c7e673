"""Imported networks with AdaDSR's adapter: how they are run, and whether the adapter expects a desired depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import models

if TYPE_CHECKING:
    import keras

# The adapter of AdaEDSR computes the share of the desired depth that a pixel needs: its loss keeps the mean below 1. That of
# FAdaEDSR computes blocks, and the smallest published network has a mean of 8. No name or shape tells them apart.
MAX_SHARE = 1.5


class Runner:
    """Runs a network at full depth, and keeps the mean of the last depth map.

    Attributes:
        depth_mean: mean depth in blocks; None for a network without an adapter.
    """

    def __init__(self, model: keras.Model, config: Mapping[str, Any]) -> None:
        """Keeps a network and its configuration."""
        self.model, self.max_depth = model, models.max_depth(config)
        self.depth_mean: float | None = None

    def batch(self, lr: np.ndarray) -> np.ndarray:
        """Returns the SR output [N, H * s, W * s, 3] float32 for [N, H, W, 3] float32 in 0..1."""
        import keras

        desired = None if self.max_depth is None else np.full((len(lr), 1), self.max_depth, np.float32)
        outputs = self.model(lr if desired is None else [lr, desired], training=False)
        if not isinstance(outputs, (list, tuple)):
            return np.asarray(keras.ops.convert_to_numpy(outputs))
        sr, depths = (np.asarray(keras.ops.convert_to_numpy(output)) for output in outputs)
        self.depth_mean = float(depths.mean())
        return sr

    def image(self, lr: np.ndarray) -> np.ndarray:
        """Returns the SR output [H * s, W * s, 3] float32 for [H, W, 3] uint8."""
        return self.batch(lr[None].astype(np.float32) / np.float32(255))[0]


def is_plausible(config: Mapping[str, Any], depth_mean: float | None) -> bool:
    """Returns whether an adapter's output on a photograph fits the configuration; True for all that their names tell.

    Args:
        config: configuration of a network.
        depth_mean: `Runner.depth_mean` at full depth.
    """
    if depth_mean is None or config.get("depth_scales") != "last":
        return True
    full = models.max_depth(config)
    return depth_mean > MAX_SHARE if full is None else depth_mean <= MAX_SHARE * full
