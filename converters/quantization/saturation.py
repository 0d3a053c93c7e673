"""Turns limits such as clip(x, 0, 1) into saturation of 8-bit tensors, so that no operator for the limit remains.

A tensor of scale c / 255 and zero point 0 (uint8) saturates at 0 and c by itself. XNNPACK does not support MINIMUM and a lone
RELU in 8 bits; without them a network is one delegate partition, and each value is rounded once instead of twice.
"""

from __future__ import annotations

import math
from typing import Any

from mobile_sr.converters.quantization.activation_ranges import Ranges
from mobile_sr.converters.quantization.channels.equalization_groups import SAME_SCALE
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.tflite import flatbuffer

_LIMITS = {  # operator or fused activation -> (low, high)
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_0_TO_1": (0.0, 1.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
FIXED_SCALE = ("LOGISTIC", "TANH", "SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION")  # of their 8-bit output
# Operators that give all their inputs one scale, which would replace that of the limit.
_MERGES = ("CONCATENATION", "MAXIMUM", "MINIMUM", "PADV2", "PACK", "SELECT", "SELECT_V2")
_FUSING = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL")
_MOVES = ("DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "RESHAPE", "TRANSPOSE")  # one input, whose values they only move


def saturate(graph: FloatGraph, ranges: Ranges) -> list[tuple[int, float]]:
    """Remove operators that limit a tensor to 0..c, and set its range to 0..c.

    A limit stays if something reads the tensor before the limit, if nothing that can saturate precedes it, or if an operator
    behind it needs the same scale for other tensors.

    Args:
        graph: the network. Modified in place.
        ranges: measured ranges, `activation_ranges.measure` of the network before this change. Modified in place: the limited
            tensors get the range 0..c.

    Returns:
        [(tensor, c)] of the limited tensors.
    """
    result = []
    _fuse_relus(graph)
    producers, readers = graph.producers(), graph.readers()
    for last in list(graph.ops):
        chain = _chain(graph, last, producers, readers)
        if chain is None:
            continue
        removed, source, high = chain
        limited = _saturable(graph, source, producers, readers)
        target = last.outputs[0]
        if limited is None or _is_merged(graph, target, readers):
            continue
        graph.graph.operators = [op for op in graph.ops if not any(op is other for other in removed)]
        graph.replace_uses(target, source)
        ranges.pop(target, None)
        for tensor in [*limited, *_moved(graph, source)]:
            ranges[tensor] = (0.0, high)
        result.append((source, high))
        producers, readers = graph.producers(), graph.readers()
    return result


def _fuse_relus(graph: FloatGraph) -> None:
    """Turn each RELU that alone reads a convolution, sum or product into its fused activation."""
    producers, readers = graph.producers(), graph.readers()
    for relu in [op for op in graph.ops if graph.name(op) == "RELU"]:
        source = producers.get(relu.inputs[0])
        if source is None or graph.name(source) not in _FUSING or len(readers[relu.inputs[0]]) != 1:
            continue
        if graph.activation(source) == "NONE":
            graph.set_activation(source, "RELU")
            source.outputs = list(relu.outputs)
            producers[relu.outputs[0]] = source
            graph.graph.operators = [op for op in graph.ops if op is not relu]


def output_limit(graph: FloatGraph) -> float | None:
    """Return c if the first output of a graph is limited to 0..c in a way that `saturate` removes, else None."""
    copy = FloatGraph(flatbuffer.pack(graph.model))  # `packed` would change the numbers of its tensors
    removed = dict(saturate(copy, {}))
    producers = copy.producers()
    tensor = copy.graph.outputs[0]
    while tensor not in removed and tensor in producers and copy.name(producers[tensor]) in _MOVES:
        tensor = producers[tensor].inputs[0]
    return removed.get(tensor)


def keeps_values(graph: FloatGraph, op: Any) -> bool:
    """Whether an operator does nothing but limit a tensor or move its values."""
    return graph.name(op) in _MOVES or _limit(graph, op) is not None


def can_saturate(graph: FloatGraph, op: Any) -> bool:
    """Whether the 8-bit result of an operator can have the scale of a limit behind it."""
    return graph.name(op) not in (*SAME_SCALE, *FIXED_SCALE)


def _chain(graph: FloatGraph, last: Any, producers: dict, readers: dict) -> tuple[list[Any], int, float] | None:
    """(operators, tensor before them, c) of a chain of limits to 0..c that ends in the operator `last`, or None."""
    if not any(last is op for op in graph.ops) or _limit(graph, last) is None:
        return None
    following = readers.get(last.outputs[0], [])
    if len(following) == 1 and following[0] is not None and _limit(graph, following[0]) is not None:
        return None  # the chain ends later
    removed: list[Any] = []
    low, high, op = -math.inf, math.inf, last
    while op is not None and (limit := _limit(graph, op)) is not None and (not removed or len(readers[op.outputs[0]]) == 1):
        low, high = max(low, limit[0]), min(high, limit[1])
        removed.append(op)
        source = limited_input(graph, op)
        op = producers.get(source)
    tensor = source
    while op is not None and graph.name(op) in _MOVES and len(readers[tensor]) == 1:
        tensor = op.inputs[0]
        op = producers.get(tensor)
    if op is not None and len(readers[tensor]) == 1 and graph.activation(op) in _LIMITS:  # a fused RELU
        low, high = max(low, _LIMITS[graph.activation(op)][0]), min(high, _LIMITS[graph.activation(op)][1])
    if (
        low != 0
        or not 0 < high < math.inf
        or any(graph.activation(removed_op) not in ("NONE", "RELU") for removed_op in removed)
    ):
        return None
    return removed, source, high


def _limit(graph: FloatGraph, op: Any) -> tuple[float, float] | None:
    """(low, high) of an operator that does nothing but limit a tensor, or None."""
    name = graph.name(op)
    if name in _LIMITS:
        return _LIMITS[name]
    if name not in ("MINIMUM", "MAXIMUM"):
        return None
    constants = [values for tensor in op.inputs if (values := graph.constant(tensor)) is not None]
    if len(constants) != 1 or constants[0].size != 1:
        return None
    value = float(constants[0].reshape(()))
    return (-math.inf, value) if name == "MINIMUM" else (value, math.inf)


def limited_input(graph: FloatGraph, op: Any) -> int:
    """Return the tensor that an operator of `keeps_values` limits or moves."""
    return next(tensor for tensor in op.inputs if graph.constant(tensor) is None)


def _saturable(graph: FloatGraph, source: int, producers: dict, readers: dict) -> list[int] | None:
    """The tensors that get the range of the limit: `source`, and those whose values it only moves. None if impossible."""
    tensors = [source]
    while True:
        if len(readers.get(tensors[-1], [])) != 1 or tensors[-1] not in producers:
            return None
        op = producers[tensors[-1]]
        if graph.name(op) not in _MOVES:  # the result of a SAME_SCALE operator saturates only together with its inputs
            return tensors if can_saturate(graph, op) else None
        tensors.append(op.inputs[0])


def _is_merged(graph: FloatGraph, tensor: int, readers: dict) -> bool:
    """Whether a tensor shares its scale with tensors that do not depend on it."""
    following = [op for op in readers.get(tensor, []) if op is not None and graph.name(op) in (*SAME_SCALE, *_MERGES)]
    return any(
        graph.name(op) in _MERGES or any(_is_merged(graph, output, readers) for output in op.outputs) for op in following
    )


def _moved(graph: FloatGraph, source: int) -> list[int]:
    """The tensors behind `source` that contain only its values, in another order."""
    tensors: list[int] = []
    for op in graph.ops:
        if graph.name(op) in _MOVES and op.inputs[0] in (source, *tensors):
            tensors.append(op.outputs[0])
    return tensors
