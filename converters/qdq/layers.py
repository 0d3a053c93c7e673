"""Convolutions, dense layers, pools and resizes, which ONNX computes in NCHW."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mobile_sr.converters.qdq.activations import finish
from mobile_sr.converters.qdq.static_graph import StaticOp
from mobile_sr.converters.qdq.writer import UnsupportedError, Writer

_SAME = 0  # Padding of the schema


def _pads(
    sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], padding: int
) -> list[int]:
    """Return ONNX's pads (top, left, bottom, right) of TFLite's padding."""
    if padding != _SAME:
        return [0, 0, 0, 0]
    before, after = [], []
    for size, side, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + (side - 1) * dilation + 1 - size, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return before + after


def _conv(writer: Writer, op: StaticOp) -> None:
    """CONV_2D [O, H, W, I / groups] and DEPTHWISE_CONV_2D [1, H, W, O]."""
    source, kernel, *bias = op.inputs
    stored = writer.static.values(kernel)
    depthwise = op.name == "DEPTHWISE_CONV_2D"
    stored = stored.transpose(3, 0, 1, 2) if depthwise else stored.transpose(0, 3, 1, 2)
    strides = [op.option("strideH", 1), op.option("strideW", 1)]
    dilations = [op.option("dilationHFactor", 1), op.option("dilationWFactor", 1)]
    size = writer.shape(source, "NCHW")
    inputs = [writer.real(source, "NCHW"), writer.weights(kernel, stored, 0)]
    result = writer.node(
        "Conv",
        inputs + _bias(writer, bias),
        op.label,
        kernel_shape=list(stored.shape[2:]),
        strides=strides,
        dilations=dilations,
        group=size[1] if depthwise else size[1] // stored.shape[1],
        pads=_pads(size[2:], stored.shape[2:], strides, dilations, op.option("padding")),
    )
    finish(writer, op, result, "NCHW")


def _bias(writer: Writer, bias: Sequence[int]) -> list[str]:
    """Return the name of the bias, or nothing if it is absent."""
    return [writer.weights(index, writer.static.values(index), 0) for index in bias if index >= 0]


def _transpose_conv(writer: Writer, op: StaticOp) -> None:
    """TRANSPOSE_CONV: inputs are the output's shape, the kernel [O, H, W, I], the image and an optional bias."""
    _, kernel, source, *bias = op.inputs
    stored = writer.static.values(kernel).transpose(3, 0, 1, 2)
    strides = [op.option("strideH", 1), op.option("strideW", 1)]
    before, after, missing = [], [], []
    sizes = zip(
        writer.shape(source, "NCHW")[2:], writer.shape(op.outputs[0], "NCHW")[2:], stored.shape[2:], strides, strict=True
    )
    for size, result_size, side, stride in sizes:
        total = (size - 1) * stride + side - result_size
        before.append(max(total, 0) // 2)
        after.append(max(total, 0) - max(total, 0) // 2)
        missing.append(max(-total, 0))
    inputs = [writer.real(source, "NCHW"), writer.weights(kernel, stored, 1)]
    result = writer.node(
        "ConvTranspose",
        inputs + _bias(writer, bias),
        op.label,
        kernel_shape=list(stored.shape[2:]),
        strides=strides,
        pads=before + after,
        output_padding=missing,
    )
    finish(writer, op, result, "NCHW")


def _fully_connected(writer: Writer, op: StaticOp) -> None:
    source, kernel, *bias = op.inputs
    if not writer.static.is_constant(kernel):
        raise UnsupportedError(f"operator {op.label} has computed weights; they must be constant")
    stored = writer.static.values(kernel)
    value, shape = writer.real(source), writer.shape(source, "NHWC")
    if len(shape) != 2 or shape[1] != stored.shape[1]:
        flat = writer.integers(f"{op.label}_flat", [-1, stored.shape[1]])
        value = writer.node("Reshape", [value, flat], f"{op.label}_flatten")
    result = writer.node("Gemm", [value, writer.weights(kernel, stored, 0), *_bias(writer, bias)], op.label, transB=1)
    if writer.rank(op.outputs[0]) != 2:
        shaped = writer.integers(f"{op.label}_shape", writer.shape(op.outputs[0], "NHWC"))
        result = writer.node("Reshape", [result, shaped], f"{op.label}_reshape")
    finish(writer, op, result, "NHWC")


def _pool(kind: str) -> Callable[[Writer, StaticOp], None]:
    def emit_one(writer: Writer, op: StaticOp) -> None:
        kernel = [op.option("filterHeight", 1), op.option("filterWidth", 1)]
        strides = [op.option("strideH", 1), op.option("strideW", 1)]
        pads = _pads(writer.shape(op.inputs[0], "NCHW")[2:], kernel, strides, [1, 1], op.option("padding"))
        value = writer.real(op.inputs[0], "NCHW")
        finish(writer, op, writer.node(kind, [value], op.label, kernel_shape=kernel, strides=strides, pads=pads), "NCHW")

    return emit_one


def _depth_to_space(writer: Writer, op: StaticOp) -> None:
    value = writer.real(op.inputs[0], "NCHW")
    writer.write(
        op.outputs[0], writer.node("DepthToSpace", [value], op.label, blocksize=op.option("blockSize"), mode="DCR"), "NCHW"
    )


def _space_to_depth(writer: Writer, op: StaticOp) -> None:
    value = writer.real(op.inputs[0], "NCHW")
    writer.write(op.outputs[0], writer.node("SpaceToDepth", [value], op.label, blocksize=op.option("blockSize")), "NCHW")


def _resize(writer: Writer, op: StaticOp) -> None:
    """RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR."""
    linear = op.name == "RESIZE_BILINEAR"
    if op.option("alignCorners", False):
        coordinates, rounding = "align_corners", "round_prefer_ceil"
    elif op.option("halfPixelCenters", False):
        coordinates, rounding = "half_pixel", "round_prefer_ceil"
    else:
        coordinates, rounding = "asymmetric", "floor"
    sizes = writer.integers(f"{op.label}_sizes", writer.shape(op.outputs[0], "NCHW"))
    options: dict[str, Any] = {"mode": "linear"} if linear else {"mode": "nearest", "nearest_mode": rounding}
    inputs = [writer.real(op.inputs[0], "NCHW"), "", "", sizes]
    value = writer.node("Resize", inputs, op.label, coordinate_transformation_mode=coordinates, **options)
    writer.write(op.outputs[0], value, "NCHW")


OPERATORS: dict[str, Callable[[Writer, StaticOp], None]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _conv,
    "TRANSPOSE_CONV": _transpose_conv,
    "FULLY_CONNECTED": _fully_connected,
    "MAX_POOL_2D": _pool("MaxPool"),
    "AVERAGE_POOL_2D": _pool("AveragePool"),
    "DEPTH_TO_SPACE": _depth_to_space,
    "SPACE_TO_DEPTH": _space_to_depth,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
}
