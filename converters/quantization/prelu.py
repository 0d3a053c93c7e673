"""Writes PReLU of any slope with operators that XNNPACK runs in 8 bits: MUL with a fused ReLU, and ADD.

PRELU itself is not among XNNPACK's 8-bit operators and would split the network into several delegate partitions. For a slope
of at most 1, max(x, 0) + slope * min(x, 0) = x + relu((slope - 1) * x). A larger slope is folded into the convolution before
and the operators behind where that is possible: with u = -slope * x, the PReLU of slope 1 / slope gives minus the value.
Elsewhere the difference is subtracted instead: x - relu((1 - slope) * x). LEAKY_RELU stays: XNNPACK runs it.

x + (1 - slope) * relu(-x), the four operators of models/ntire2022/layers.py's AnySlopePReLU, are a PReLU, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mobile_sr.converters.quantization import weight_storage
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.tflite.constants import BIASED


def rewrite(graph: FloatGraph) -> int:
    """Replace PReLU with constant slopes in place. The output does not change, up to float rounding.

    Returns:
        The number of replaced PReLUs.
    """
    _join_parts(graph)
    count = 0
    for op in list(graph.ops):
        if graph.name(op) != "PRELU":
            continue
        slopes = _slopes(graph, op)
        if slopes is None:
            continue
        producers, readers = graph.producers(), graph.readers()
        if (slopes > 1).any() and _can_fold(graph, op, producers, readers):
            slopes = _fold(graph, op, slopes, producers, readers)
        _replace(graph, op, slopes)
        count += 1
    return count


def _join_parts(graph: FloatGraph) -> None:
    """Replace x + factor * relu(-x) by PRELU in place."""
    producers, readers = graph.producers(), graph.readers()

    def only(tensor: int, name: str) -> Any:
        """The operator of this name, without a fused activation, that writes a tensor for a single reader; None without one."""
        op = producers.get(tensor)
        is_it = op is not None and graph.name(op) == name and graph.activation(op) == "NONE"
        return op if is_it and len(readers[tensor]) == 1 else None

    for op in [op for op in graph.ops if graph.name(op) == "ADD" and graph.activation(op) == "NONE"]:
        for x, term in (op.inputs, op.inputs[::-1]):
            product = only(term, "MUL")
            factors = [] if product is None else [k for k in product.inputs if graph.constant(k) is not None]
            relu = only(next(k for k in product.inputs if k not in factors), "RELU") if len(factors) == 1 else None
            negative = None if relu is None else only(relu.inputs[0], "NEG")
            if negative is not None and negative.inputs == [x]:
                factor = graph.constant(factors[0])
                assert factor is not None  # by `factors`
                slopes = graph.add_constant(f"{graph.tensor_name(op.outputs[0])}/slopes", np.float32(1) - factor)
                graph.add_op(graph.ops.index(op), "PRELU", [x, slopes], op.outputs)
                graph.graph.operators = [each for each in graph.ops if each not in (op, product, relu, negative)]
                break


def _slopes(graph: FloatGraph, op: Any) -> np.ndarray | None:
    """[C] slopes, or None if they are not constant or differ between positions."""
    values = graph.constant(op.inputs[1])
    channels = graph.shape(op.outputs[0])[-1]
    if values is None or channels < 1 or values.size not in (1, channels) or (values.size > 1 and values.shape[-1] != channels):
        return None
    return np.broadcast_to(values.reshape(-1), (channels,)).astype(np.float64)


def _can_fold(graph: FloatGraph, op: Any, producers: Mapping[int, Any], readers: Mapping[int, Sequence[Any]]) -> bool:
    """Whether a convolution feeds only this operator, and only convolutions read its result."""
    before = producers.get(op.inputs[0])
    if before is None or len(readers[op.inputs[0]]) != 1 or not graph.has_constant_weights(before):
        return False
    if graph.activation(before) != "NONE":
        return False
    following = readers.get(op.outputs[0], [])
    channels = graph.shape(op.outputs[0])[-1]
    return bool(following) and all(
        reader is not None and _reads_channels(graph, reader, op.outputs[0], channels) for reader in following
    )


def _reads_channels(graph: FloatGraph, op: Any, tensor: int, channels: int) -> bool:
    """Whether an operator is a convolution with the tensor as its input; a matrix product may mix positions, too."""
    if not graph.has_constant_weights(op) or op.inputs[BIASED[graph.name(op)][0]] != tensor:
        return False
    return graph.name(op) != "FULLY_CONNECTED" or graph.shape(op.inputs[1])[-1] == channels


def _fold(
    graph: FloatGraph, op: Any, slopes: np.ndarray, producers: Mapping[int, Any], readers: Mapping[int, Sequence[Any]]
) -> np.ndarray:
    """Move slopes above 1 to the neighbours; returns the slopes that remain."""
    steep = slopes > 1
    factor = np.where(steep, -slopes, 1.0)
    _scale_outputs(graph, producers[op.inputs[0]], factor)
    for reader in readers[op.outputs[0]]:
        _scale_inputs(graph, reader, np.where(steep, -1.0, 1.0))
    return np.where(steep, 1 / slopes, slopes)


def _scale_outputs(graph: FloatGraph, op: Any, factor: np.ndarray) -> None:
    """Multiply the output channels of a convolution by factors [C_out]."""
    name = graph.name(op)
    weights = graph.constant(op.inputs[BIASED[name][1]])
    bias = graph.constant(graph.bias(op))
    assert weights is not None  # by has_constant_weights
    assert bias is not None
    scaled = weights * weight_storage.on_outputs(name, weights, factor)
    graph.set_constant(op.inputs[BIASED[name][1]], scaled.astype(np.float32))
    graph.set_constant(graph.bias(op), (bias * factor).astype(np.float32))


def _scale_inputs(graph: FloatGraph, op: Any, factor: np.ndarray) -> None:
    """Multiply the weights of a convolution's input channels by factors [C_in]."""
    name = graph.name(op)
    weights = graph.constant(op.inputs[BIASED[name][1]])
    assert weights is not None  # by has_constant_weights
    scaled = weights * weight_storage.on_inputs(name, weights, factor)
    graph.set_constant(op.inputs[BIASED[name][1]], scaled.astype(np.float32))


def _replace(graph: FloatGraph, op: Any, slopes: np.ndarray) -> None:
    from ai_edge_litert import schema_py_generated as schema

    x, y, name = op.inputs[0], op.outputs[0], graph.tensor_name(op.outputs[0])
    position = next(k for k, other in enumerate(graph.ops) if other is op)
    graph.ops.remove(op)
    if (slopes == 1).all():
        graph.replace_uses(y, x)
        return
    steep = slopes > 1
    factor = graph.add_constant(f"{name}/factor", (-np.abs(slopes - 1)).astype(np.float32))
    part = graph.add_activation(f"{name}/negative_part", x)
    options = schema.MulOptionsT()
    graph.set_activation(graph.add_op(position, "MUL", [x, factor], [part], options), "RELU")
    position += 1
    if steep.all():
        graph.add_op(position, "SUB", [x, part], [y], schema.SubOptionsT())
        return
    if steep.any():
        signs = graph.add_constant(f"{name}/signs", np.where(steep, -1, 1).astype(np.float32))
        signed = graph.add_activation(f"{name}/signed_part", x)
        graph.add_op(position, "MUL", [part, signs], [signed], schema.MulOptionsT())
        part, position = signed, position + 1
    graph.add_op(position, "ADD", [x, part], [y], schema.AddOptionsT())
