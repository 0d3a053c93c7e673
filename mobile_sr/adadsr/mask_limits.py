"""Prepares the depth masks of AdaDSR's dense graph for 8 bits: as limits, which become saturation of the tensors.

A mask, clamp(depth - l, 0, 1), is then one subtraction with a result of scale 1/255: exactly 0 and 1 at its limits. As the
difference of two ReLUs, each rounded with its own scale, it would hardly ever be exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mobile_sr.converters.quantization.float_graph import FloatGraph

# Without a subtraction, the first mask would be the depth map itself. The smallest number that XNNPACK subtracts from a result
# of scale 1/255 is 2**-10. This one changes no level of a mask by more than its rounding.
_NEARLY_ZERO = 2.0**-9


def limit(graph: FloatGraph) -> int:
    """Rewrite relu(d - l) - relu(d - l - 1) as min(relu(d - l), 1) and limit d to the number of masks, in place.

    Args:
        graph: the dense form of a network with depth masks.

    Returns:
        The number of rewritten masks.
    """
    producers = graph.producers()
    masks = []
    for op in graph.ops:
        parts = [_rectified(graph, tensor, producers) for tensor in op.inputs] if graph.name(op) == "SUB" else []
        if len(parts) == 2 and parts[0] and parts[1] and parts[0][0] == parts[1][0] and parts[1][1] == parts[0][1] + 1:
            masks.append((op, *parts[0]))
    maps: dict[int, float] = {}
    for op, source, block in masks:
        _rewrite(graph, op, source, block)
        depth = _map(graph, source, producers)
        maps[depth] = max(maps.get(depth, 0.0), block + 1)
    for depth, highest in maps.items():
        position = 1 + next(k for k, op in enumerate(graph.ops) if depth in op.outputs)
        _limit(graph, position, depth, highest)
    graph.remove_unused()
    return len(masks)


def _rectified(graph: FloatGraph, tensor: int, producers: dict[int, Any]) -> tuple[int, float] | None:
    """(x, c) of a tensor relu(x - c) with a constant c; None for other tensors."""
    op, offset, rectified = producers.get(tensor), 0.0, False
    while op is not None:
        name = graph.name(op)
        rectified |= name == "RELU" or graph.activation(op) == "RELU"
        constant = graph.constant(op.inputs[1]) if name in ("SUB", "ADD") else None
        if name == "RELU":
            # relu(relu(x) - c) is relu(x - c) for c >= 0
            tensor = op.inputs[0]
        elif constant is not None and constant.size == 1 and graph.activation(op) in ("NONE", "RELU"):
            offset += float(constant.reshape(())) * (1 if name == "SUB" else -1)
            tensor = op.inputs[0]
        else:
            break
        op = producers.get(tensor)
    return (tensor, offset) if rectified and offset >= 0 else None


def _map(graph: FloatGraph, tensor: int, producers: dict[int, Any]) -> int:
    """The depth maps that a tensor was sliced from, or the tensor itself."""
    op = producers.get(tensor)
    return int(op.inputs[0]) if op is not None and graph.name(op) in ("STRIDED_SLICE", "SLICE") else tensor


def _rewrite(graph: FloatGraph, op: Any, source: int, block: float) -> None:
    from ai_edge_litert import schema_py_generated as schema

    position = next(k for k, other in enumerate(graph.ops) if other is op)
    mask = op.outputs[0]
    above, positive = (graph.add_activation(f"{graph.tensor_name(mask)}/{part}", mask) for part in ("above", "positive"))
    subtracted = graph.add_constant("block", np.array(block or _NEARLY_ZERO, np.float32))
    one = graph.add_constant("one", np.array(1, np.float32))
    graph.ops.remove(op)
    graph.add_op(position, "SUB", [source, subtracted], [above], schema.SubOptionsT())
    graph.add_op(position + 1, "RELU", [above], [positive])
    graph.add_op(position + 2, "MINIMUM", [positive, one], [mask], schema.MaximumMinimumOptionsT())


def _limit(graph: FloatGraph, position: int, tensor: int, high: float) -> None:
    from ai_edge_litert import schema_py_generated as schema

    positive, limited = (
        graph.add_activation(f"{graph.tensor_name(tensor)}/{part}", tensor) for part in ("positive", "limited")
    )
    highest = graph.add_constant("deepest", np.array(high, np.float32))
    graph.replace_uses(tensor, limited)
    graph.add_op(position, "RELU", [tensor], [positive])
    graph.add_op(position + 1, "MINIMUM", [positive, highest], [limited], schema.MaximumMinimumOptionsT())
