"""Measured receptive field and minimum input size of a network: how far one changed pixel has an effect."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import models
from mobile_sr.converters.quiet import quiet
from mobile_sr.importing import adapters

if TYPE_CHECKING:
    import keras

MARGIN = 6  # LR pixels beyond the expected field, in which an effect would show
UNKNOWN_FIELD = 40  # LR pixels: half of the measured length, for networks that see the whole image or whose field is not known
_SHORT = 9  # LR pixels: short side of the images
_OFFSETS = (0, 1, 2)  # of the changed pixels from the middle: layers with a stride treat neighbours differently

Batch = Callable[[np.ndarray], np.ndarray]  # [N, H, W, 3] -> [N, H * s, W * s, 3]


def of_config(config: Mapping[str, Any]) -> tuple[int, bool]:
    """Measures the receptive field of a network of mobile_sr.models, whatever its weights.

    It is the larger of two measurements. On a black image, with positive kernels and no biases, the response is not lost in the
    rounding of larger values, however small it is at its edge. On noise, with random kernels, factors of an attention count,
    too: on black they multiply zeros.

    Args:
        config: its configuration.

    Returns:
        (LR pixels to each side at which a change has an effect, whether it reaches the border of the image).
    """
    length = _length(models.receptive_field(config), models.smallest_side(config))
    short = max(_SHORT, models.smallest_side(config))
    measured = []
    with quiet():
        model = models.build({**config, "output_activation": "linear"})
        runner = adapters.Runner(model, config)
        for values, level in ((_positive, 0.0), (_random, 1.0)):
            rng = np.random.default_rng(0)
            model.set_weights([values(weight, rng) for weight in model.weights])
            measured += [_reach(runner.batch, size, config["scale"], level) for size in ((length, short), (short, length))]
    return max(distance for distance, _ in measured), any(border for _, border in measured)


def of_runner(
    run: Callable[[np.ndarray], np.ndarray], scale: int, expected: int | None, size: tuple[int, int] | None
) -> tuple[int, bool]:
    """Measures the receptive field of a network with its own weights, a lower bound: far effects vanish by rounding.

    Args:
        run: function from [H, W, 3] uint8 to [H * s, W * s, 3] float32.
        scale: scale factor.
        expected: LR pixels to each side that are expected, None if unknown.
        size: (H, W) of a fixed input, None for any.

    Returns:
        As `of_config`.
    """
    length = _length(expected, 1)

    def batch(images: np.ndarray) -> np.ndarray:
        return np.stack([run((64 + 96 * image).astype(np.uint8)) for image in images])

    sizes = [size] if size else [(length, 2 * _SHORT), (2 * _SHORT, length)]
    measured = [_reach(batch, one, scale, 1.0) for one in sizes]
    return max(distance for distance, _ in measured), any(border for _, border in measured)


def runs_at(config: Mapping[str, Any], side: int) -> bool:
    """Whether a network of mobile_sr.models has a finite output of the right size for an image of `side` x `side` pixels."""
    image = np.random.default_rng(0).random((1, side, side, 3)).astype(np.float32)
    with quiet():
        model = models.build(dict(config))
        try:
            sr = adapters.Runner(model, config).batch(image)
        except Exception:  # whatever the backend raises for an empty tensor
            return False
    return sr.shape[1:3] == (side * config["scale"],) * 2 and bool(np.isfinite(sr).all())


def _length(field: int | None, smallest: int) -> int:
    return max(2 * ((UNKNOWN_FIELD if field is None else field) + MARGIN) + 1, smallest)


def _positive(weight: keras.Variable, rng: np.random.Generator) -> np.ndarray:
    """Positive kernels and factors, zero biases.

    In a layer the response grows at its center and shrinks at its edge by the same factor, so that after dozens of layers
    neither leaves the range of float32.
    """
    if _is_offset(weight):
        return np.zeros(weight.shape, np.float32)
    return (rng.uniform(0.5, 1.5, weight.shape) / _fan(weight)).astype(np.float32)


def _random(weight: keras.Variable, rng: np.random.Generator) -> np.ndarray:
    """Normally distributed kernels that keep the size of the values, small biases, factors around 1."""
    if _is_offset(weight):
        return rng.normal(0, 0.1, weight.shape).astype(np.float32)
    if len(weight.shape) < 2:
        return rng.uniform(0.5, 1.5, weight.shape).astype(np.float32)
    return (rng.normal(0, 1.5, weight.shape) / math.sqrt(_fan(weight, 1.0))).astype(np.float32)


def _is_offset(weight: keras.Variable) -> bool:
    return weight.name.endswith(("bias", "beta", "mean"))


def _fan(weight: keras.Variable, power: float = 0.5) -> float:
    """Inputs of one output times the number of taps to a power; 1 for factors."""
    shape = tuple(weight.shape)
    if len(shape) < 2:
        return 1.0
    inputs = 1 if "depthwise" in weight.path else shape[-2]
    return float(math.prod(shape[:-2]) ** power * inputs)


def _reach(batch: Batch, size: tuple[int, int], scale: int, level: float) -> tuple[int, bool]:
    """Returns the largest distance of an effect along the longer axes in LR pixels, and whether one reaches the border."""
    height, width = size
    image = (np.random.default_rng(1).random((height, width, 3)) * level).astype(np.float32)
    middles = [(height // 2 + offset, width // 2 + offset) for offset in _OFFSETS if offset < min(size) // 2]
    images = np.stack([image, *(image.copy() for _ in middles)])
    for changed, (y, x) in zip(images[1:], middles, strict=True):
        changed[y, x] = 1.0 - np.round(changed[y, x])  # by at least a half
    base, *others = batch(images)
    distance, border = 0, False
    for sr, middle in zip(others, middles, strict=True):
        for axis, side in enumerate(size):
            found = np.flatnonzero(np.any(sr != base, axis=(1 - axis, 2))) // scale
            if side == max(size) and found.size:
                distance = max(distance, int(middle[axis] - found[0]), int(found[-1] - middle[axis]))
                border = border or bool(found[0] == 0 or found[-1] == side - 1)
    return distance, border
