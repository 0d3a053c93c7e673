"""Activation ranges of least squared error: rare values beyond the ends are clipped, and all others get finer steps.

A range from the smallest to the largest value spends most of the 256 steps on a few extremes of photographs. The range with
the least squared error of rounding and clipping (Nagel et al., "A White Paper on Neural Network Quantization", 2021, Sec. 3.1)
is narrower. Its ends are not inside the range of flat colours and ramps: there a clipped value would change the colour of a
whole area. Where these values reach so far that they would more than double the error on photographs, as in deep
networks with attention, some of them are clipped, too; fitting (layer_fit.py) then makes up for most of it.

The error of a tensor that only a LeakyReLU or a sigmoid reads is that of the result. A LeakyReLU of slope 0.05 divides the
error of negative values by 20, so their end is clipped much farther.

The operands of a sum get the step of the sum where that lowers the error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mobile_sr.converters.quantization import activation_ranges
from mobile_sr.converters.quantization.activation_ranges import Ranges
from mobile_sr.converters.quantization.channels.equalization_groups import SAME_SCALE
from mobile_sr.converters.quantization.float_graph import FloatGraph, Sample
from mobile_sr.converters.quantization.saturation import FIXED_SCALE, keeps_values

BINS = 2048  # of the histogram of a tensor, over its whole range
POSITIONS = 40_000  # approximate number of image positions in a histogram
NARROWEST = 0.3  # of the distance from 0 to an end: the closest that the end may come to 0
NARROWEST_INPUT = 0.02  # the same for the input of a function that flattens one end, such as LeakyReLU
_ABOVE = 1 + 1e-6  # times a step: steps up to this one are equal
DEAREST = 2.0  # times the least squared error on photographs: what containing the values of flat colours may cost
_COARSER = 1.5  # times its step: the largest step that a sum may give a tensor that other operators read, too
_CANDIDATES = 36  # positions of each end that are compared


_Function = Callable[[np.ndarray], np.ndarray]


def least_error(graph: FloatGraph, photographs: Sequence[Sample], exact: Sequence[Sample] = ()) -> Ranges:
    """Measure the range of every activation for 8 bits, as `activation_ranges.measure`, with clipped extremes.

    The inputs of the graph, its outputs and the tensors whose values the outputs only move or limit keep their whole range.

    Args:
        graph: the network.
        photographs: inputs whose extreme values may be clipped, such as [1, H, W, 3] float32 images.
        exact: inputs without any value beyond the ranges, such as flat colours, unless that costs more than DEAREST.

    Returns:
        {tensor: (minimum, maximum)} of the inputs of the graph and the float results of its operators.
    """
    inner, whole = activation_ranges.extremes(graph, exact), activation_ranges.extremes(graph, photographs)
    for tensor, (low, high) in inner.items():
        whole[tensor] = min(low, whole[tensor][0]), max(high, whole[tensor][1])
    kept = _kept(graph)
    histograms = _histograms(graph, [t for t in _computed(graph) if t in whole and t not in kept], photographs, whole)
    result = dict(whole)
    readers = graph.readers()
    for tensor, counts in histograms.items():
        function = _function(graph, readers[tensor])
        result[tensor] = _affordable(counts, whole[tensor], inner.get(tensor, (0.0, 0.0)), function)
    for op in graph.ops:  # in the order of execution
        inputs = [result[tensor] for tensor in op.inputs if tensor in result]
        if graph.name(op) in SAME_SCALE and inputs:
            for tensor in (t for t in op.outputs if t in result and t not in kept):
                low, high = min(low for low, _ in inputs), max(high for _, high in inputs)
                result[tensor] = max(low, whole[tensor][0]), min(high, whole[tensor][1])
    result = activation_ranges.settle(graph, result)
    free = {tensor for tensor in histograms if not {graph.name(op) for op in readers[tensor] if op}.intersection(SAME_SCALE)}
    shared = {tensor for tensor in free if len({id(op) for op in readers[tensor]}) > 1}
    _align_sums(graph, result, free, shared)
    return result


def _align_sums(graph: FloatGraph, ranges: Ranges, changeable: set[int], shared: set[int]) -> None:
    """Give both operands of a sum the step of the sum, in place, where that lowers the error of the three roundings.

    A sum of multiples of its own step is exact: its rounding goes away, and those of the operands grow. The last sum comes
    first, so the trunk of residual blocks gets one step. Only tensors `changeable` change, and little those that are `shared`
    with other operators: a long skip's sum can have a step of many times that of its first operand, which the network's first
    block also reads.
    """
    for op in reversed(graph.ops):
        tensors = [tensor for tensor in op.inputs if tensor in ranges]
        if graph.name(op) not in ("ADD", "SUB") or len(set(tensors)) != 2 or op.outputs[0] not in ranges:
            continue
        step = _step(ranges[op.outputs[0]])
        steps = [_step(ranges[tensor]) for tensor in tensors]
        if max(steps) > step * _ABOVE or sum(own**2 for own in steps) < step**2:
            continue
        factors = [_COARSER if tensor in shared else np.inf if tensor in changeable else _ABOVE for tensor in tensors]
        if any(own * factor < step for own, factor in zip(steps, factors, strict=True)):
            continue
        for tensor in changeable.intersection(tensors):
            zero = np.round(-ranges[tensor][0] / step)
            ranges[tensor] = float(-zero * step), float((255 - zero) * step)


def _step(limits: tuple[float, float]) -> float:
    return (limits[1] - limits[0]) / 255


def _computed(graph: FloatGraph) -> list[int]:
    """The activations with a scale of their own."""
    return [t for op in graph.ops if graph.name(op) not in (*SAME_SCALE, *FIXED_SCALE) for t in op.outputs if graph.is_float(t)]


def _kept(graph: FloatGraph) -> set[int]:
    """The outputs of the graph, and the tensors whose values they contain."""
    kept = set(graph.graph.outputs)
    for op in reversed(graph.ops):
        if kept.intersection(op.outputs) and (graph.name(op) in SAME_SCALE or keeps_values(graph, op)):
            kept.update(op.inputs)
    return kept


def _histograms(graph: FloatGraph, tensors: Sequence[int], samples: Sequence[Sample], ranges: Ranges) -> dict[int, np.ndarray]:
    """{tensor: counts of its values in BINS equal parts of its range}, without tensors of an empty range."""
    step = graph.sampling_step(samples, POSITIONS)
    histograms: dict[int, np.ndarray] = {}

    def count(tensor: int, values: np.ndarray) -> None:
        low, high = ranges[tensor]
        if values.ndim == 4:
            values = values[:, ::step, ::step]
        index = ((values - np.float32(low)) * np.float32(BINS / (high - low))).astype(np.int32)
        counts = np.bincount(np.clip(index, 0, BINS - 1).ravel(), minlength=BINS)
        histograms[tensor] = histograms.get(tensor, 0) + counts

    graph.visit([tensor for tensor in tensors if ranges[tensor][0] < ranges[tensor][1]], samples, count)
    return histograms


def _function(graph: FloatGraph, readers: Sequence[Any]) -> _Function | None:
    """The increasing function that alone reads a tensor, and that flattens one end or both; None without one."""
    names = {graph.name(op) if op is not None else "" for op in readers}
    if names == {"LEAKY_RELU"}:
        slope = max(float(op.builtinOptions.alpha) for op in readers)
        return lambda x: np.where(x < 0, slope * x, x)
    if names == {"LOGISTIC"}:
        return lambda x: 1 / (1 + np.exp(-x))
    return None


def _affordable(
    counts: np.ndarray, whole: tuple[float, float], inner: tuple[float, float], function: _Function | None
) -> tuple[float, float]:
    """The range of least error that contains `inner`, or as much of it as DEAREST allows."""
    least, (low, high) = _best(counts, whole, (0.0, 0.0), function)
    for share in np.linspace(1, 0, 21):  # of the distance from the ends of the least error
        limits = (
            min(low + share * (inner[0] - low), inner[0], key=abs),
            min(high + share * (inner[1] - high), inner[1], key=abs),
        )
        error, found = _best(counts, whole, limits, function)
        if error <= DEAREST * least:
            break
    return found


def _best(
    counts: np.ndarray, whole: tuple[float, float], inner: tuple[float, float], function: _Function | None = None
) -> tuple[float, tuple[float, float]]:
    """The least squared error behind `function` of a range from `inner` to `whole`, the range of the bins, and that range."""
    is_linear = function is None
    function = function or (lambda x: x)
    low, high = whole
    edges = np.linspace(low, high, len(counts) + 1)
    values = function((edges[:-1] + edges[1:]) / 2)
    slopes = np.diff(function(edges)) * len(counts) / (high - low)
    shares = np.linspace(NARROWEST if is_linear else NARROWEST_INPUT, 1, _CANDIDATES)
    lows, highs = np.minimum(low * shares, min(inner[0], 0.0)), np.maximum(high * shares, max(inner[1], 0.0))
    below = np.square(np.maximum(function(lows)[:, None] - values, 0)) @ counts
    above = np.square(np.maximum(values - function(highs)[:, None], 0)) @ counts
    rounding = (np.square(slopes) @ counts) * np.square((highs - lows[:, None]) / 255) / 12
    errors = below[:, None] + above + rounding
    row, column = np.unravel_index(np.argmin(errors), errors.shape)
    return float(errors[row, column]), (float(lows[row]), float(highs[column]))


def store(data: bytes, photographs: Sequence[Sample], exact: Sequence[Sample] = ()) -> bytes:
    """Return a float .tflite with the ranges of `least_error` stored in it. Ranges that it contains stay as they are."""
    graph = FloatGraph(data)
    known = activation_ranges.stored(graph)
    activation_ranges.attach(graph, least_error(graph, photographs, exact) | known)
    return graph.packed()
