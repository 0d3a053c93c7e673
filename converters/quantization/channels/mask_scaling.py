"""Spreads the masks of an attention over the 256 levels of an 8-bit sigmoid.

The 8-bit result of LOGISTIC has the fixed step 1 / 256. A mask that stays below 0.1, as in the first block of RLFN, has few
levels, and most of its channels are 0 everywhere. With b < 1, such a mask sigmoid(z) is close to b * sigmoid(g * z + d): small
values of both are exponentials. g and d, one for each channel, are folded into the convolution that computes z. The product
with the mask becomes 1 / b times as large, and b is folded into the layers that read it.

Each channel has its own b, unless the product is added to the result of another convolution. The channels of that result would
then differ in size, which costs more than the mask gains; such a mask has one b.

This changes the float network slightly. b, g and d have the least squared error of the mask, with that of its rounding.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from mobile_sr.converters.quantization import weight_storage
from mobile_sr.converters.quantization.channels import cross_layer_equalization
from mobile_sr.converters.quantization.channels.equalization_groups import ChannelGroups
from mobile_sr.converters.quantization.float_graph import FloatGraph, Sample
from mobile_sr.converters.tflite.constants import BIASED

POSITIONS = 2000  # approximate number of image positions on which a mask is fitted
_STEP = 1 / 256  # of the 8-bit result of LOGISTIC
_FACTORS = np.geomspace(0.9, 2**-10, 24)  # values of b that are compared
_WORTHWHILE = 0.25  # share of the squared error of the plain mask that a change may leave; smaller gains are not worth it
_HIGHEST = 0.95  # of the new sigmoid: closer to 1 it is too flat
_SLOPES = (1.0, 1.02, 1.05, 1.1, 1.2, 1.4, 1.7, 2.0)  # values of g, likewise


def scale_masks(graph: FloatGraph, samples: Sequence[Sample], fixed: Collection[int] = ()) -> dict[str, float]:
    """Scale the masks of a float graph in place.

    A mask is the result of a LOGISTIC that reads a convolution, and that only a product reads. The channels of the product must
    be scalable (equalization_groups.py).

    Args:
        graph: the network.
        samples: inputs on which the masks are fitted, such as [1, H, W, 3] float32 images.
        fixed: constant tensors of kernels that must not change.

    Returns:
        {name of the convolution before a mask: its smallest b} of the changed masks.
    """
    masks = _masks(graph, fixed)
    groups = ChannelGroups(graph, fixed, {product.outputs[0] for _, product in masks})
    scalable = _scalable(groups, masks)
    inputs = _inputs(graph, [convolution.outputs[0] for convolution, _ in scalable], samples)
    computed = [root for _, own in groups.convolutions.values() for root in groups.roots(own)]
    scale = np.ones(groups.count)
    record = {}
    for convolution, own in scalable:
        factor, slope, shift = _fit(inputs[convolution.outputs[0]], bool(np.isin(own, computed).any()))
        if np.all(factor == 1):
            continue
        _change(graph, convolution, slope, shift)
        scale[own] = 1 / factor
        record[graph.layer_name(convolution.outputs[0])] = float(factor.min())
    cross_layer_equalization.apply_scales(graph, groups, scale)
    return record


def _masks(graph: FloatGraph, fixed: Collection[int]) -> list[tuple[Any, Any]]:
    """[(convolution, product)] of the masks, by their form alone."""
    producers, readers = graph.producers(), graph.readers()
    result = []
    for op in graph.ops:
        if graph.name(op) != "LOGISTIC":
            continue
        convolution, following = producers.get(op.inputs[0]), readers.get(op.outputs[0], [])
        if convolution is None or len(readers[op.inputs[0]]) != 1 or len(following) != 1 or following[0] is None:
            continue
        product, name = following[0], graph.name(convolution)
        if graph.name(product) != "MUL" or graph.activation(product) != "NONE" or len(set(product.inputs)) != 2:
            continue
        if name not in BIASED or not graph.has_constant_weights(convolution) or graph.activation(convolution) != "NONE":
            continue
        has_all_channels = graph.shape(op.outputs[0])[-1] == graph.shape(product.outputs[0])[-1]
        if has_all_channels and convolution.inputs[BIASED[name][1]] not in fixed:
            result.append((convolution, product))
    return result


def _scalable(groups: ChannelGroups, masks: Sequence[tuple[Any, Any]]) -> list[tuple[Any, np.ndarray]]:
    """[(convolution, channel groups of the product)] of the masks whose products have channels that may be scaled alone.

    A channel may not if it must have the scale of another channel, of another product, or of the features that a mask
    multiplies: a sum of both needs one scale.
    """
    counts: dict[int, int] = {}
    features: set[int] = set()
    for _, product in masks:
        for tensor in product.inputs:
            features.update(() if (own := groups.of(tensor)) is None else own.tolist())
        own = groups.of(product.outputs[0])
        for root in () if own is None else own.tolist():
            counts[root] = counts.get(root, 0) + 1
    result = []
    for mask in masks:
        own = groups.of(mask[1].outputs[0])
        if own is not None and all(root not in features and counts[root] == 1 for root in own.tolist()):
            result.append((mask[0], own))
    return result


def _inputs(graph: FloatGraph, tensors: Sequence[int], samples: Sequence[Sample]) -> dict[int, np.ndarray]:
    """{tensor: [positions, C]} of values on the samples."""
    step = graph.sampling_step(samples, POSITIONS)
    parts: dict[int, list[np.ndarray]] = {tensor: [] for tensor in tensors}

    def keep(tensor: int, values: np.ndarray) -> None:
        values = values[:, ::step, ::step] if values.ndim == 4 else values
        parts[tensor].append(np.array(values, np.float32).reshape(-1, values.shape[-1]))

    graph.visit(tensors, samples, keep)
    return {tensor: np.concatenate(values) for tensor, values in parts.items()}


def _fit(z: np.ndarray, one_factor: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(b, g, d), each [C], for the inputs [positions, C] of a sigmoid; 1, 1, 0 where no smaller b is better.

    With `one_factor` all channels have the same b.
    """
    mask, channels = _sigmoid(z), z.shape[1]
    peak, largest = z.max(axis=0), mask.max(axis=0)
    totals = np.full((1 + len(_FACTORS), channels), np.inf)
    totals[0] = _WORTHWHILE * _STEP**2 / 12
    slopes, shifts = np.ones_like(totals), np.zeros_like(totals)
    for row, factor in enumerate(_FACTORS, 1):
        possible = largest < _HIGHEST * factor
        top = np.where(possible, largest, factor / 2)
        error = np.full(channels, np.inf)
        for slope in _SLOPES:
            shift = np.log(top / (factor - top)) - slope * peak  # exact at the largest value
            own = np.square(mask - factor * _sigmoid(slope * z + shift)).mean(axis=0)
            better = own < error
            slopes[row, better], shifts[row, better], error[better] = slope, shift[better], own[better]
        totals[row] = np.where(possible, error + (factor * _STEP) ** 2 / 12, np.inf)
    rows = np.full(channels, totals.sum(axis=1).argmin()) if one_factor else totals.argmin(axis=0)
    columns = np.arange(channels)
    return np.array((1.0, *_FACTORS))[rows], slopes[rows, columns], shifts[rows, columns]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))


def _change(graph: FloatGraph, convolution: Any, slope: np.ndarray, shift: np.ndarray) -> None:
    """Multiply the output channels of a convolution by `slope` and add `shift`, both [C]."""
    name = graph.name(convolution)
    kernel, bias = convolution.inputs[BIASED[name][1]], graph.bias(convolution)
    weights, values = graph.constant(kernel), graph.constant(bias)
    assert weights is not None  # by has_constant_weights
    assert values is not None  # likewise
    graph.set_constant(kernel, (weights * weight_storage.on_outputs(name, weights, slope)).astype(np.float32))
    graph.set_constant(bias, (values * slope + shift).astype(np.float32))
