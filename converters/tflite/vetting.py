"""Checks operators and types of a parsed .tflite file. The runtime's delegate assumes they are right and crashes otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mobile_sr.converters.tflite import flatbuffer

# Operators that move, select or compare values: their integers need no scale. Custom operators are not checked.
_MOVING = {
    *("ARG_MAX", "ARG_MIN", "BITCAST", "BROADCAST_ARGS", "BROADCAST_TO", "CAST", "CALL", "CALL_ONCE", "CONCATENATION"),
    *("DEPTH_TO_SPACE", "DYNAMIC_UPDATE_SLICE", "EXPAND_DIMS", "FILL", "GATHER", "GATHER_ND", "IF", "MIRROR_PAD", "ONE_HOT"),
    *("PACK", "PAD", "PADV2", "RANK", "RESHAPE", "REVERSE_SEQUENCE", "REVERSE_V2", "SCATTER_ND", "SELECT", "SELECT_V2"),
    *("SHAPE", "SLICE", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE", "UNIQUE"),
    *("UNPACK", "WHERE", "WHILE", "ZEROS_LIKE"),
}
# {operator: ((minimum, maximum) number of inputs, whether the first output has the type of the first input)}.
_FORMS = {
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "PRELU", "SQUARED_DIFFERENCE"), ((2, 2), True)),
    **dict.fromkeys(("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "LOGISTIC", "TANH", "ELU"), ((1, 1), True)),
    **dict.fromkeys(("HARD_SWISH", "GELU", "SOFTMAX", "ABS", "NEG", "SQRT", "RSQRT", "SQUARE", "EXP", "LOG"), ((1, 1), True)),
    **dict.fromkeys(("DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), ((1, 1), True)),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "TRANSPOSE", "PAD", "MIRROR_PAD", "TILE"), ((2, 2), True)),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "EXPAND_DIMS", "BROADCAST_TO", "REVERSE_V2"), ((2, 2), True)),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), ((2, 3), True)),
    **dict.fromkeys(("QUANTIZE", "DEQUANTIZE", "CAST", "DENSIFY"), ((1, 1), False)),
    "FULLY_CONNECTED": ((2, 3), False),
    "TRANSPOSE_CONV": ((3, 4), False),
    "SLICE": ((3, 3), True),
    "STRIDED_SLICE": ((4, 4), True),
    "GATHER": ((2, 2), True),
    "GATHER_ND": ((2, 2), True),
    "PADV2": ((3, 3), True),
    "SQUEEZE": ((1, 1), True),
    "RESHAPE": ((1, 2), True),
    "CONCATENATION": ((1, 10_000), True),
    "PACK": ((1, 10_000), True),
}
_NARROW = ("int8", "uint8", "int16")
# {type of the image: supported types of the kernel}, and of the bias.
_KERNELS = {"float32": ("float32", "float16", "int8", "int4", "uint8"), "int8": ("int8", "int4"), "uint8": ("uint8",)}
_KERNELS |= {"int16": ("int8",)}
_BIASES = {"float32": ("float32",), "int8": ("int32",), "uint8": ("int32",), "int16": ("int64", "int32")}


# {operator: name of its options in the schema}, of the operators that are checked.
_OPTIONS = {
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), "Pool2DOptions"),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL"), "ReducerOptions"),
    **dict.fromkeys(("MAXIMUM", "MINIMUM"), "MaximumMinimumOptions"),
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
    "DEPTH_TO_SPACE": "DepthToSpaceOptions",
    "SPACE_TO_DEPTH": "SpaceToDepthOptions",
    "CONCATENATION": "ConcatenationOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
}
# Operators that need options: the runtime would otherwise assume a stride or block size.
_NEED_OPTIONS = {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "CONCATENATION"}
_NEED_OPTIONS |= {"AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"}


def problem(graph: flatbuffer.Graph) -> str | None:
    """Return why the operators of a parsed file cannot run, or None if no problem was found."""
    for op in graph.ops:
        reason = None if op.custom else _problem(op, [graph.tensors[i] for i in op.inputs if i >= 0], graph)
        if reason:
            return f"{op.name} {reason}"
    return None


def _problem(op: flatbuffer.Op, inputs: Sequence[flatbuffer.Tensor], graph: flatbuffer.Graph) -> str | None:
    outputs = [graph.tensors[i] for i in op.outputs]
    if op.options != _OPTIONS.get(op.name, op.options) and (op.options != "NONE" or op.name in _NEED_OPTIONS):
        return f"has the options {op.options}"
    if op.name in _FORMS:
        (low, high), same_type = _FORMS[op.name]
        if not low <= len(inputs) <= high or not outputs:
            return f"has {len(inputs)} inputs and {len(outputs)} outputs"
        if same_type and inputs[0].dtype != outputs[0].dtype:
            return f"turns {inputs[0].dtype} into {outputs[0].dtype}"
    if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        reason = _kernel_problem(*inputs)
        if reason:
            return reason
    if op.name in ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM") and inputs[0].dtype != inputs[1].dtype:
        return f"has inputs of {inputs[0].dtype} and {inputs[1].dtype}"
    narrow = [tensor for tensor in (*inputs, *outputs) if tensor.dtype in _NARROW]
    unscaled = [tensor for tensor in narrow if not len(tensor.scales)]
    if unscaled and (op.name not in _MOVING or len(unscaled) < len(narrow)):
        return f"needs a scale for tensor {unscaled[0].name} ({unscaled[0].dtype})"
    return None


def _kernel_problem(image: flatbuffer.Tensor, kernel: flatbuffer.Tensor, bias: flatbuffer.Tensor | None = None) -> str | None:
    if image.dtype not in _KERNELS:
        return f"has an input of {image.dtype}"
    if kernel.dtype not in _KERNELS[image.dtype]:
        return f"has a kernel of {kernel.dtype} for {image.dtype}"
    if bias is not None and bias.dtype not in _BIASES[image.dtype]:
        return f"has a bias of {bias.dtype} for {image.dtype}"
    if len(kernel.shape) != 4:
        return f"has a kernel of shape {kernel.shape}"
    if len(kernel.scales) > 1 and len(kernel.scales) not in kernel.shape:
        return f"has {len(kernel.scales)} scales for a kernel of shape {kernel.shape}"
    return None
