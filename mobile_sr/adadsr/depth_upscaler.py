"""Upscaling with a desired depth: the extension of the Upscaler for networks with AdaDSR's adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import models
from mobile_sr.adadsr import depth_budget, depth_counts, depth_map
from mobile_sr.imaging.resize import imresize
from mobile_sr.inference import litert, upscaler

if TYPE_CHECKING:
    import keras

DESIRED_DEPTH = "desired_depth"  # name of the input, see `upscaler.ADJUSTABLE`
HEAT_MAP = 320  # maximum of a heat map's longer side, in pixels


class DepthUpscaler(upscaler.Upscaler):
    """Upscales with a network whose second input is a desired depth and whose second output is a depth map.

    Attributes:
        max_depth: maximum desired depth D in blocks.
    """

    has_details = True
    budget_units = ("ms", "gmacs")
    max_depth: float

    def __init__(
        self,
        name: str,
        scale: int,
        run: Callable[[np.ndarray, float], Sequence[np.ndarray]],
        receptive_field: int | None,
        max_depth: float,
        costs: Mapping[str, Any] | None = None,
        fixed: tuple[int, int] | None = None,
        smallest: int = 1,
    ) -> None:
        """Wraps a function that runs the network once.

        Args:
            run: function from [H, W, 3] uint8 and a desired depth to (SR output [H * s, W * s, 3], uint8 or float32 in 0..1,
                depth map [H, W, M] float32 in blocks).
            name, scale, receptive_field, max_depth, costs, fixed, smallest: see the attributes of Upscaler.
        """
        super().__init__(name, scale, run, receptive_field, fixed, smallest)
        self.max_depth = self.depth = max_depth
        self.costs = costs

    def with_depth_map(
        self,
        image: np.ndarray,
        tile: int | None = None,
        progress: upscaler.Progress | None = None,
        depth: float | None = None,
    ) -> list[np.ndarray]:
        """As `Upscaler.with_depth_map`."""
        return self._tiled(image, tile, progress, upscaler.to_uint8, depth)

    def with_overlay(
        self, image: np.ndarray, tile: int | None = None, progress: upscaler.Progress | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Upscaler.with_overlay`."""
        sr, depths = self.with_depth_map(image, tile, progress)
        return sr, depth_map.overlay(sr, depths, self.max_depth)

    def depth_for(self, image: np.ndarray) -> float | None:
        """As `Upscaler.depth_for`."""
        return depth_budget.choose(self, image, **self.budget) if self.budget else self.depth

    def check_depth(self, depth: float | None) -> float | None:
        """As `Upscaler.check_depth`."""
        if depth is None:
            return self.depth
        litert.check_value(self.name, DESIRED_DEPTH, depth, (0, self.max_depth))
        return depth

    def with_details(self, image: np.ndarray) -> tuple[np.ndarray, dict[str, Any], dict[str, np.ndarray]]:
        """As `Upscaler.with_details`: figures {"depth": {"mean", "desired"}} in blocks and a "heat_map" over the LR image."""
        desired = self.depth_for(image)
        assert desired is not None
        sr, depths = self.with_depth_map(image, depth=desired)
        # More opaque than elsewhere: on a small image the colours of the legend tell more than the image below them.
        heat_map = depth_map.heat_map(image, depths, self.max_depth, opacity=0.8)
        shrunk = imresize(heat_map, min(1.0, HEAT_MAP / max(heat_map.shape)))
        return sr, {"depth": {"mean": float(depths.mean()), "desired": float(desired)}}, {"heat_map": shrunk}

    def summarize_details(self, rows: Sequence[Mapping[str, Any]], of: str) -> dict[str, Any]:
        """As `Upscaler.summarize_details`: {"depth": {"of", "mean", "desired", "deepest"}}, means over the images in blocks."""
        means = {key: float(np.mean([row["depth"][key] for row in rows])) for key in ("mean", "desired")}
        return {"depth": {"of": of, **means, "deepest": self.max_depth}}

    def _outputs(self, part: np.ndarray, depth: float | None) -> tuple[np.ndarray, ...]:
        return tuple(self._run(part, self.max_depth if depth is None else depth))


def of_keras(name: str, model: keras.Model, config: Mapping[str, Any]) -> DepthUpscaler:
    """Returns the Upscaler of a Keras model with a desired depth, from its configuration."""
    max_depth = models.max_depth(config)
    assert max_depth is not None  # a network with this input has one
    run, field = upscaler.keras_runner(model), models.receptive_field(config)
    costs, smallest = depth_counts.costs(model), models.smallest_side(config)
    return DepthUpscaler(name, config["scale"], run, field, max_depth, costs, smallest=smallest)


def of_tflite(name: str, runner: litert.TFLiteModel) -> DepthUpscaler:
    """Returns the Upscaler of an opened .tflite whose adjustable input is the desired depth."""
    assert runner.adjustable is not None
    known, max_depth = runner.sidecar, runner.adjustable.limits[1]
    field, costs = known.receptive_field, known.multiply_adds
    return DepthUpscaler(name, runner.scale, runner.run_at, field, max_depth, costs, runner.fixed, known.smallest_side)
