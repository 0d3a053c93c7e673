"""Stores the weights of a float graph as float16 or int8, as TensorFlow's converter does, and scales the axes of weights."""

from __future__ import annotations

import numpy as np

from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.tflite.constants import BIASED

_MIN_INT8 = 1024  # smaller kernels stay in float, as in TensorFlow's converter
_VERSIONS = {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 9}  # operators with int8 weights and float inputs


def as_float16(graph: FloatGraph) -> None:
    """Store all float constants of a graph as float16, each unpacked by a DEQUANTIZE, in place."""
    for tensor in dict.fromkeys(tensor for op in graph.ops for tensor in op.inputs if tensor >= 0 and graph.is_float(tensor)):
        values = graph.constant(tensor)
        if values is not None:
            stored = graph.add_constant(f"{graph.tensor_name(tensor)}_float16", values.astype(np.float16))
            unpacked = graph.add_activation(graph.tensor_name(tensor), tensor)
            for op in graph.ops:
                op.inputs = [unpacked if index == tensor else index for index in op.inputs]
            graph.add_op(0, "DEQUANTIZE", [stored], [unpacked], version=3)


def as_int8(graph: FloatGraph, per_tensor: bool = False) -> None:
    """Store the kernels of a graph as int8 in place; the runtime quantizes the activations of each image itself.

    Kernels of fewer than 1,024 weights and those of transposed convolutions stay in float.

    Args:
        graph: the network.
        per_tensor: use one scale for a whole kernel. Matrix products always have a single one.
    """
    from ai_edge_litert import schema_py_generated as schema

    for op in graph.ops:
        name = graph.name(op)
        weights = graph.constant(op.inputs[BIASED[name][1]]) if name in _VERSIONS else None
        if weights is None or weights.size < _MIN_INT8:
            continue
        axis = 3 if name == "DEPTHWISE_CONV_2D" else 0
        others = None if per_tensor or name == "FULLY_CONNECTED" else tuple(k for k in range(weights.ndim) if k != axis)
        scales = np.maximum(np.abs(weights).max(axis=others, keepdims=True) / np.float32(127), np.float32(1e-30))
        tensor = op.inputs[BIASED[name][1]]
        graph.set_constant(tensor, np.clip(np.round(weights / scales), -127, 127).astype(np.int8))
        quantization = schema.QuantizationParametersT()
        quantization.scale, quantization.quantizedDimension = scales.reshape(-1).astype(np.float32), axis
        quantization.zeroPoint = np.zeros(scales.size, np.int64)
        graph.graph.tensors[tensor].quantization = quantization
        if name == "FULLY_CONNECTED":
            op.builtinOptions.asymmetricQuantizeInputs = True
        graph.set_version(op, _VERSIONS[name])


def on_outputs(name: str, weights: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return factors [C_out] of the output channels in a shape that broadcasts against the weights.

    Args:
        name: operator, such as 'CONV_2D'.
        weights: [1, k, k, C_out] of a depthwise convolution; [C_out, k, k, C_in / groups] or [C_out, C_in] of others.
        factors: one per output channel.
    """
    return factors if name == "DEPTHWISE_CONV_2D" else factors.reshape(-1, *[1] * (weights.ndim - 1))


def on_inputs(name: str, weights: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return factors [C_in] of the input channels in a shape that broadcasts against the weights.

    Args:
        name, weights: as for `on_outputs`.
        factors: one per input channel.
    """
    if name == "DEPTHWISE_CONV_2D":  # output channel o reads o // multiplier
        return np.repeat(factors, weights.shape[-1] // len(factors))
    per_group = factors.reshape(-1, weights.shape[-1])
    per_output = np.repeat(per_group, len(weights) // len(per_group), axis=0)
    return per_output.reshape(len(weights), *[1] * (weights.ndim - 2), -1)
