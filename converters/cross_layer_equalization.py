"""Cross-layer equalization: gives every channel of a tensor the same range, so that 8 bits represent all channels equally well.

A channel between a convolution and the convolutions that read it may be scaled by any s > 0 if everything in between is
positively homogeneous: nothing, ReLU, PReLU, LeakyReLU, concatenation, addition, maxima, resizing, a product with a mask. The
producer's weights and bias are multiplied by s, and the readers' input weights are divided by it.

A channel may also be shifted if nothing non-linear is in between and all readers are 1x1 convolutions, whose biases undo the
shift. (A larger kernel would see the shift end at the image border.) In both cases the network's output does not change, up
to float rounding.

Scaling follows Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, Sec. 4.1,
but uses the ranges of the *activations*, measured on images: these networks lose quality there
(docs/measurements/quantization.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mobile_sr.converters.activations import activations

if TYPE_CHECKING:
    import keras

    Images = Sequence[np.ndarray | tuple[np.ndarray, ...]]

STRENGTH = 1.0  # chosen on DIV2K validation crops, docs/measurements/quantization.md
MAX_SCALE = 64.0  # limit of the scale, for channels that are nearly always zero: their weights must stay usable numbers
_CONVOLUTIONS = ("Conv2D", "GroupedConv2D", "SubPixelConv2DTranspose", "SpreadConv2D", "DepthwiseConv2D")
# Layers that commute with scale and shift; their input and output share a range.
_MOVES = ("ChannelRange", "MaxPooling2D", "ResizeLike", "EdgePad")


def equalize(
    model: keras.Model, images: Images, strength: float = STRENGTH, center: bool = True
) -> tuple[list[np.ndarray], dict[str, dict[str, float]]]:
    """Equalize a functional Keras model.

    Args:
        model: a model that consists of the layers of mobile_sr.models. It is not changed.
        images: images in 0..1 on which the ranges are measured, in the form that `activations` accepts.
        strength: exponent of the scales, from 0 (all scales are 1) to 1 (equal ranges).
        center: also shift channels, where possible, to make their ranges symmetric.

    Returns:
        The weights for model.set_weights, and {layer name: {"largest_scale", "largest_shift"}} of the changed layers.
    """
    graph = _Graph(model)
    lows, highs = graph.ranges(_ranges(model, graph.tensors, images))
    shift = np.zeros(lows.shape[1])
    if center:
        free = graph.shiftable()
        shift[free] = (lows.min(axis=0)[free] + highs.max(axis=0)[free]) / 2
    return _apply(model, graph, graph.scales(lows - shift, highs - shift, strength), shift)


def shared_ranges(model: keras.Model, images: Images) -> dict[str, tuple[float, float]]:
    """Measure the output range of every layer; layers that share a range in a .tflite file get the same one.

    Args:
        model: as for `equalize`.
        images: as for `equalize`.

    Returns:
        {layer name: (minimum, maximum)}. Every range includes 0.
    """
    graph = _Graph(model)
    lows, highs = graph.ranges(_ranges(model, graph.tensors, images))
    indices = {name: _root(graph._ranges, tensor.shared_range) for name, tensor in graph.tensors.items()}
    return {name: (min(0.0, lows[index].min()), max(0.0, highs[index].max())) for name, index in indices.items()}


def _apply(
    model: keras.Model, graph: _Graph, scale: np.ndarray, shift: np.ndarray
) -> tuple[list[np.ndarray], dict[str, dict[str, float]]]:
    """`equalize`'s result for the scale and shift of every channel group; shifts are in units of the unscaled channels."""
    weights, record = [], {}
    for layer in model.layers:
        values = [np.array(w, np.float64) for w in layer.get_weights()]
        if layer.name in graph.inputs:
            kernel, *biases = values
            before = graph.indices(graph.inputs[layer.name])
            if np.any(shift[before]):  # only possible for a 1x1 convolution
                biases = [bias + shift[before] @ kernel[0, 0] for bias in biases]
            kernel = kernel / _on_inputs(layer, scale[before])
            if layer.name in graph.producers:
                own = graph.indices(graph.producers[layer.name])
                output_scale = scale[own][:, None] if type(layer).__name__ == "DepthwiseConv2D" else scale[own]
                kernel, biases = kernel * output_scale, [(bias - shift[own]) * scale[own] for bias in biases]
                if np.any(scale[own] != 1) or np.any(shift[own]):
                    largest = float(np.abs(shift[own]).max())
                    record[layer.name] = {"largest_scale": float(scale[own].max()), "largest_shift": largest}
            values = [kernel, *biases]
        weights += [value.astype(np.float32) for value in values]
    return weights, record


def _on_inputs(layer: keras.layers.Layer, scale: np.ndarray) -> np.ndarray:
    """The scales [C_in] of a layer's input in a shape that broadcasts against its kernel."""
    if type(layer).__name__ == "SubPixelConv2DTranspose":  # [k, k, filters, C_in]
        return scale
    groups = getattr(layer, "groups", 1)
    if groups == 1:
        return scale[:, None]  # [k, k, C_in, C_out]
    per_group = scale.reshape(groups, -1)  # [groups, C_in / groups]; output channel o reads group o // (C_out / groups)
    return np.repeat(per_group, layer.kernel.shape[-1] // groups, axis=0).T


@dataclasses.dataclass
class _Tensor:
    """A layer's output: the channel group of each channel, and the shared range that the tensor belongs to.

    The channels of a group have one scale and one shift. Tensors with a shared range have one scale and zero point.
    """

    groups: list[int]
    shared_range: int


class _Graph:
    """Finds which channels of which layers may be scaled or shifted, and which must be scaled and shifted together.

    Channel groups and shared ranges are numbers in union-find forests. Channel group 0 has the scale 1 and the shift 0.

    Attributes:
        tensors: {layer name: _Tensor} of the output of every layer.
        inputs: {layer name: channel groups of the input} of the convolutions.
        producers: {layer name: channel groups of the output} of the convolutions whose output may be scaled.
    """

    def __init__(self, model: keras.Model) -> None:
        self._parent: list[int] = [0]
        self._ranges: list[int] = []
        self._fixed = {0}  # channel groups that must not be shifted
        self.tensors: dict[str, _Tensor] = {}
        self.inputs: dict[str, list[int]] = {}
        self.producers: dict[str, list[int]] = {}
        visited: dict[int, _Tensor] = {}
        for layer in model.layers:
            sources = layer.input if isinstance(layer.input, list) else [layer.input]
            visited[id(layer.output)] = self._visit(layer, [visited.get(id(s)) for s in sources])
        for output in model.outputs:
            self._pin(visited[id(output)])

    def _visit(self, layer, inputs) -> _Tensor:
        kind, channels = type(layer).__name__, layer.output.shape[-1]
        if kind in _CONVOLUTIONS:
            tensor = self._convolution(layer, kind, inputs[0], channels)
        elif kind == "Concatenate":
            tensor = _Tensor([group for t in inputs for group in t.groups], self._new_range())
            for t in inputs:  # a quantized CONCATENATION has one scale and zero point for all of them
                self._ranges[_root(self._ranges, t.shared_range)] = _root(self._ranges, tensor.shared_range)
        elif kind == "PadChannels":  # a quantized PAD keeps its input's scale
            new_groups = self._new_groups(channels - len(inputs[0].groups))
            tensor = _Tensor(inputs[0].groups + new_groups, inputs[0].shared_range)
            self._fixed.update(tensor.groups)
        elif kind == "MixOfActivations":  # homogeneous except for the channels with tanh
            self._fixed.update(inputs[0].groups)
            for group in inputs[0].groups[layer.straight :]:
                self._join(group, 0)
            tensor = _Tensor(inputs[0].groups, self._new_range())
        elif kind in _MOVES:
            first = getattr(layer, "first", 0)
            tensor = _Tensor(inputs[0].groups[first : first + channels], inputs[0].shared_range)
        elif kind in ("ReLU", "PReLU", "LeakyReLU", "Add"):
            for t in inputs:
                self._fixed.update(t.groups)
                for a, b in zip(inputs[0].groups, t.groups, strict=True):
                    self._join(a, b)
            tensor = _Tensor(inputs[0].groups, self._new_range())
        elif kind == "Multiply" and inputs[1]:  # by a mask
            self._fixed.update(inputs[0].groups)
            self._pin(inputs[1])
            tensor = _Tensor(inputs[0].groups, self._new_range())
        else:  # the input, and every layer that is not known to be homogeneous
            for t in inputs:
                self._pin(t)
            tensor = _Tensor([0] * channels, self._new_range())
        self.tensors[layer.name] = tensor
        return tensor

    def _convolution(self, layer: keras.layers.Layer, kind: str, source: _Tensor, channels: int) -> _Tensor:
        self.inputs[layer.name] = source.groups
        if kind != "Conv2D" or tuple(layer.kernel_size) != (1, 1) or layer.groups != 1:
            self._fixed.update(source.groups)
        tensor = _Tensor(self._new_groups(channels), self._new_range())
        activation = layer.activation.__name__ if hasattr(layer, "activation") else "linear"
        if kind == "SubPixelConv2DTranspose" or activation not in ("linear", "relu"):
            self._pin(tensor)
        else:
            own = getattr(layer, "positions", range(channels))
            self.producers[layer.name] = [tensor.groups[position] for position in own]
            if activation == "relu":
                self._fixed.update(tensor.groups)
        return tensor

    def _new_groups(self, count: int) -> list[int]:
        first = len(self._parent)
        self._parent += range(first, first + count)
        return list(range(first, first + count))

    def indices(self, groups: Iterable[int]) -> np.ndarray:
        """[C] indices into the arrays of `scales` and `shiftable`."""
        return np.array([_root(self._parent, group) for group in groups])

    def shiftable(self) -> np.ndarray:
        """[channel groups] bool: whether a group may be shifted."""
        fixed = {_root(self._parent, group) for group in self._fixed}
        return np.array([_root(self._parent, group) not in fixed for group in range(len(self._parent))])

    def ranges(self, measured: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """Combine {layer name: (minima [C], maxima [C])} into two [shared ranges, channel groups] arrays, minima and maxima.

        The entries are inf and -inf where a shared range does not contain a channel group.
        """
        lows = np.full((len(self._ranges), len(self._parent)), np.inf)
        highs = -lows
        for name, tensor in self.tensors.items():
            index, groups = _root(self._ranges, tensor.shared_range), self.indices(tensor.groups)
            np.minimum.at(lows[index], groups, measured[name][0])
            np.maximum.at(highs[index], groups, measured[name][1])
        return lows, highs

    def scales(self, lows: np.ndarray, highs: np.ndarray, strength: float) -> np.ndarray:
        """[channel groups]: how far each group may grow until it fills the tightest of its shared ranges."""
        scale = np.full(len(self._parent), MAX_SCALE)
        for limits in (-lows, highs):
            whole = limits.max(axis=1, keepdims=True)
            headroom = np.where(limits > 0, whole / np.maximum(limits, 1e-30), np.inf)
            scale = np.minimum(scale, headroom.min(axis=0) ** strength)
        scale[0] = 1.0
        return scale

    def _new_range(self) -> int:
        self._ranges.append(len(self._ranges))
        return len(self._ranges) - 1

    def _pin(self, tensor: _Tensor) -> None:
        """Forbid scaling and shifting the channels of a tensor."""
        for group in tensor.groups:
            self._join(group, 0)

    def _join(self, a: int, b: int) -> None:
        a, b = _root(self._parent, a), _root(self._parent, b)
        self._parent[max(a, b)] = min(a, b)


def _root(parent: Sequence[int], x: int) -> int:
    while parent[x] != x:
        x = parent[x]
    return x


def _ranges(model: keras.Model, names: Iterable[str], images: Images) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{layer name: (minima [C], maxima [C])} of the outputs of the named layers over all images."""
    ranges: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for batch in activations(model, [model.get_layer(name).output for name in names], images):
        for name, values in zip(names, batch, strict=True):
            axes = tuple(range(values.ndim - 1))
            low, high = values.min(axis=axes), values.max(axis=axes)
            if name in ranges:
                low, high = np.minimum(low, ranges[name][0]), np.maximum(high, ranges[name][1])
            ranges[name] = (low, high)
    return ranges
