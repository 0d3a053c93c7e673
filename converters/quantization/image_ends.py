"""Gives the 8-bit input and output the exact range of an image, such as 0..255, so their bytes are pixels.

Two things would give them other scales. An SR output without a clip overshoots, and its scale would follow from the overshoot.
An input that is concatenated with features would get their scale, because a concatenation has one scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mobile_sr.converters.quantization import saturation
from mobile_sr.converters.quantization.channels.equalization_groups import SAME_SCALE
from mobile_sr.converters.quantization.float_graph import FloatGraph

_ALMOST_ONE = np.nextafter(np.float32(1), np.float32(0))  # a product with 1 would be removed, and with it the second scale


def limit(data: bytes, value_range: tuple[int, int]) -> bytes:
    """Change a float .tflite with one image as input and one as output so that `saturation.saturate` limits the output.

    Args:
        data: bytes of the float .tflite.
        value_range: real values of black and white in the output. Other ranges than 0..c change nothing at the output.

    Returns:
        The bytes for the quantizer; the same function up to the limit. A file of several inputs or outputs stays as it is.
    """
    graph = FloatGraph(data)
    if len(graph.graph.inputs) != 1 or len(graph.graph.outputs) != 1:
        return data
    changed = _separate_input(graph)
    low, high = value_range
    if low == 0 and saturation.output_limit(graph) is None:
        _limit_output(graph, high)
        changed = True
    return graph.packed() if changed else data


def _separate_input(graph: FloatGraph) -> bool:
    """Give an input that is merged with other tensors a scale of its own. Returns whether anything changed."""
    waiting, count = [graph.graph.inputs[0]], 0
    while waiting:
        tensor = waiting.pop()
        merging = []
        for op in graph.readers().get(tensor, ()):
            if op is None or graph.name(op) not in SAME_SCALE:
                continue
            if any(graph.is_float(other) and graph.constant(other) is None for other in op.inputs if other != tensor):
                merging.append(op)
            else:
                waiting += op.outputs
        if merging:
            _requantize(graph, tensor, merging)
            count += 1
    return count > 0


def _limit_output(graph: FloatGraph, high: float) -> None:
    """Append a limit to 0..high, after a product with 1 if the last operator cannot saturate."""
    from ai_edge_litert import schema_py_generated as schema

    producers, readers = graph.producers(), graph.readers()
    output = tensor = graph.graph.outputs[0]
    last: Any = None  # the operator behind `tensor`
    while tensor in producers and len(readers[tensor]) == 1 and saturation.keeps_values(graph, producers[tensor]):
        last = producers[tensor]
        tensor = saturation.limited_input(graph, last)
    can_saturate = tensor in producers and len(readers[tensor]) == 1 and saturation.can_saturate(graph, producers[tensor])
    if not can_saturate:
        _requantize(graph, tensor, [last])
    tensor = graph.graph.outputs[0]
    name = graph.tensor_name(output)
    rectified, limited = (graph.add_activation(f"{name}/{part}", tensor) for part in ("from_0", "limited"))
    graph.replace_uses(tensor, limited)
    graph.add_op(len(graph.ops), "RELU", [tensor], [rectified])
    bound = graph.add_constant(f"{name}/limit", np.array(high, np.float32))
    graph.add_op(len(graph.ops), "MINIMUM", [rectified, bound], [limited], schema.MaximumMinimumOptionsT())


def _requantize(graph: FloatGraph, tensor: int, readers: list[Any]) -> None:
    """Insert a product with 1 between a tensor and these readers; None is the output of the graph."""
    from ai_edge_litert import schema_py_generated as schema

    ones = graph.add_constant(f"{graph.tensor_name(tensor)}/one", np.array([_ALMOST_ONE], np.float32))
    result = graph.add_activation(f"{graph.tensor_name(tensor)}/requantized", tensor)
    for op in readers:
        if op is None:
            graph.replace_outputs(tensor, result)
        else:
            op.inputs = [result if other == tensor else other for other in op.inputs]
    producer = graph.producers().get(tensor)
    position = next((k + 1 for k, op in enumerate(graph.ops) if op is producer), 0)
    graph.add_op(position, "MUL", [tensor, ones], [result], schema.MulOptionsT())
