"""Upscaling with depth maps: the extension of the Upscaler for networks with AdaDSR's adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import models
from mobile_sr.adadsr import depth_budget, depth_counts, depth_map, depth_usage
from mobile_sr.imaging.resize import imresize
from mobile_sr.inference import litert, model_files, upscaler

if TYPE_CHECKING:
    import keras

    from mobile_sr.inference.onnx_model import OnnxModel

DESIRED_DEPTH = "desired_depth"  # name of the input, see `upscaler.ADJUSTABLE`
HEAT_MAP = 320  # maximum of a heat map's longer side, in pixels


class MapUpscaler(upscaler.Upscaler):
    """Upscales with a network whose second output is a depth map: of FAdaEDSR, or at a depth that an option has set.

    Attributes:
        blocks: the network's number of blocks D.
        set_depth: the desired depth that an option of a .tflite has set; None without.
    """

    has_details = True
    set_depth: float | None = None

    def __init__(
        self,
        name: str,
        scale: int,
        run: Callable[[np.ndarray, float | None], Sequence[np.ndarray]],
        receptive_field: int | None,
        blocks: float,
        costs: Mapping[str, Any] | None = None,
        fixed: tuple[int, int] | None = None,
        smallest: int = 1,
    ) -> None:
        """Wraps a function that runs the network once.

        Args:
            run: function from [H, W, 3] uint8 and a desired depth (None here) to (SR output [H * s, W * s, 3], uint8 or
                float32 in 0..1, depth map [H, W, M] float32 in blocks).
            name, scale, receptive_field, blocks, costs, fixed, smallest: see the attributes of this class and of Upscaler.
        """
        super().__init__(name, scale, run, receptive_field, fixed, smallest)
        self.blocks, self.costs = blocks, costs

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
    ) -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
        """As `Upscaler.with_overlay`."""
        sr, used, depths = self._with_usage(image, tile, progress)
        return sr, {"depth": used}, depth_map.overlay(sr, depths, self.blocks, used["active"])

    def with_figures(
        self, image: np.ndarray, tile: int | None = None, progress: upscaler.Progress | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """As `Upscaler.with_figures`: {"depth": `depth_usage.usage`}."""
        sr, used, _ = self._with_usage(image, tile, progress)
        return sr, {"depth": used}

    def with_details(self, image: np.ndarray) -> tuple[np.ndarray, dict[str, Any], dict[str, np.ndarray]]:
        """As `Upscaler.with_details`: figures {"depth": `depth_usage.usage`} and a "heat_map" over the LR image."""
        sr, used, depths = self._with_usage(image)
        # More opaque than elsewhere: on a small image the colours of the legend tell more than the image below them.
        heat_map = depth_map.heat_map(image, depths, self.blocks, opacity=0.8)
        shrunk = imresize(heat_map, min(1.0, HEAT_MAP / max(heat_map.shape)))
        return sr, {"depth": used}, {"heat_map": shrunk}

    def summarize_details(self, rows: Sequence[Mapping[str, Any]], of: str) -> dict[str, Any]:
        """As `Upscaler.summarize_details`: {"depth": `depth_usage.mean`}."""
        return {"depth": depth_usage.mean([row["depth"] for row in rows], of, self.blocks)}

    def describe_figures(self, figures: Mapping[str, Any]) -> str:
        """As `Upscaler.describe_figures`."""
        return depth_usage.describe(figures["depth"], self.blocks)

    def _with_usage(
        self, image: np.ndarray, tile: int | None = None, progress: upscaler.Progress | None = None
    ) -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
        """Returns (SR output, `depth_usage.usage`, depth map)."""
        desired = self.depth_for(image)
        sr, depths = self.with_depth_map(image, tile, progress, desired)
        return sr, depth_usage.usage(self.costs, depths, self.set_depth if desired is None else desired), depths

    def _outputs(self, part: np.ndarray, depth: float | None) -> tuple[np.ndarray, ...]:
        return tuple(self._run(part, depth))


class DepthUpscaler(MapUpscaler):
    """Upscales with a network whose second input is a desired depth and whose second output is a depth map.

    Attributes:
        max_depth: maximum desired depth D in blocks.
        times: `depth_budget.table` of this machine; None before the first budget of time.
    """

    budget_units = ("ms", "gmacs")
    max_depth: float

    def __init__(
        self,
        name: str,
        scale: int,
        run: Callable[[np.ndarray, float | None], Sequence[np.ndarray]],
        predict: Callable[[np.ndarray, float], np.ndarray],
        receptive_field: int | None,
        max_depth: float,
        costs: Mapping[str, Any] | None = None,
        fixed: tuple[int, int] | None = None,
        smallest: int = 1,
    ) -> None:
        """Wraps two functions that run the network once.

        Args:
            run: as for MapUpscaler.
            predict: function from [H, W, 3] uint8 and a desired depth to the depth map alone; it runs the head and the adapter.
            name, scale, receptive_field, max_depth, costs, fixed, smallest: see the attributes of Upscaler.
        """
        super().__init__(name, scale, run, receptive_field, max_depth, costs, fixed, smallest)
        self.max_depth = self.depth = max_depth
        self.times: depth_budget.Table | None = None
        self._predict = predict

    def depth_map(self, image: np.ndarray, depth: float) -> np.ndarray:
        """Returns the depth map [H, W, M] float32 in blocks for [H, W, 3] uint8, without running the blocks."""
        predictor = _Predictor(self.name, 1, self._predict, self.receptive_field, self.fixed, self.smallest)
        predictor.default_tile = self.default_tile
        return predictor._tiled(image, None, None, lambda values: values, depth)[0]

    def depth_for(self, image: np.ndarray) -> float | None:
        """As `Upscaler.depth_for`."""
        return depth_budget.choose(self, image, **self.budget) if self.budget else self.depth

    def check_depth(self, depth: float | None) -> float | None:
        """As `Upscaler.check_depth`."""
        if depth is None:
            return self.depth
        litert.check_value(self.name, DESIRED_DEPTH, depth, (0, self.max_depth))
        return depth

    def _outputs(self, part: np.ndarray, depth: float | None) -> tuple[np.ndarray, ...]:
        return tuple(self._run(part, self.max_depth if depth is None else depth))


class _Predictor(upscaler.Upscaler):
    """Runs head and adapter tile by tile, with the tiles of the whole network."""

    def check_depth(self, depth: float | None) -> float | None:
        return depth

    def _outputs(self, part: np.ndarray, depth: float | None) -> tuple[np.ndarray, ...]:
        return (self._run(part, depth),)


def of_keras(name: str, model: keras.Model, config: Mapping[str, Any]) -> MapUpscaler:
    """Returns the Upscaler of a Keras model with a depth map, from its configuration."""
    import keras

    run, field = upscaler.keras_runner(model, every=True), models.receptive_field(config)
    costs, smallest, scale = depth_counts.costs(model), models.smallest_side(config), config["scale"]
    max_depth = models.max_depth(config)
    if max_depth is None:
        return MapUpscaler(name, scale, run, field, models.complete(config)["blocks"], costs, smallest=smallest)
    adapter = upscaler.keras_runner(keras.Model(model.inputs, [model.outputs[1]]), every=True)
    return DepthUpscaler(name, scale, run, lambda *args: adapter(*args)[0], field, max_depth, costs, smallest=smallest)


def of_file(name: str, runner: litert.TFLiteModel | OnnxModel) -> MapUpscaler:
    """Returns the Upscaler of an opened file with a depth map; its adjustable input, if any, is the desired depth."""
    known = runner.sidecar
    field, costs = known.receptive_field, known.multiply_adds
    if runner.adjustable is None:
        assert costs is not None  # as `litert.TFLiteModel.has_map`
        blocks = len(costs["blocks"]) // runner.map_channels
        result = MapUpscaler(name, runner.scale, runner.run_at, field, blocks, costs, runner.fixed, known.smallest_side)
        depth = model_files.split(name)[1].get(DESIRED_DEPTH)
        result.set_depth = None if depth is None else float(depth)
        return result
    max_depth, more = runner.adjustable.limits[1], (costs, runner.fixed, known.smallest_side)
    return DepthUpscaler(name, runner.scale, runner.run_at, runner.run_map, field, max_depth, *more)
