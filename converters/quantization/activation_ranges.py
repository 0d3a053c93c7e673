"""Measures activation ranges of a float graph on calibration images; the quantizer derives its scales from them.

The graph runs through XNNPACK with all activations as outputs. This is ten times faster for XLSR, and five times faster for
IMDN, than TensorFlow's own calibration with its slow kernels. TensorFlow's calibration also reads the inputs of an operator
after the operator ran. An addition or a product may have written its result into that memory by then, so a residual would get
the range of its sum with the trunk and a scale that is too coarse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mobile_sr.converters.quantization.float_graph import FloatGraph, Sample

# Limit of tanh's input, chosen by measurement (docs/measurements/quantization.md): its 8-bit result is then -126..126 of
# -128..127.
_TANH_LIMIT = math.atanh(1 - 2 / 128)
TANH = -_TANH_LIMIT, _TANH_LIMIT * 127 / 128  # gives a zero point of 0

# A pool's 8-bit output has the scale of its input. The quantizer fuses a limit behind a pool into it, and fails if the limit
# has another scale.
_POOLS = ("MAX_POOL_2D", "AVERAGE_POOL_2D")
_LIMITS = ("RELU", "RELU6", "RELU_N1_TO_1", "MINIMUM", "MAXIMUM")

Ranges = dict[int, tuple[float, float]]


def measure(graph: FloatGraph, samples: Sequence[Sample], limit_tanh: bool = True) -> Ranges:
    """Measure the minimum and maximum of every activation.

    Every range includes 0. An activation that was always 0 gets the range of its operator's inputs, and so does the result of
    a pool.

    Args:
        graph: the network.
        samples: its inputs, such as [1, H, W, 3] float32 images.
        limit_tanh: limit an activation that only tanh reads to -2.42..2.40. In 8 bits, values beyond come out at most two
            steps off, and all others get finer steps.

    Returns:
        {tensor: (minimum, maximum)} of the inputs of the graph and the float results of its operators.
    """
    return settle(graph, extremes(graph, samples), limit_tanh)


def extremes(graph: FloatGraph, samples: Sequence[Sample]) -> Ranges:
    """Return {tensor: (minimum, maximum)} of every activation on samples, and at least 0..0. Without samples it is empty."""
    ranges: Ranges = {}

    def include(tensor: int, values: np.ndarray) -> None:
        low, high = ranges.get(tensor, (0.0, 0.0))
        ranges[tensor] = min(low, float(values.min())), max(high, float(values.max()))

    graph.visit(activations(graph), samples, include)
    return ranges


def activations(graph: FloatGraph) -> list[int]:
    """Return the inputs of a graph and the float results of its operators."""
    return [*graph.graph.inputs, *(tensor for op in graph.ops for tensor in op.outputs if graph.is_float(tensor))]


def settle(graph: FloatGraph, ranges: Ranges, limit_tanh: bool = True) -> Ranges:
    """Adapt ranges to the quantizer, see `measure`: activations that were always 0, pools, maxima, inputs of tanh."""
    ranges = dict(ranges)
    for op in graph.ops:  # always 0, e.g. the residual of a block that no image activated: it would give no scale
        for tensor in (t for t in op.outputs if ranges.get(t) == (0, 0)):
            inputs = [ranges[t] for t in op.inputs if t in ranges]
            ranges[tensor] = min((low for low, _ in inputs), default=0.0), max((high for _, high in inputs), default=1.0)
    all_readers = graph.readers()
    for op in graph.ops:
        if graph.name(op) in _POOLS and op.inputs[0] in ranges:
            for tensor in _with_its_limits(graph, op, all_readers):
                ranges[tensor] = ranges[op.inputs[0]]
    _widen_maxima(graph, ranges)
    for tensor, readers in all_readers.items() if limit_tanh else ():
        if tensor in ranges and {reader and graph.name(reader) for reader in readers} == {"TANH"}:
            ranges[tensor] = max(ranges[tensor][0], TANH[0]), min(ranges[tensor][1], TANH[1])
    return ranges


def _widen_maxima(graph: FloatGraph, ranges: Ranges) -> None:
    """Give the maxima of a tensor, and what they are concatenated to, the range of the tensor itself, in place.

    In 8 bits all three have one scale. The quantizer would take that of the last one, which may be too small for the tensor: it
    then saturates.
    """
    maxima: set[int] = set()
    for op in graph.ops:
        known = [ranges[tensor] for tensor in op.inputs if tensor in ranges]
        joined = graph.name(op) == "CONCATENATION" and maxima.intersection(op.inputs)
        if known and op.outputs[0] in ranges and (joined or graph.name(op) == "REDUCE_MAX"):
            maxima.add(op.outputs[0])
            ranges[op.outputs[0]] = min(low for low, _ in known), max(high for _, high in known)


def _with_its_limits(graph: FloatGraph, op: Any, readers: Mapping[int, Sequence[Any]]) -> list[int]:
    """The result of an operator, and the results of the limits behind it."""
    tensors = [op.outputs[0]]
    while len(following := readers.get(tensors[-1], ())) == 1 and following[0] is not None:
        constants = sum(graph.constant(tensor) is not None for tensor in following[0].inputs)
        if graph.name(following[0]) not in _LIMITS or len(following[0].inputs) != 1 + constants:
            break
        tensors.append(following[0].outputs[0])
    return tensors


def attach(graph: FloatGraph, ranges: Mapping[int, tuple[float, float]]) -> None:
    """Store ranges in the graph's tensors, in the form that TensorFlow's quantizer reads."""
    from ai_edge_litert import schema_py_generated as schema

    for tensor, (low, high) in ranges.items():
        quantization = schema.QuantizationParametersT()
        quantization.min, quantization.max = [low], [high]
        graph.graph.tensors[tensor].quantization = quantization


def store(graph: FloatGraph, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Store known ranges in a graph, in place of any that it contains. The quantizer does not measure these.

    Args:
        graph: the network.
        ranges: {name of an activation: (minimum, maximum)}.

    Raises:
        ValueError: the graph has no such activation, or a range is not finite, is empty or does not include 0.
    """
    known = activations(graph)
    by_name = {graph.tensor_name(tensor): tensor for tensor in known}
    if unknown := [name for name in ranges if name not in by_name]:
        raise ValueError(f"the network has no activation '{unknown[0]}'")
    for name, (low, high) in ranges.items():
        if not (math.isfinite(low) and math.isfinite(high) and low <= 0 <= high and low < high):
            raise ValueError(f"range of '{name}': {low}..{high} must be finite and include 0")
    for tensor in known:
        graph.graph.tensors[tensor].quantization = None
    attach(graph, {by_name[name]: limits for name, limits in ranges.items()})


def stored(graph: FloatGraph) -> Ranges:
    """Return {tensor: (minimum, maximum)} of the activations of a graph whose ranges it contains, see `store`."""
    result: Ranges = {}
    for tensor in activations(graph):
        quantization = graph.graph.tensors[tensor].quantization
        if (
            quantization is not None
            and quantization.min is not None
            and quantization.max is not None
            and graph.is_float(tensor)
        ):
            result[tensor] = float(quantization.min[0]), float(quantization.max[0])
    return result
