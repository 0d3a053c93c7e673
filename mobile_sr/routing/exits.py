"""Upscaling with one exit of a network for each image: the extension of the Upscaler for networks with exits.

The network of models/chainsr.py has outputs after fewer of its layers. A .tflite has a signature for each of these exits, and
its sidecar has their costs. A depth, the number of layers of an exit, or a budget chooses the exit of an image; a budget looks
at the costs only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import models
from mobile_sr.inference import litert, model_files, upscaler
from mobile_sr.routing import classifier, route, tally

if TYPE_CHECKING:
    import keras

    from mobile_sr.devices.device import Device


class ExitsUpscaler(route.RoutedUpscaler):
    """Upscales each image with one exit of a network: a routed model with the whole image as its patch, and no classifier.

    Attributes:
        depth: number of layers of the exit of calls that pass none; that of the last exit unless set.
        strings: model strings of the exits of a file, () without one.
    """

    has_details = True
    strings: Sequence[str] = ()
    chosen_for = "images"

    def __init__(
        self,
        name: str,
        nets: Sequence[upscaler.Upscaler],
        exits: Sequence[int],
        costs: Sequence[float],
        instructions: Sequence[float] | None = None,
    ) -> None:
        """Combines the exits of a network.

        Args:
            name: name of the model.
            nets: an Upscaler of each exit, the one with the fewest layers first.
            exits: their numbers of layers.
            costs: their multiply-adds per LR pixel.
            instructions: their Arm instructions per LR pixel, if they are known.
        """
        always = classifier.Always(len(nets) - 1, len(nets), 1)
        super().__init__(name, nets, costs, always, 1, None, instructions and [0.0, *instructions], exits)
        last = nets[-1]
        self.depth, self.receptive_field, self.default_tile = self.max_depth, last.receptive_field, last.default_tile
        self.fixed, self.smallest, self.io, self.device = last.fixed, last.smallest, last.io, last.device

    @property
    def model_string(self) -> str:
        """As `Upscaler.model_string`; with a budget, which may select several exits, that of the file."""
        return self.name if self.budget or not self.strings else self.strings[self._index(self.depth)]

    @property
    def net_names(self) -> list[str]:
        """Names of the exits."""
        return [f"exit{layers}" for layers in self.exits]

    def alone(self, index: int) -> ExitsUpscaler:
        """Returns a model that runs one of the exits on every image."""
        other = copy.copy(self)
        other.depth, other.budget = self.exits[index], None
        other.tally = other.new_tally()
        return other

    def depth_for(self, image: np.ndarray, tile: int | None = None) -> float:
        """As `Upscaler.depth_for`: the layers of the largest exit within the budget, without running any."""
        if not self.budget:
            assert self.depth is not None  # no call and no command sets it to None
            return self.depth
        size = image.shape[0], image.shape[1]
        costs, _ = self._costs_in(self._limit(size)[0])
        uniform = [cost * net.pixels(size, tile) for cost, net in zip(costs, self.nets, strict=True)]
        return float(self.exits[self._largest(uniform, size)])

    def _index(self, depth: float | None) -> int:
        return [float(layers) for layers in self.exits].index(depth or 0.0)

    def run_once(self, image: np.ndarray) -> np.ndarray:
        """As `Upscaler.run_once`, of the last exit."""
        return self.nets[-1].run_once(image)

    def pixels(self, size: tuple[int, int], tile: int | None = None) -> int:
        """As `Upscaler.pixels`, of the last exit."""
        return self.nets[-1].pixels(size, tile)

    def real(self, image: np.ndarray, tile: int | None = None, depth: float | None = None) -> np.ndarray:
        """As `Upscaler.real`."""
        return self._at(image, tile, depth, lambda net: net.real(image, tile))

    def _upscale(
        self, image: np.ndarray, tile: int | None, progress: upscaler.Progress | None, depth: float | None
    ) -> np.ndarray:
        return self._at(image, tile, depth, lambda net: net(image, tile, progress))

    def _at(
        self, image: np.ndarray, tile: int | None, depth: float | None, run: Callable[[upscaler.Upscaler], np.ndarray]
    ) -> np.ndarray:
        self.check_image(image)
        chosen = self.depth_for(image, tile) if depth is None else self.check_depth(depth)
        index, size = self._index(chosen), (image.shape[0], image.shape[1])
        self.tally.add_image(np.array([[index]]), size, max(size), classified=False)
        self.tally.add_run(index, self.nets[index].pixels(size, tile))
        return run(self.nets[index])

    def with_figures(
        self, image: np.ndarray, tile: int | None = None, progress: upscaler.Progress | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """As `Upscaler.with_figures`: {"exit": {"layers", "multiply_adds", "instructions"}}, the last two of the image."""
        depth = self.depth_for(image, tile)
        index = self._index(depth)
        pixels = self.nets[index].pixels((image.shape[0], image.shape[1]), tile)
        counts = self.net_costs[index] * pixels, self._instructions and self._instructions[1 + index] * pixels
        used = dict(zip(("layers", *tally.KINDS), (int(depth), *counts), strict=True))
        return self(image, tile, progress, depth), {"exit": used}

    def describe_figures(self, figures: Mapping[str, Any]) -> str:
        """As `Upscaler.describe_figures`."""
        used = figures["exit"]
        text = f"exit after {used['layers']} of {self.exits[-1]} layers; {used['multiply_adds'] / 1e9:.3g} G multiply-adds"
        return text + (f", {used['instructions'] / 1e9:.3g} G instructions (estimated)" if used["instructions"] else "")

    def with_details(self, image: np.ndarray) -> tuple[np.ndarray, dict[str, Any], dict[str, np.ndarray]]:
        """As `Upscaler.with_details`: the figures of `with_figures`."""
        return *self.with_figures(image), {}


def of_keras(name: str, model: keras.Model, config: Mapping[str, Any]) -> ExitsUpscaler:
    """Returns the Upscaler of a Keras model with exits, from its configuration."""
    parts = models.split_exits(model, config)
    nets = [upscaler.of_network(f"{name}, exit after {own['layers']} layers", net, own) for net, own in parts]
    costs = [models.multiply_adds(net, 1) for net, _ in parts]
    return ExitsUpscaler(name, nets, models.exits(config), costs)


def of_tflite(name: str, runner: litert.TFLiteModel, device: Device | None) -> ExitsUpscaler:
    """Returns the Upscaler of an opened .tflite whose sidecar has exits, on a virtual device or on this machine."""
    entries = runner.sidecar.exits
    names = [model_files.with_option(name, "signature", entry["signature"]) for entry in entries]
    nets = [upscaler.load(each, threads=runner.threads, check=False, device=device) for each in names]
    columns: list[list[Any]] = [[entry.get(key) for entry in entries] for key in ("layers", *tally.KINDS)]
    layers, costs, counted = columns
    result = ExitsUpscaler(name, nets, layers, costs, None if None in counted else counted)
    result.strings = names
    return result
