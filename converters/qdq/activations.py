"""Fused activations of TFLite operators as ONNX nodes."""

from __future__ import annotations

import numpy as np

from mobile_sr.converters.qdq.static_graph import StaticOp
from mobile_sr.converters.qdq.writer import Layout, UnsupportedError, Writer

_RELU, _RELU_N1_TO_1, RELU6 = 1, 2, 3  # ActivationFunctionType of the schema
CLIPS: dict[int, tuple[float, float | None]] = {_RELU: (0.0, None), _RELU_N1_TO_1: (-1.0, 1.0), RELU6: (0.0, 6.0)}


def activated(writer: Writer, op: StaticOp, value: str, activation: int) -> str:
    """Apply a fused activation, unless the range of the output's integers implies it."""
    if not activation:
        return value
    if activation not in CLIPS:
        raise UnsupportedError(f"operator {op.label} has the fused activation {activation}")
    low, high = CLIPS[activation]
    smallest, largest = writer.limits(op.outputs[0]) if writer.is_quantized(op.outputs[0]) else (-np.inf, np.inf)
    if smallest >= low and (high is None or largest <= high):
        return value
    return clip(writer, op, value, low, high)


def clip(writer: Writer, op: StaticOp, value: str, low: float, high: float | None) -> str:
    """Limit values to low..high, or from below only."""
    if high is None:
        return writer.node("Relu", [value], f"{op.label}_relu")
    limits = [writer.number(f"{op.label}_low", low), writer.number(f"{op.label}_high", high)]
    return writer.node("Clip", [value, *limits], f"{op.label}_clip")


def finish(writer: Writer, op: StaticOp, value: str, layout: Layout) -> None:
    """Store an operator's only result after its fused activation."""
    writer.write(op.outputs[0], activated(writer, op, value, op.option("fusedActivationFunction")), layout)
