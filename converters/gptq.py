"""GPTQ: rounds weights with regard to the layer's inputs instead of to the nearest integer.

The integers of a kernel are chosen one input weight at a time. The weights that are still to be rounded compensate for the
effect of each rounding on the layer's output (Frantar et al., "GPTQ", ICLR 2023, Sec. 3, which follows LeCun's "Optimal Brain
Damage"). The method uses the second moments of the layer's inputs, measured on images. The bias compensates for the remaining
mean error (Nagel et al., ICCV 2019, Sec. 4.2). No training is needed; these networks take a second or two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr.converters.activations import activations

if TYPE_CHECKING:
    import keras

POSITIONS = 40_000  # approximate number of image positions on which the second moments of a layer are measured
DAMPING = 0.005  # added to the diagonal of the moments, as a share of its mean


def round_weights(
    model: keras.Model, images: Sequence[np.ndarray | tuple[np.ndarray, ...]], per_tensor: bool = False
) -> list[np.ndarray]:
    """Round the kernels to the values that TensorFlow's converter can represent: multiples of max |w| / 127.

    Depthwise kernels have only 9 weights per channel; they are left to the converter's rounding.

    Args:
        model: a functional Keras model that consists of the layers of mobile_sr.models. It is not changed.
        images: images in 0..1, in the form that `activations` accepts.
        per_tensor: use one scale for a whole kernel instead of one for each of its output channels.

    Returns:
        The weights for model.set_weights.
    """
    layers = [layer for layer in model.layers if hasattr(layer, "kernel") and type(layer).__name__ != "DepthwiseConv2D"]
    pixels = sum(math.prod((image[0] if isinstance(image, tuple) else image).shape[1:3]) for image in images)
    step = max(1, round((pixels / POSITIONS) ** 0.5))
    hessians = [InputHessian() for _ in layers]
    for batch in activations(model, [layer.input for layer in layers], images):
        for layer, values, hessian in zip(layers, batch, hessians, strict=True):
            size, groups = _kernel(layer).shape[:2], getattr(layer, "groups", 1)
            hessian.add(_patches(values, size, groups, step))
    rounded = {layer.name: _round_layer(layer, hessian, per_tensor) for layer, hessian in zip(layers, hessians, strict=True)}
    return [w for layer in model.layers for w in rounded.get(layer.name, layer.get_weights())]


def _kernel(layer: keras.layers.Layer) -> np.ndarray:
    """The layer's kernel in the form of an ordinary convolution, [k, k, C_in / groups, C_out] float64."""
    import keras

    kernel = layer.phases(layer.kernel) if hasattr(layer, "phases") else layer.kernel
    return keras.ops.convert_to_numpy(kernel).astype(np.float64)


def _patches(x: np.ndarray, size: Sequence[int], groups: int, step: int) -> np.ndarray:
    """The inputs of each output position of a SAME convolution, [positions, groups, kernel height * width * C / groups].

    Only every `step`-th row and column is included. The positions of a strided convolution are a subset of these; on average
    they have the same inputs.
    """
    x = np.pad(x, ((0, 0), *((side // 2, side // 2) for side in size), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))[:, ::step, ::step]
    parts = windows.reshape(*windows.shape[:3], groups, -1, *size)  # [1, h, w, groups, C / groups, k, k]
    return np.moveaxis(parts, 4, 6).reshape(-1, groups, parts.shape[4] * size[0] * size[1]).astype(np.float32)


class InputHessian:
    """Running sums of a layer's input patches and their products; the patches of a large network would not fit into memory.

    The mean of the first images is subtracted from all patches. This keeps the covariance of inputs that are far from 0 and
    hardly vary.
    """

    def __init__(self) -> None:
        self.count = 0  # positions so far
        self.shift: np.ndarray | None = None  # [groups, inputs], subtracted from all patches
        self.sums: Any = 0.0  # [groups, inputs] from the first `add` on
        self.products: Any = 0.0  # [groups, inputs, inputs] from the first `add` on

    def add(self, patches: np.ndarray) -> None:
        """Add patches, [positions, groups, inputs] float32; products are float32, sums of the patches float64."""
        groups = patches.swapaxes(0, 1)
        if self.shift is None:
            self.shift = groups.mean(axis=1, dtype=np.float64).astype(np.float32)
        groups = groups - self.shift[:, None]
        self.count += len(patches)
        self.sums = self.sums + groups.sum(axis=1, dtype=np.float64)
        self.products = self.products + groups.swapaxes(1, 2) @ groups

    def of(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean [inputs] and the covariance [inputs, inputs] of a group."""
        assert self.shift is not None, "no patches were added"
        mean = self.sums[group] / self.count
        return self.shift[group] + mean, self.products[group] / self.count - np.outer(mean, mean)


def _round_layer(layer: keras.layers.Layer, hessian: InputHessian, per_tensor: bool) -> list[np.ndarray]:
    """The rounded [kernel, bias] of a layer, or [kernel] without a bias. `hessian` is that of the layer's inputs."""
    kernel, biases = _kernel(layer), layer.get_weights()[1:]
    groups = len(hessian.sums)
    steps = np.abs(kernel).max(axis=None if per_tensor else (0, 1, 2), keepdims=True).reshape(-1) / 127
    steps = np.broadcast_to(np.maximum(steps, 1e-12), kernel.shape[-1])
    flat = kernel.reshape(-1, kernel.shape[-1])
    rounded, mean_error = np.empty_like(flat), np.empty(flat.shape[1])
    for group, columns in enumerate(np.split(np.arange(flat.shape[1]), groups)):
        mean, moments = hessian.of(group)
        rounded[:, columns] = _gptq(flat[:, columns], moments, steps[columns])
        mean_error[columns] = mean @ (flat[:, columns] - rounded[:, columns])  # the bias compensates for it
    if not hasattr(layer, "phases"):
        return [rounded.reshape(kernel.shape).astype(np.float32), *((bias + mean_error).astype(np.float32) for bias in biases)]
    bias = np.array(biases[0], np.float64)
    mean_error = mean_error.reshape(-1, len(bias)).mean(axis=0)  # all phases share one bias
    return [layer.from_phases(rounded.reshape(kernel.shape)).astype(np.float32), (bias + mean_error).astype(np.float32)]


def _gptq(weights: np.ndarray, moments: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Round weights [inputs, outputs] to multiples of `steps` [outputs], for inputs with second moments [inputs, inputs].

    The largest weight of every column stays at +-127 steps (with a shared scale: where it is that large). The converter then
    derives the same scale.
    """
    spread = np.diag(moments).mean()
    if spread == 0:  # all inputs of the layer are constant
        return np.round(weights / steps) * steps
    order = np.argsort(-np.diag(moments), kind="stable")
    moments = moments[np.ix_(order, order)] + np.eye(len(order)) * DAMPING * spread
    remaining = weights[order].copy()
    extremes = np.round(remaining / steps)
    extremes[np.abs(extremes) < 127] = 0
    factor = np.linalg.cholesky(np.linalg.inv(moments)).T
    rounded = np.empty_like(remaining)
    for row in range(len(order)):
        integers = np.where(extremes[row] != 0, extremes[row], np.clip(np.round(remaining[row] / steps), -127, 127))
        rounded[row] = integers * steps
        remaining[row:] -= np.outer(factor[row, row:], (remaining[row] - rounded[row]) / factor[row, row])
    result = np.empty_like(rounded)
    result[order] = rounded
    return result
