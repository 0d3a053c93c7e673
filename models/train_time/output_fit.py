"""Least-squares fit of new last convolutions on trained features, as a start for training.

Weights that come from another scale, or from a network without exits, lack last convolutions. Random ones would first spoil the
features: their large error changes all layers before it is small. The best last convolution for given features is the solution
of a linear least-squares problem, so training starts from there.

An upsampler of several layers, such as EDSR's (classic/upsampling.py), computes that solution, too: its first convolution gets
the kernel, and three channels of each pixel pass through the others. All further channels end in weights of 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import keras
import numpy as np

from mobile_sr.models.layers import ClippedReLU, DepthToSpace

Images = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]
_RIDGE = 1e-6  # of the mean square of the inputs: channels that are always zero would make the problem singular


def fit(model: keras.Model, loaded: Collection[str], images: Images, further: Sequence[float] = ()) -> set[str]:
    """Fits the last convolutions that were not loaded. A clip after them is ignored.

    Fitted are a convolution that DepthToSpace follows, with a clip at most in between, and an upsampler of sub-pixel
    convolutions and a last convolution to RGB, if everything before it was loaded. All others keep their initial weights.

    Args:
        model: network with the input [N, h, w, 3] in 0..1 and `further` ones. Modified in place.
        loaded: paths of the variables that were loaded from a file.
        images: returns batches of LR [N, h, w, 3] and HR [N, h * scale, w * scale, 3] images in 0..1.
        further: the values of further inputs [N, 1], such as a desired depth.
    Returns: the paths of the variables that were set.
    """
    ends = list(_missing(model, {*loaded}))
    if not ends:
        return set()
    features = keras.Model(model.inputs, [end.first.input for end in ends])
    sums = [_Sums(end.first.kernel_size) for end in ends]
    for lr, hr in images():
        inputs = [lr, *(np.full((len(lr), 1), value, np.float32) for value in further)]
        found = features.predict_on_batch(inputs if further else lr)
        for end, each, value in zip(ends, sums, keras.tree.flatten(found), strict=True):
            each.add(np.asarray(value), end.targets(hr))
    for end, each in zip(ends, sums, strict=True):
        end.set(*each.solution())
    return {variable.path for end in ends for layer in end.layers for variable in layer.variables}


@dataclasses.dataclass
class _End:
    """The last layers of a network.

    Attributes:
        stages: (convolution, factor of the DepthToSpace behind it), in the order of execution.
        last: the convolution to RGB behind them, None without one.
    """

    stages: list[tuple[keras.layers.Conv2D, int]]
    last: keras.layers.Conv2D | None = None

    @property
    def first(self) -> keras.layers.Conv2D:
        return self.stages[0][0]

    @property
    def layers(self) -> list[keras.layers.Conv2D]:
        return [convolution for convolution, _ in self.stages] + ([self.last] if self.last else [])

    def fits(self) -> bool:
        """Whether the channels suffice to pass the image on."""
        channels = [convolution.filters // factor**2 for convolution, factor in self.stages]
        needed = [3 * int(np.prod([factor**2 for _, factor in self.stages[k + 1 :]])) for k in range(len(self.stages))]
        if self.last is None:
            return channels == [3]
        return all(have >= want for have, want in zip(channels, needed, strict=True))

    def targets(self, hr: np.ndarray) -> np.ndarray:
        """HR images [N, H, W, 3] as the results of the first convolution that pass through the others, [positions, F]."""
        for _, factor in reversed(self.stages):
            hr = _space_to_depth(hr, factor)
        return hr.reshape(-1, hr.shape[-1])

    def set(self, kernel: np.ndarray, bias: np.ndarray) -> None:
        """Give the layers the weights that compute a convolution to `targets`."""
        for (convolution, factor), following in zip(self.stages, [*self.layers[1:], None], strict=False):
            own, own_bias = convolution.get_weights()
            phases = factor**2
            parts = own.reshape(*own.shape[:3], phases, -1), own_bias.reshape(phases, -1)
            passed = kernel.shape[-1] // phases
            parts[0][..., :passed] = kernel.reshape(*kernel.shape[:3], phases, passed)
            parts[1][..., :passed] = bias.reshape(phases, passed)
            convolution.set_weights([own, own_bias])
            if following is not None:
                kernel, bias = _identity(following.kernel.shape, passed), np.zeros(passed)
        if self.last is not None:
            self.last.set_weights([kernel, bias])


def _identity(shape: Sequence[int], passed: int) -> np.ndarray:
    """A kernel [rows, columns, C, passed] that passes the first channels on."""
    kernel = np.zeros((*shape[:3], passed))
    kernel[(shape[0] - 1) // 2, (shape[1] - 1) // 2, range(passed), range(passed)] = 1
    return kernel


def _missing(model: keras.Model, loaded: set[str]) -> Iterator[_End]:
    """The ends of a network that `fit` fits: a convolution of them was not loaded, and everything before them was."""
    for layer in model.layers:
        end = _end(layer)
        if end is None or not end.fits() or not all(map(_is_plain, end.layers)):
            continue
        if all({variable.path for variable in each.variables} & loaded for each in end.layers):
            continue
        before = keras.Model(model.inputs, end.first.input)
        if {variable.path for variable in before.variables} <= loaded:
            yield end


def _end(layer: keras.layers.Layer) -> _End | None:
    """The end of a network that a layer belongs to as the last one with weights, or as the DepthToSpace behind it."""
    if len(layer._inbound_nodes) != 1:  # a shared layer
        return None
    if isinstance(layer, DepthToSpace):
        convolution = _before(layer)
        if isinstance(convolution, ClippedReLU):
            convolution = _before(convolution)
        return _End([(convolution, layer.block_size)]) if type(convolution) is keras.layers.Conv2D else None
    if type(layer) is not keras.layers.Conv2D or layer.filters != 3:
        return None
    stages: list[tuple[keras.layers.Conv2D, int]] = []
    shuffle = _before(layer)
    while isinstance(shuffle, DepthToSpace) and type(_before(shuffle)) is keras.layers.Conv2D:
        stages.insert(0, (_before(shuffle), shuffle.block_size))
        shuffle = _before(stages[0][0])
    return _End(stages, layer) if stages else None


def _before(layer: keras.layers.Layer) -> keras.layers.Layer:
    return layer.input._keras_history.operation


def _is_plain(layer: keras.layers.Conv2D) -> bool:
    plain = layer.strides == layer.dilation_rate == (1, 1) and layer.groups == 1 and layer.padding == "same"
    return plain and layer.use_bias and layer.activation is keras.activations.linear


def _space_to_depth(hr: np.ndarray, factor: int) -> np.ndarray:
    """[N, h * factor, w * factor, C] -> [N, h, w, factor * factor * C], the inverse of DepthToSpace."""
    n, height, width, channels = hr.shape
    blocks = hr.reshape(n, height // factor, factor, width // factor, factor, channels)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(n, height // factor, width // factor, -1)


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
