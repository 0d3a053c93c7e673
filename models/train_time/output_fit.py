"""Least-squares fit of new last convolutions on trained features, as a start for training.

Weights that come from another scale, or from a network without exits, lack last convolutions. Random ones would first spoil the
features: their large error changes all layers before it is small. The best last convolution for given features is the solution
of a linear least-squares problem, so training starts from there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

import keras
import numpy as np

from mobile_sr.models.layers import ClippedReLU, DepthToSpace

Images = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]
_RIDGE = 1e-6  # of the mean square of the inputs: channels that are always zero would make the problem singular


def fit(model: keras.Model, loaded: Collection[str], images: Images) -> set[str]:
    """Fits the last convolutions that were not loaded. A clip after them is ignored.

    Fitted is a convolution that DepthToSpace follows, with a clip at most in between, if everything before it was loaded.
    All others keep their initial weights.

    Args:
        model: network with one input, [N, h, w, 3] in 0..1. Modified in place.
        loaded: paths of the variables that were loaded from a file.
        images: returns batches of LR [N, h, w, 3] and HR [N, h * scale, w * scale, 3] images in 0..1.
    Returns: the paths of the variables that were set.
    """
    layers = list(_missing(model, {*loaded}))
    if not layers:
        return set()
    features = keras.Model(model.inputs, [layer.input for layer in layers])
    sums = [_Sums(layer.kernel_size) for layer in layers]
    for lr, hr in images():
        targets = _space_to_depth(hr, hr.shape[1] // lr.shape[1])
        for each, value in zip(sums, keras.tree.flatten(features.predict_on_batch(lr)), strict=True):
            each.add(np.asarray(value), targets)
    for layer, each in zip(layers, sums, strict=True):
        layer.set_weights(each.solution())
    return {variable.path for layer in layers for variable in layer.variables}


def _missing(model: keras.Model, loaded: set[str]) -> Iterator[keras.layers.Conv2D]:
    """The convolutions that `fit` fits."""
    for shuffle in model.layers:
        if not isinstance(shuffle, DepthToSpace):
            continue
        layer = shuffle.input._keras_history.operation
        if isinstance(layer, ClippedReLU):
            layer = layer.input._keras_history.operation
        if type(layer) is not keras.layers.Conv2D or {variable.path for variable in layer.variables} & loaded:
            continue
        plain = layer.strides == layer.dilation_rate == (1, 1) and layer.groups == 1 and layer.padding == "same"
        linear = layer.use_bias and layer.activation is keras.activations.linear
        before = keras.Model(model.inputs, layer.input)
        if plain and linear and {variable.path for variable in before.variables} <= loaded:
            yield layer


def _space_to_depth(hr: np.ndarray, scale: int) -> np.ndarray:
    """[N, h * scale, w * scale, 3] -> [N * h * w, scale * scale * 3], the inverse of DepthToSpace."""
    n, height, width, channels = hr.shape
    blocks = hr.reshape(n, height // scale, scale, width // scale, scale, channels)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(-1, scale * scale * channels)


class _Sums:
    """The normal equations of a SAME convolution, summed over batches."""

    def __init__(self, sides: tuple[int, int]) -> None:
        self.sides = sides
        self.square = self.cross = np.zeros(())

    def add(self, features: np.ndarray, targets: np.ndarray) -> None:
        """Adds [N, h, w, C] features and their [N * h * w, F] targets."""
        pads = [((side - 1) // 2, side // 2) for side in self.sides]
        padded = np.pad(features, [(0, 0), *pads, (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.sides, (1, 2))  # [N, h, w, C, rows, columns]
        rows = windows.transpose(0, 1, 2, 4, 5, 3).reshape(len(targets), -1).astype(np.float64)
        rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        self.square, self.cross = self.square + rows.T @ rows, self.cross + rows.T @ targets

    def solution(self) -> list[np.ndarray]:
        """Returns [kernel, bias]."""
        inputs = len(self.square) - 1
        penalty = np.append(np.full(inputs, _RIDGE * np.trace(self.square[:-1, :-1]) / inputs), 0)
        values = np.linalg.lstsq(self.square + np.diag(penalty), self.cross)[0]  # also if all inputs are 0
        return [values[:-1].reshape(*self.sides, -1, values.shape[1]), values[-1]]
