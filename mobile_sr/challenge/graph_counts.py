"""The challenge's measures of a network from elsewhere, counted in its float .tflite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.evaluation import instructions
from mobile_sr.inference import litert

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
_AT_THE_END = ("DEPTH_TO_SPACE", "RESHAPE", "TRANSPOSE", "MINIMUM", "MAXIMUM", "RELU", "RELU6", "RELU_0_TO_1")
_RECTIFIERS = ("RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "PRELU")


def counts(data: bytes, name: str, size: tuple[int, int]) -> dict[str, int]:
    """Counts what `models.counts.counts` counts, by the challenge's rule without the quirks of its script.

    What the conversion has folded, such as batch normalization, is not counted, and a linear layer on pixels that became a
    1x1 convolution counts as one.

    Args:
        data: bytes of the float .tflite.
        name: name of the network in messages.
        size: (H, W) of the LR input; a fixed size of the file replaces it.

    Returns:
        {"parameters", "flops", "multiply_adds", "activations", "convolutions", "height", "width"}.
    """
    file = litert.TFLiteModel(data)
    height, width = file.fixed or size
    parsed, graph = litert.parse_graph(data, name), FloatGraph(data)
    (image,) = parsed.image_inputs()
    shapes = instructions.shapes(data, parsed, image, file.layout.input_shape((height, width)))
    result = {"multiply_adds": 0, "rectified": 0, "activations": 0, "convolutions": 0}
    weights: dict[int, int] = {}  # tensor -> its size
    ends = _output_clip(graph)
    for op in graph.ops:
        kind, after = graph.name(op), math.prod(shapes[op.outputs[0]])
        for tensor in op.inputs:
            values = graph.constant(tensor) if tensor >= 0 else None
            if values is not None and values.dtype == np.float32:
                weights[tensor] = values.size
        if kind in _CONVOLUTIONS:
            result["activations"] += after
            result["convolutions"] += 1
        result["multiply_adds"] += _products(kind, op, shapes)
        if (kind in _RECTIFIERS or _fused(op)) and op.outputs[0] not in ends:
            result["rectified"] += after
    flops = result["multiply_adds"] + result.pop("rectified")
    return {"parameters": sum(weights.values()), "flops": flops, **result, "height": height, "width": width}


def _products(kind: str, op: Any, shapes: dict[int, list[int]]) -> int:
    after = math.prod(shapes[op.outputs[0]])
    if kind == "CONV_2D":
        return after * math.prod(shapes[op.inputs[1]][1:])
    if kind == "DEPTHWISE_CONV_2D":
        return after * math.prod(shapes[op.inputs[1]][1:3])
    if kind == "TRANSPOSE_CONV":  # each input element meets the whole kernel of its channel
        return math.prod(shapes[op.inputs[2]]) * math.prod(shapes[op.inputs[1]][:3])
    if kind == "FULLY_CONNECTED":
        return after * shapes[op.inputs[1]][-1]
    if kind == "BATCH_MATMUL":
        return after * shapes[op.inputs[0]][-2 if op.builtinOptions.adjX else -1]
    return 0


def _output_clip(graph: FloatGraph) -> set[int]:
    """The tensors from which the SR output is only clipped or moved; their rectifiers limit it and do not count."""
    makers = {op.outputs[0]: op for op in graph.ops}
    found, tensor = set(), graph.graph.outputs[0]
    while tensor in makers:
        found.add(tensor)
        if graph.name(makers[tensor]) not in _AT_THE_END:
            break
        tensor = makers[tensor].inputs[0]
    return found


def _fused(op: Any) -> bool:
    """Whether a rectifier is a part of the operator: RELU, RELU_N1_TO_1 or RELU6 of the schema."""
    return getattr(op.builtinOptions, "fusedActivationFunction", 0) in (1, 2, 3)
