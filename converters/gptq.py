"""Weight rounding that looks at the layer's inputs, instead of to the nearest integer.

The integers of a kernel are chosen one input weight after the other; what rounding one of them does to the layer's output
is taken back by the weights that are still to be rounded (Frantar et al., "GPTQ", ICLR 2023, Sec. 3, which follows LeCun's
"Optimal Brain Damage"), with the second moments of the layer's inputs measured on images. What is left of the mean error
goes into the bias (Nagel et al., ICCV 2019, Sec. 4.2). No training; a second or two for these networks.
"""

import math

import numpy as np

from mobile_sr.converters.activations import activations

POSITIONS = 40_000  # of the images, on which a layer's second moments are taken
DAMPING = 0.005  # added to the moments' diagonal, as a share of its mean


def round_weights(model, images, per_tensor=False):
    """Weights whose kernels lie on the grid that TensorFlow's converter gives them: steps of max |w| / 127.

    Depthwise kernels, of 9 weights a channel, are left to the converter's rounding.

    Args:
        model: a functional Keras model of the layers of mobile_sr.models; it is left as it is.
        images: as for `activations`, in 0..1.
        per_tensor: one grid for a kernel, else one for each of its output channels.
    Returns: list for model.set_weights.
    """
    layers = [layer for layer in model.layers if hasattr(layer, "kernel") and type(layer).__name__ != "DepthwiseConv2D"]
    pixels = sum(math.prod((image[0] if isinstance(image, tuple) else image).shape[1:3]) for image in images)
    every = max(1, round((pixels / POSITIONS) ** 0.5))
    seen = [InputHessian() for _ in layers]
    for batch in activations(model, [layer.input for layer in layers], images):
        for layer, values, moments in zip(layers, batch, seen, strict=True):
            size, groups = _kernel(layer).shape[:2], getattr(layer, "groups", 1)
            moments.add(_patches(values, size, groups, every))
    rounded = {layer.name: _round_layer(layer, moments, per_tensor) for layer, moments in zip(layers, seen, strict=True)}
    return [w for layer in model.layers for w in rounded.get(layer.name, layer.get_weights())]


def _kernel(layer):
    """The layer's kernel as an ordinary convolution's, [k, k, C_in / groups, C_out] float64."""
    import keras

    kernel = layer.phases(layer.kernel) if hasattr(layer, "phases") else layer.kernel
    return keras.ops.convert_to_numpy(kernel).astype(np.float64)


def _patches(x, size, groups, every):
    """What each output position of a SAME convolution sees: [positions, groups, kernel height * width * C / groups].

    For one with a stride, whose positions are a part of these, that is what they see on average.
    """
    x = np.pad(x, ((0, 0), *((side // 2, side // 2) for side in size), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))[:, ::every, ::every]
    parts = windows.reshape(*windows.shape[:3], groups, -1, *size)  # [1, h, w, groups, C / groups, k, k]
    return np.moveaxis(parts, 4, 6).reshape(-1, groups, parts.shape[4] * size[0] * size[1]).astype(np.float32)


class InputHessian:
    """Sums over what the positions of a layer see; the patches of a large network's layers would not fit into memory.

    They are of the distances from the first images' mean: inputs far from 0 that hardly vary keep their covariance so.
    """

    def __init__(self):
        self.count, self.shift, self.sums, self.products = 0, None, 0.0, 0.0

    def add(self, patches):
        """patches: [positions, groups, inputs] float32, multiplied as such and summed in float64."""
        groups = patches.swapaxes(0, 1)
        if self.shift is None:
            self.shift = groups.mean(axis=1, dtype=np.float64).astype(np.float32)
        groups = groups - self.shift[:, None]
        self.count += len(patches)
        self.sums = self.sums + groups.sum(axis=1, dtype=np.float64)
        self.products = self.products + groups.swapaxes(1, 2) @ groups

    def of(self, group):
        """(mean [inputs], covariance [inputs, inputs]) of a group."""
        mean = self.sums[group] / self.count
        return self.shift[group] + mean, self.products[group] / self.count - np.outer(mean, mean)


def _round_layer(layer, seen, per_tensor):
    """[kernel, bias] of a layer, or [kernel] of one without, rounded; `seen`: the InputHessian of its inputs."""
    kernel, biases = _kernel(layer), layer.get_weights()[1:]
    groups = len(seen.sums)
    steps = np.abs(kernel).max(axis=None if per_tensor else (0, 1, 2), keepdims=True).reshape(-1) / 127
    steps = np.broadcast_to(np.maximum(steps, 1e-12), kernel.shape[-1])
    flat = kernel.reshape(-1, kernel.shape[-1])
    rounded, moved = np.empty_like(flat), np.empty(flat.shape[1])
    for group, columns in enumerate(np.split(np.arange(flat.shape[1]), groups)):
        mean, moments = seen.of(group)  # the bias takes the mean
        rounded[:, columns] = _gptq(flat[:, columns], moments, steps[columns])
        moved[columns] = mean @ (flat[:, columns] - rounded[:, columns])
    if not hasattr(layer, "phases"):
        return [rounded.reshape(kernel.shape).astype(np.float32), *((bias + moved).astype(np.float32) for bias in biases)]
    bias = np.array(biases[0], np.float64)
    moved = moved.reshape(-1, len(bias)).mean(axis=0)  # the bias is one for all phases
    return [layer.from_phases(rounded.reshape(kernel.shape)).astype(np.float32), (bias + moved).astype(np.float32)]


def _gptq(weights, moments, steps):
    """Weights [inputs, outputs] on the grid of `steps` [outputs], for inputs with the second moments [inputs, inputs].

    The largest weight of every column stays at +-127 steps (of a shared grid: where it is that large), so that the
    converter finds the same grid.
    """
    spread = np.diag(moments).mean()
    if spread == 0:  # the layer sees constants
        return np.round(weights / steps) * steps
    order = np.argsort(-np.diag(moments), kind="stable")
    moments = moments[np.ix_(order, order)] + np.eye(len(order)) * DAMPING * spread
    left = weights[order].copy()
    ends = np.round(left / steps)
    ends[np.abs(ends) < 127] = 0
    factor = np.linalg.cholesky(np.linalg.inv(moments)).T
    rounded = np.empty_like(left)
    for row in range(len(order)):
        whole = np.where(ends[row] != 0, ends[row], np.clip(np.round(left[row] / steps), -127, 127))
        rounded[row] = whole * steps
        left[row:] -= np.outer(factor[row, row:], (left[row] - rounded[row]) / factor[row, row])
    result = np.empty_like(rounded)
    result[order] = rounded
    return result
