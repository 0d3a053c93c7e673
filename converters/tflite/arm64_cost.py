"""Estimated instructions of an 8-bit .tflite file on an Arm Cortex-A76, operator by operator (models/nas/arm64.py)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.models.nas import arm64


@dataclasses.dataclass(frozen=True)
class OperatorCost:
    """Estimated cost of an operator.

    Attributes:
        index: position among the graph's operators.
        name: builtin name.
        output: name of its output tensor.
        instructions: for one invocation; None if the table has no figure for this operator or its types.
    """

    index: int
    name: str
    output: str
    instructions: float | None


def estimate(graph: flatbuffer.Graph, shapes: Mapping[int, Sequence[int]]) -> list[OperatorCost]:
    """Estimate every operator of a graph.

    Args:
        graph: a graph with 8-bit tensors; float operators have no figure.
        shapes: {tensor index: its shape at the input size in question}.
    """
    rows = []
    for index, op in enumerate(graph.ops):
        cost = _operator(graph, op, shapes)
        rows.append(OperatorCost(index, op.name, graph.tensors[op.outputs[0]].name, cost))
    return rows


def _operator(graph: flatbuffer.Graph, op: flatbuffer.Op, shapes: Mapping[int, Sequence[int]]) -> float | None:
    """Instructions of one invocation; None without a figure."""
    present = [i for i in (*op.inputs, *op.outputs) if i >= 0]
    images = [i for i in op.inputs if i >= 0 and not graph.tensors[i].constant]
    if not images or any(graph.tensors[i].dtype not in ("int8", "uint8", "int32") for i in present):
        return None
    source, target = ([int(side) for side in shapes[i]] for i in (images[0], op.outputs[0]))
    if len(source) != 4 or len(target) != 4:
        return None
    before, after, inputs, outputs = math.prod(source[:3]), math.prod(target[:3]), source[3], target[3]
    if op.name in ("CONV_2D", "TRANSPOSE_CONV", "DEPTHWISE_CONV_2D"):
        _, height, width, depth = (int(side) for side in shapes[op.inputs[1]])
        if op.name == "CONV_2D":
            return after * arm64.convolution((height, width), inputs, outputs, inputs // depth)
        if op.name == "DEPTHWISE_CONV_2D":
            return after * arm64.depthwise(height * width, outputs)
        return before * arm64.transposed(height, inputs, outputs, target[1] // source[1])
    if op.name == "FULLY_CONNECTED":
        return after * arm64.convolution((1, 1), inputs, outputs)
    if op.name == "QUANTIZE":
        types = [graph.tensors[i].dtype for i in (images[0], op.outputs[0])]
        name = f"QUANTIZE {types[0]} to {types[1]}"
        return before * arm64.by_channels(name, inputs) if name in arm64.table() else None
    if op.name == "CONCATENATION":  # was counted for two tensors
        return after * sum(arm64.by_channels(op.name, int(shapes[i][-1])) / 2 for i in images)
    if op.name == "SPLIT":  # into four
        return after * len(op.outputs) / 4 * arm64.by_channels(op.name, outputs)
    if op.name in ("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"):
        block = max(target[1] // source[1], source[1] // target[1])
        counted = any(row[0] == block for row in arm64.table()[op.name])
        return before * arm64.by_channels(op.name, min(inputs, outputs), block) if counted else None
    if op.name in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
        return after / 4 * arm64.by_channels(op.name, inputs, 2)  # for each output pixel, the factors cost the same to 1 %
    if op.name in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):  # the usual window of a stride is used for all
        stride = round(source[1] / target[1])
        window = next((row[:2] for row in arm64.table()[op.name] if row[1] == stride), None)
        return before * arm64.by_channels(op.name, inputs, *window) if window else None
    name = f"{op.name} constant" if any(graph.tensors[i].constant for i in op.inputs[1:]) else op.name
    name = name if name in arm64.table() else op.name
    return max(before, after) * arm64.by_channels(name, inputs) if name in arm64.table() else None
