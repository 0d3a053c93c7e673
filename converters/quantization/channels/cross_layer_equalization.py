"""Cross-layer equalization: gives every channel of a tensor the same range, so that 8 bits represent all channels equally well.

A channel between a convolution and the operators that read it may be scaled by any s > 0 if everything in between is
positively homogeneous: nothing, ReLU, PReLU, LeakyReLU, concatenation, addition, maxima, resizing, a product with a mask. The
producer's weights and bias are multiplied by s, and the readers' input weights are divided by it.

A channel may also be shifted if nothing non-linear is in between and all readers are 1x1 convolutions, whose biases undo the
shift. (A larger kernel would see the shift end at the image border.) In both cases the network's output does not change, up
to float rounding.

Scaling follows Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, Sec. 4.1,
but uses the ranges of the *activations*, measured on images: these networks lose quality there
(docs/measurements/quantization.md).

equalization_groups.py decides which channels may be scaled or shifted; operators it does not know are left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from mobile_sr.converters.quantization import weight_storage
from mobile_sr.converters.quantization.channels.equalization_groups import ChannelGroups
from mobile_sr.converters.quantization.float_graph import FloatGraph, Sample
from mobile_sr.converters.tflite.constants import BIASED

STRENGTH = 1.0  # chosen on DIV2K validation crops, docs/measurements/quantization.md
MAX_SCALE = 64.0  # limit of the scale, for channels that are nearly always zero: their weights must stay usable numbers


def equalize(
    graph: FloatGraph,
    samples: Sequence[Sample],
    strength: float = STRENGTH,
    center: bool = True,
    fixed: Collection[int] = (),
) -> dict[str, dict[str, float]]:
    """Equalize a float graph in place.

    Args:
        graph: the network.
        samples: inputs on which the ranges are measured, such as [1, H, W, 3] float32 images.
        strength: exponent of the scales, from 0 (all scales are 1) to 1 (equal ranges).
        center: also shift channels, where possible, to make their ranges symmetric.
        fixed: constant tensors of kernels that must not change.

    Returns:
        {layer name: {"largest_scale", "largest_shift"}} of the changed operators.
    """
    groups = ChannelGroups(graph, fixed)
    lows, highs = groups.combine(channel_ranges(graph, groups.tensors, samples))
    shift = np.zeros(lows.shape[1])
    if center:
        free = groups.shiftable()
        free &= np.isfinite(lows.min(axis=0))
        shift[free] = (lows.min(axis=0)[free] + highs.max(axis=0)[free]) / 2
    scale = _scales(lows - shift, highs - shift, strength)
    scale *= _class_scales((lows - shift) * scale, (highs - shift) * scale, strength)
    scale = np.minimum(scale, MAX_SCALE)
    return _apply(graph, groups, scale, shift)


def channel_ranges(
    graph: FloatGraph, tensors: Sequence[int], samples: Sequence[Sample]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return {tensor: (minima [C], maxima [C])} of activations over all samples; C is the last axis.

    An axis whose length depends on the sample, such as the pixels that attention reads, is one channel.
    """
    ranges: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def measure(tensor: int, values: np.ndarray) -> None:
        flat = values.reshape(-1, values.shape[-1]) if values.ndim else values.reshape(1, 1)
        low, high = flat.min(axis=0), flat.max(axis=0)
        if tensor in ranges:
            before = ranges[tensor]
            if len(low) != len(before[0]):
                low, high, before = low.min(keepdims=True), high.max(keepdims=True), (before[0].min(), before[1].max())
            low, high = np.minimum(low, before[0]), np.maximum(high, before[1])
        ranges[tensor] = (low, high)

    graph.visit(tensors, samples, measure)
    return ranges


def _scales(lows: np.ndarray, highs: np.ndarray, strength: float) -> np.ndarray:
    """[channel groups]: how far each group may grow until it fills the tightest of its shared ranges.

    `lows` and `highs` are [shared ranges, channel groups].
    """
    scale = np.full(lows.shape[1], MAX_SCALE)
    for limits in (-lows, highs):
        whole = limits.max(axis=1, keepdims=True)
        headroom = np.where(limits > 0, whole / np.maximum(limits, 1e-30), np.inf)
        scale = np.minimum(scale, headroom.min(axis=0) ** strength)
    scale[0] = 1.0
    return scale


def _classes(present: np.ndarray) -> list[np.ndarray]:
    """The channel groups that have the same shared ranges, such as those of a convolution's result, without group 0.

    `present` is [shared ranges, channel groups]: whether a range contains a group.
    """
    members: dict[bytes, list[int]] = {}
    for group in np.flatnonzero(present.any(axis=0)):
        members.setdefault(present[:, group].tobytes(), []).append(int(group))
    return [np.array(own) for own in members.values() if 0 not in own]


def _class_scales(lows: np.ndarray, highs: np.ndarray, strength: float) -> np.ndarray:
    """[channel groups]: factors with which whole classes fill the ranges that they share with others, in a concatenation.

    A range that only the channels of one class have grows with it, at no cost. A class also shrinks, to the width of channels
    that cannot be scaled, where it shares ranges with no others. Such channels are the gate of a gated layer, the input of a
    GELU, whose result multiplies the class. `lows` and `highs` are [shared ranges, channel groups].
    """
    factors = np.ones(lows.shape[1])
    present = np.isfinite(lows)
    for own in _classes(present):
        others = present.copy()
        others[:, own] = False
        common = others.any(axis=1) & present[:, own].any(axis=1)
        headroom = np.inf
        for limits in (-lows[common], highs[common]):
            whole, largest = limits.max(axis=1, initial=0), limits[:, own].max(axis=1, initial=0)
            headroom = min(headroom, np.where(largest > 0, whole / np.maximum(largest, 1e-30), np.inf).min(initial=np.inf))
        headroom = max(headroom, 1.0)
        if common.any() and not others[common, 1:].any():
            fixed, width = (_widths(lows[common][:, of], highs[common][:, of]) for of in ([0], own))
            headroom = min(headroom, max(float((fixed / np.maximum(width, 1e-30)).min()), 1 / MAX_SCALE))
        if np.isfinite(headroom):
            factors[own] = headroom**strength
    return factors


def _widths(lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
    """[ranges]: the widths of ranges that contain 0, from [ranges, channel groups]."""
    return np.maximum(highs, 0).max(axis=1) - np.minimum(lows, 0).min(axis=1)


def apply_scales(graph: FloatGraph, groups: ChannelGroups, scale: np.ndarray) -> None:
    """Scale the channel groups of a graph in place; `scale` is [channel groups]."""
    _apply(graph, groups, scale, np.zeros(len(scale)))


def _apply(graph: FloatGraph, groups: ChannelGroups, scale: np.ndarray, shift: np.ndarray) -> dict[str, dict[str, float]]:
    """`equalize`'s result for the scale and shift of every channel group; shifts are in units of the unscaled channels."""
    record = {}
    for op in list(graph.ops):
        name = graph.name(op)
        if name in BIASED and op.outputs[0] in groups.convolutions:
            before, own = (groups.roots(channels) for channels in groups.convolutions[op.outputs[0]])
            if np.any(scale[before] != 1) or np.any(shift[before]) or np.any(scale[own] != 1) or np.any(shift[own]):
                _apply_to_convolution(graph, op, (scale[before], shift[before]), (scale[own], shift[own]))
            if np.any(scale[own] != 1) or np.any(shift[own]):
                key = graph.layer_name(op.outputs[0])
                record[key] = {"largest_scale": float(scale[own].max()), "largest_shift": float(np.abs(shift[own]).max())}
    for tensor, channels in groups.added_constants.items():
        values = graph.constant(tensor)
        assert values is not None  # ChannelGroups found it constant
        factor = scale[groups.roots(channels)]
        if np.any(factor != 1):
            graph.set_constant(tensor, (values * factor).astype(np.float32))
    return record


def _apply_to_convolution(
    graph: FloatGraph, op: object, before: tuple[np.ndarray, np.ndarray], own: tuple[np.ndarray, np.ndarray]
) -> None:
    """Divide the weights by the scales of the input and multiply them by those of the output; move the shifts to the bias."""
    name = graph.name(op)
    weights_index = op.inputs[BIASED[name][1]]  # type: ignore[attr-defined]  # the schema's objects are untyped
    weights = graph.constant(weights_index)
    assert weights is not None  # ChannelGroups found it constant
    weights = weights.astype(np.float64)
    bias_index = graph.bias(op)
    bias_values = graph.constant(bias_index)
    assert bias_values is not None  # likewise
    bias = bias_values.astype(np.float64)
    if np.any(before[1]):  # only possible for 1x1 convolutions and matrix products without groups
        bias = bias + weights.reshape(len(weights), -1) @ before[1]
    weights = weights / weight_storage.on_inputs(name, weights, before[0]) * weight_storage.on_outputs(name, weights, own[0])
    bias = (bias - own[1]) * own[0]
    graph.set_constant(weights_index, weights.astype(np.float32))
    graph.set_constant(bias_index, bias.astype(np.float32))
