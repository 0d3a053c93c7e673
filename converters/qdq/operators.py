"""TFLite operators as ONNX nodes: convolutions, element-wise and moving operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mobile_sr.converters.qdq.static_graph import StaticOp
from mobile_sr.converters.qdq.writer import Layout, UnsupportedError, Writer

_RELU, _RELU_N1_TO_1, _RELU6 = 1, 2, 3  # ActivationFunctionType of the schema
_CLIPS: dict[int, tuple[float, float | None]] = {_RELU: (0.0, None), _RELU_N1_TO_1: (-1.0, 1.0), _RELU6: (0.0, 6.0)}
_SAME = 0  # Padding of the schema
# Axes of an NHWC tensor in NCHW.
_NCHW_AXES = (0, 2, 3, 1)


def emit(writer: Writer, op: StaticOp) -> None:
    """Adds the nodes of an operator.

    Raises:
        UnsupportedError: there is no ONNX form of the operator; the message names it.
    """
    if op.name not in _OPERATORS:
        raise UnsupportedError(f"operator {op.label} has no QDQ form here; supported: {', '.join(sorted(_OPERATORS))}")
    _OPERATORS[op.name](writer, op)


def _activated(writer: Writer, op: StaticOp, value: str, activation: int) -> str:
    """Applies a fused activation, unless the range of the output's integers does so by itself."""
    if not activation:
        return value
    if activation not in _CLIPS:
        raise UnsupportedError(f"operator {op.label} has the fused activation {activation}")
    low, high = _CLIPS[activation]
    least, greatest = writer.limits(op.outputs[0]) if writer.is_quantized(op.outputs[0]) else (-np.inf, np.inf)
    if least >= low and (high is None or greatest <= high):
        return value
    return _clip(writer, op, value, low, high)


def _clip(writer: Writer, op: StaticOp, value: str, low: float, high: float | None) -> str:
    if high is None:
        return writer.node("Relu", [value], f"{op.label}_relu")
    limits = [writer.number(f"{op.label}_low", low), writer.number(f"{op.label}_high", high)]
    return writer.node("Clip", [value, *limits], f"{op.label}_clip")


def _finish(writer: Writer, op: StaticOp, value: str, layout: Layout) -> None:
    """Stores an operator's only result after its fused activation."""
    writer.write(op.outputs[0], _activated(writer, op, value, op.option("fusedActivationFunction")), layout)


# Convolutions


def _pads(
    sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], padding: int
) -> list[int]:
    """Returns ONNX's pads (top, left, bottom, right) of TFLite's padding."""
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
    _finish(writer, op, result, "NCHW")


def _bias(writer: Writer, bias: Sequence[int]) -> list[str]:
    """Returns the name of the bias, or nothing if it is absent."""
    return [writer.weights(index, writer.static.values(index), 0) for index in bias if index >= 0]


def _transpose_conv(writer: Writer, op: StaticOp) -> None:
    """TRANSPOSE_CONV: inputs are the output's shape, the kernel [O, H, W, I], the image and perhaps a bias."""
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
    _finish(writer, op, result, "NCHW")


def _fully_connected(writer: Writer, op: StaticOp) -> None:
    source, kernel, *bias = op.inputs
    if not writer.static.is_constant(kernel):
        raise UnsupportedError(f"operator {op.label} has weights that are computed")
    stored = writer.static.values(kernel)
    value, shape = writer.real(source), writer.shape(source, "NHWC")
    if len(shape) != 2 or shape[1] != stored.shape[1]:
        flat = writer.integers(f"{op.label}_flat", [-1, stored.shape[1]])
        value = writer.node("Reshape", [value, flat], f"{op.label}_flatten")
    result = writer.node("Gemm", [value, writer.weights(kernel, stored, 0), *_bias(writer, bias)], op.label, transB=1)
    if writer.rank(op.outputs[0]) != 2:
        shaped = writer.integers(f"{op.label}_shape", writer.shape(op.outputs[0], "NHWC"))
        result = writer.node("Reshape", [result, shaped], f"{op.label}_reshape")
    _finish(writer, op, result, "NHWC")


# Element by element


def _elementwise(kind: str) -> Callable[[Writer, StaticOp], None]:
    """An operator of several operands that are broadcast."""

    def emit_one(writer: Writer, op: StaticOp) -> None:
        layout = writer.common_layout(op)
        inputs = [_operand(writer, index, layout, writer.rank(op.outputs[0])) for index in op.inputs]
        _finish(writer, op, writer.node(kind, inputs, op.label), layout)

    return emit_one


def _operand(writer: Writer, tensor: int, layout: Layout, rank: int) -> str:
    """Returns the real values of an operand; a constant gets the result's number of dimensions."""
    if not writer.static.is_constant(tensor):
        return writer.real(tensor, layout)
    stored = writer.static.values(tensor)
    stored = stored.reshape((1,) * (rank - stored.ndim) + stored.shape)
    return writer.real_constant(tensor, stored.transpose(0, 3, 1, 2) if layout == "NCHW" else stored)


def _unary(kind: str) -> Callable[[Writer, StaticOp], None]:
    """An operator of one operand and no option."""

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
    writer.write(op.outputs[0], _clip(writer, op, writer.real(op.inputs[0], layout), *_CLIPS[_RELU6]), layout)


def _prelu(writer: Writer, op: StaticOp) -> None:
    layout = writer.common_layout(op)
    slopes = _operand(writer, op.inputs[1], layout, writer.rank(op.outputs[0]))
    writer.write(op.outputs[0], writer.node("PRelu", [writer.real(op.inputs[0], layout), slopes], op.label), layout)


def _quantize(writer: Writer, op: StaticOp) -> None:
    """QUANTIZE and DEQUANTIZE. A change of sign only is none here, where all integers are unsigned."""
    source, target = op.inputs[0], op.outputs[0]
    if writer.alias(target, source):
        return
    layout = writer.common_layout(op)
    writer.write(target, writer.real(source, layout), layout)


# Pools, sizes


def _pool(kind: str) -> Callable[[Writer, StaticOp], None]:
    def emit_one(writer: Writer, op: StaticOp) -> None:
        kernel = [op.option("filterHeight", 1), op.option("filterWidth", 1)]
        strides = [op.option("strideH", 1), op.option("strideW", 1)]
        pads = _pads(writer.shape(op.inputs[0], "NCHW")[2:], kernel, strides, [1, 1], op.option("padding"))
        value = writer.real(op.inputs[0], "NCHW")
        _finish(writer, op, writer.node(kind, [value], op.label, kernel_shape=kernel, strides=strides, pads=pads), "NCHW")

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
    options = {"mode": "linear"} if linear else {"mode": "nearest", "nearest_mode": rounding}
    inputs = [writer.real(op.inputs[0], "NCHW"), "", "", sizes]
    value = writer.node("Resize", inputs, op.label, coordinate_transformation_mode=coordinates, **options)
    writer.write(op.outputs[0], value, "NCHW")


def _reduce(kind: str) -> Callable[[Writer, StaticOp], None]:
    def emit_one(writer: Writer, op: StaticOp) -> None:
        source, target = op.inputs[0], op.outputs[0]
        keep = bool(op.option("keepDims", False))
        layout: Layout = writer.layout(source) if keep and writer.rank(source) == 4 else "NHWC"
        axes = sorted({_axis(int(axis), writer.rank(source), layout) for axis in np.ravel(writer.static.values(op.inputs[1]))})
        inputs = [writer.real(source, layout), writer.integers(f"{op.label}_axes", axes)]
        writer.write(target, writer.node(kind, inputs, op.label, keepdims=int(keep)), layout)

    return emit_one


def _axis(axis: int, rank: int, layout: Layout) -> int:
    """Returns an axis of TFLite in a layout."""
    axis %= rank
    return _NCHW_AXES[axis] if layout == "NCHW" and rank == 4 else axis


def _in_layout(values: Sequence[int], layout: Layout) -> list[int]:
    """Returns a number per axis in the order of a layout."""
    numbers = [int(value) for value in values]
    return [numbers[k] for k in (0, 3, 1, 2)] if layout == "NCHW" and len(numbers) == 4 else numbers


# Moving


def _concatenation(writer: Writer, op: StaticOp) -> None:
    layout = writer.common_layout(op)
    axis = _axis(op.option("axis"), writer.rank(op.outputs[0]), layout)
    inputs = [writer.real(index, layout) for index in op.inputs]
    _finish(writer, op, writer.node("Concat", inputs, op.label, axis=axis), layout)


def _pad(writer: Writer, op: StaticOp) -> None:
    """PAD with the real value 0, PADV2 with a constant, MIRROR_PAD."""
    layout = writer.common_layout(op)
    pads = writer.static.values(op.inputs[1])
    widths = [*_in_layout(pads[:, 0], layout), *_in_layout(pads[:, 1], layout)]
    inputs = [writer.real(op.inputs[0], layout), writer.integers(f"{op.label}_pads", widths)]
    mode = "constant"
    if op.name == "MIRROR_PAD":
        if op.option("mode"):
            raise UnsupportedError(f"operator {op.label} mirrors symmetrically")
        mode = "reflect"
    elif op.name == "PADV2":
        tensor = op.inputs[2]
        scale, zero_point = writer.static.graph.tensors[tensor].scales, writer.static.graph.tensors[tensor].zero_points
        stored = float(np.ravel(writer.static.values(tensor))[0])
        inputs.append(writer.number(f"{op.label}_value", (stored - zero_point[0]) * scale[0] if len(scale) else stored))
    else:
        inputs.append(writer.number(f"{op.label}_value", 0.0))
    writer.write(op.outputs[0], writer.node("Pad", inputs, op.label, mode=mode), layout)


def _slice(writer: Writer, op: StaticOp) -> None:
    """SLICE by (begin, size)."""
    begin = np.ravel(writer.static.values(op.inputs[1]))
    ends = begin + writer.static.shapes[op.outputs[0]]
    _emit_slice(writer, op, begin, ends, np.ones_like(begin), op.outputs[0])


def _strided_slice(writer: Writer, op: StaticOp) -> None:
    """STRIDED_SLICE without new axes and ellipsis."""
    if op.option("ellipsisMask") or op.option("newAxisMask"):
        raise UnsupportedError(f"operator {op.label} has new axes or an ellipsis")
    shape = writer.static.shapes[op.inputs[0]]
    values = [np.ravel(writer.static.values(index)) for index in op.inputs[1:]]
    begins, ends = [], []
    for axis, (begin, end, stride) in enumerate(zip(*values, strict=True)):
        if stride < 1:
            raise UnsupportedError(f"operator {op.label} has the stride {stride}")
        bit = 1 << axis
        first = 0 if op.option("beginMask") & bit else int(begin) + shape[axis] * (begin < 0)
        last = shape[axis] if op.option("endMask") & bit else int(end) + shape[axis] * (end < 0)
        begins.append(first)
        ends.append(first + 1 if op.option("shrinkAxisMask") & bit else min(last, shape[axis]))
    _emit_slice(writer, op, begins, ends, values[2], op.outputs[0])


def _emit_slice(
    writer: Writer, op: StaticOp, begins: Sequence[int], ends: Sequence[int], strides: Sequence[int], target: int
) -> None:
    source = op.inputs[0]
    same_rank = writer.rank(source) == writer.rank(target)
    layout: Layout = writer.common_layout(op) if same_rank else "NHWC"
    if same_rank and writer.static.shapes[source] == writer.static.shapes[target] and writer.alias(target, source):
        return  # nothing is cut off
    axes = range(len(begins))
    labels = zip(("begins", "ends", "axes", "steps"), (begins, ends, axes, strides), strict=True)
    order = _in_layout(range(4), layout) if len(begins) == 4 and layout == "NCHW" else list(axes)
    inputs = [
        writer.integers(
            f"{op.label}_{label}", list(range(len(begins))) if label == "axes" else [int(numbers[k]) for k in order]
        )
        for label, numbers in labels
    ]
    value = writer.node("Slice", [writer.real(source, layout), *inputs], op.label)
    if not same_rank:
        value = writer.node(
            "Reshape", [value, writer.integers(f"{op.label}_shape", writer.shape(target, "NHWC"))], f"{op.label}_squeeze"
        )
    writer.write(target, value, layout)


def _split(writer: Writer, op: StaticOp) -> None:
    """SPLIT (axis, image) and SPLIT_V (image, sizes, axis)."""
    source, axis_tensor = (op.inputs[1], op.inputs[0]) if op.name == "SPLIT" else (op.inputs[0], op.inputs[2])
    layout: Layout = writer.layout(source) if writer.rank(source) == 4 else "NHWC"
    axis = int(np.ravel(writer.static.values(axis_tensor))[0]) % writer.rank(source)
    sizes = writer.integers(f"{op.label}_sizes", [writer.static.shapes[index][axis] for index in op.outputs])
    inputs = [writer.real(source, layout), sizes]
    values = writer.node("Split", inputs, op.label, outputs=len(op.outputs), axis=_axis(axis, writer.rank(source), layout))
    for index, value in zip(op.outputs, [values] if isinstance(values, str) else values, strict=True):
        writer.write(index, value, layout)


def _reshape(writer: Writer, op: StaticOp) -> None:
    """RESHAPE, SQUEEZE and EXPAND_DIMS; the shape is that of the result at this size."""
    source, target = op.inputs[0], op.outputs[0]
    if writer.static.shapes[source] == writer.static.shapes[target] and writer.alias(target, source):
        return
    shape = writer.integers(f"{op.label}_shape", writer.shape(target, "NHWC"))
    writer.write(target, writer.node("Reshape", [writer.real(source), shape], op.label))


def _transpose(writer: Writer, op: StaticOp) -> None:
    permutation = [int(axis) for axis in np.ravel(writer.static.values(op.inputs[1]))]
    writer.write(op.outputs[0], writer.node("Transpose", [writer.real(op.inputs[0])], op.label, perm=permutation))


_OPERATORS: dict[str, Callable[[Writer, StaticOp], None]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _conv,
    "TRANSPOSE_CONV": _transpose_conv,
    "FULLY_CONNECTED": _fully_connected,
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
    "MAX_POOL_2D": _pool("MaxPool"),
    "AVERAGE_POOL_2D": _pool("AveragePool"),
    "DEPTH_TO_SPACE": _depth_to_space,
    "SPACE_TO_DEPTH": _space_to_depth,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "MEAN": _reduce("ReduceMean"),
    "SUM": _reduce("ReduceSum"),
    "REDUCE_MAX": _reduce("ReduceMax"),
    "CONCATENATION": _concatenation,
    "PAD": _pad,
    "PADV2": _pad,
    "MIRROR_PAD": _pad,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "SPLIT": _split,
    "SPLIT_V": _split,
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "TRANSPOSE": _transpose,
}
