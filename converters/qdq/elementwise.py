"""Operators that compute element by element, in the layout of their inputs."""

from __future__ import annotations

from collections.abc import Callable

from mobile_sr.converters.qdq.activations import CLIPS, RELU6, clip, finish
from mobile_sr.converters.qdq.static_graph import StaticOp
from mobile_sr.converters.qdq.writer import Layout, UnsupportedError, Writer


def _elementwise(kind: str) -> Callable[[Writer, StaticOp], None]:
    """Return the writer of an operator whose operands are broadcast."""

    def emit_one(writer: Writer, op: StaticOp) -> None:
        layout = writer.common_layout(op)
        inputs = [_operand(writer, index, layout, writer.rank(op.outputs[0])) for index in op.inputs]
        finish(writer, op, writer.node(kind, inputs, op.label), layout)

    return emit_one


def _operand(writer: Writer, tensor: int, layout: Layout, rank: int) -> str:
    """Return the real values of an operand; a constant gets the result's number of dimensions."""
    if not writer.static.is_constant(tensor):
        return writer.real(tensor, layout)
    stored = writer.static.values(tensor)
    stored = stored.reshape((1,) * (rank - stored.ndim) + stored.shape)
    return writer.real_constant(tensor, stored.transpose(0, 3, 1, 2) if layout == "NCHW" else stored)


def _unary(kind: str) -> Callable[[Writer, StaticOp], None]:
    """Return the writer of an operator with one operand and no options."""

    def emit_one(writer: Writer, op: StaticOp) -> None:
        layout = writer.common_layout(op)
        writer.write(op.outputs[0], writer.node(kind, [writer.real(op.inputs[0], layout)], op.label), layout)

    return emit_one


def _leaky_relu(writer: Writer, op: StaticOp) -> None:
    layout = writer.common_layout(op)
    value = writer.node("LeakyRelu", [writer.real(op.inputs[0], layout)], op.label, alpha=float(op.option("alpha", 0.0)))
    writer.write(op.outputs[0], value, layout)


def _gelu(writer: Writer, op: StaticOp) -> None:
    layout = writer.common_layout(op)
    approximate = "tanh" if op.option("approximate", False) else "none"
    value = writer.node("Gelu", [writer.real(op.inputs[0], layout)], op.label, approximate=approximate)
    writer.write(op.outputs[0], value, layout)


def _softmax(writer: Writer, op: StaticOp) -> None:
    if op.option("beta", 1.0) != 1.0:
        raise UnsupportedError(f"operator {op.label} has beta {op.option('beta')}")
    layout = writer.common_layout(op)
    axis = 1 if layout == "NCHW" else writer.rank(op.inputs[0]) - 1
    writer.write(op.outputs[0], writer.node("Softmax", [writer.real(op.inputs[0], layout)], op.label, axis=axis), layout)


def _relu6(writer: Writer, op: StaticOp) -> None:
    layout = writer.common_layout(op)
    writer.write(op.outputs[0], clip(writer, op, writer.real(op.inputs[0], layout), *CLIPS[RELU6]), layout)


def _prelu(writer: Writer, op: StaticOp) -> None:
    layout = writer.common_layout(op)
    slopes = _operand(writer, op.inputs[1], layout, writer.rank(op.outputs[0]))
    writer.write(op.outputs[0], writer.node("PRelu", [writer.real(op.inputs[0], layout), slopes], op.label), layout)


def _quantize(writer: Writer, op: StaticOp) -> None:
    """QUANTIZE and DEQUANTIZE. All integers are unsigned here, so a mere change of sign needs no node."""
    source, target = op.inputs[0], op.outputs[0]
    if writer.alias(target, source):
        return
    layout = writer.common_layout(op)
    writer.write(target, writer.real(source, layout), layout)


OPERATORS: dict[str, Callable[[Writer, StaticOp], None]] = {
    "ADD": _elementwise("Add"),
    "SUB": _elementwise("Sub"),
    "MUL": _elementwise("Mul"),
    "DIV": _elementwise("Div"),
    "MAXIMUM": _elementwise("Max"),
    "MINIMUM": _elementwise("Min"),
    "RELU": _unary("Relu"),
    "LOGISTIC": _unary("Sigmoid"),
    "TANH": _unary("Tanh"),
    "HARD_SWISH": _unary("HardSwish"),
    "ABS": _unary("Abs"),
    "RELU6": _relu6,
    "PRELU": _prelu,
    "LEAKY_RELU": _leaky_relu,
    "GELU": _gelu,
    "SOFTMAX": _softmax,
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _quantize,
}
