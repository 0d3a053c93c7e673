"""Bounds of a network's receptive field, from the operators in its .tflite file."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mobile_sr.converters.quantization.float_graph import FloatGraph
    from mobile_sr.converters.tflite import flatbuffer

# Index of the kernel among an operator's inputs. It is [out, h, w, in], or [1, h, w, channels] for a depthwise convolution.
_KERNELS = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1}
_POINTWISE_NAMES = """
ABS ADD CAST COS DIV ELU EXP FLOOR GELU HARD_SWISH LEAKY_RELU LOG LOGISTIC MAXIMUM MINIMUM MUL NEG POW PRELU RELU RELU6
RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT SIGN SIN SOFTMAX SQRT SQUARE SQUARED_DIFFERENCE SUB TANH
"""
_POINTWISE = frozenset(_POINTWISE_NAMES.split())
_RESIZING = ("DEPTH_TO_SPACE", "TRANSPOSE_CONV", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")


def lower_bound(graph: flatbuffer.Graph) -> int:
    """Return a lower bound of the number of LR pixels to each side that an output pixel depends on.

    Strides, dilations, pooling and everything after the first upscaling operator are ignored. For networks of plain
    convolutions at LR size, the bound is the receptive field.

    Args:
        graph: the parsed file.
    """
    radius, enlarged = dict.fromkeys(graph.inputs, 0), set()
    for op in graph.ops:
        sources = [tensor for tensor in op.inputs if tensor in radius]
        if not sources:
            continue
        reached = max(radius[tensor] for tensor in sources)
        larger = any(tensor in enlarged for tensor in sources)
        kernel = graph.tensors[op.inputs[_KERNELS[op.name]]].shape if op.name in _KERNELS else ()
        if len(kernel) == 4 and not larger:
            reached += max(kernel[1:3]) // 2
        for tensor in op.outputs:
            radius[tensor] = reached
            if larger or op.name in _RESIZING:
                enlarged.add(tensor)
    return max((radius.get(tensor, 0) for tensor in graph.outputs), default=0)


def upper_bound(graph: FloatGraph) -> int | None:
    """Return a number of LR pixels to each side beyond which an output pixel depends on nothing.

    For networks of convolutions, pointwise operators and one upscaling operator, the bound is exact.

    Args:
        graph: a float .tflite with one image input, [1, H, W, C].

    Returns:
        The bound; None for a network that sees the whole image or works at a lower resolution, or if an operator is unknown.
    """
    window = (Fraction(0), Fraction(0))
    reaches = {graph.graph.inputs[0]: _Reach(1, window, window)}
    for op in graph.ops:
        sources = [reaches[tensor] for tensor in op.inputs if tensor in reaches]
        if not sources or graph.name(op) == "SHAPE":
            continue
        reach = _behind(graph, op, sources)
        if reach is None:
            return None
        reaches.update(dict.fromkeys(op.outputs, reach))
    result = reaches.get(graph.graph.outputs[0])
    return None if result is None else max(math.ceil(abs(side)) for axis in (result.rows, result.columns) for side in axis)


@dataclasses.dataclass(frozen=True)
class _Reach:
    """The input pixels that a pixel of a tensor depends on.

    Attributes:
        factor: sides of the tensor in those of the input.
        rows, columns: (first, last) dependency relative to the pixel, in LR pixels.
    """

    factor: int
    rows: tuple[Fraction, Fraction]
    columns: tuple[Fraction, Fraction]

    def wider(self, before: tuple[int, int], after: tuple[int, int], factor: int = 1) -> _Reach:
        """With (rows, columns) pixels of this tensor before and after each pixel, at `factor` times its size."""
        rows, columns = (
            (axis[0] - Fraction(low, self.factor), axis[1] + Fraction(high, self.factor))
            for axis, low, high in zip((self.rows, self.columns), before, after, strict=True)
        )
        return _Reach(self.factor * factor, rows, columns)


def _behind(graph: FloatGraph, op: Any, sources: list[_Reach]) -> _Reach | None:
    """The reach of an operator's results, given that of its activations; None if there is no bound."""
    name, options = graph.name(op), op.builtinOptions
    first = sources[0]
    if name in _POINTWISE or name == "CONCATENATION":
        others = [tensor for tensor in op.inputs if graph.constant(tensor) is None]
        shapes = [graph.shape(tensor) for tensor in op.inputs if graph.constant(tensor) is not None]
        everywhere = all(math.prod(shape[-3:-1]) == 1 for shape in shapes)
        by_channel = name != "CONCATENATION" or options.axis in (3, -1)
        if len(others) != len(sources) or not everywhere or not by_channel or len({s.factor for s in sources}) > 1:
            return None
        return _Reach(first.factor, _union([s.rows for s in sources]), _union([s.columns for s in sources]))
    if len(sources) > 1:
        return None
    if name in _KERNELS or name in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        return _behind_window(graph, op, first)
    if name == "TRANSPOSE_CONV" and options.padding == 0 and options.strideH == options.strideW:
        stride, kernel = options.strideH, graph.shape(op.inputs[1])[1:3]
        pads = [max(side - stride, 0) // 2 for side in kernel]
        before = tuple((side - 1 - pad) // stride for side, pad in zip(kernel, pads, strict=True))
        return first.wider((before[0], before[1]), ((stride - 1 + pads[0]) // stride, (stride - 1 + pads[1]) // stride), stride)
    if name == "DEPTH_TO_SPACE":
        return first.wider((0, 0), (0, 0), options.blockSize)
    if name in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR") and not options.alignCorners:
        (height, width), (tall, wide) = (sides[1:3] for sides in _shapes(graph, [op.inputs[0], op.outputs[0]]))
        if tall % height or wide % width or tall // height != wide // width:
            return None
        around = (1, 1) if name == "RESIZE_BILINEAR" else (0, 0)
        return first.wider(around, around, tall // height)
    if name in ("PAD", "PADV2", "MIRROR_PAD") and (pads_ := graph.constant(op.inputs[1])) is not None:
        top, left = int(pads_[1][0]), int(pads_[2][0])
        return first.wider((top, left), (-top, -left))
    if name in ("SPLIT", "SPLIT_V"):
        axis = graph.constant(op.inputs[0 if name == "SPLIT" else 2])
        return first if axis is not None and int(axis.ravel()[0]) in (3, -1) else None
    if name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN") and options.keepDims:
        axis = graph.constant(op.inputs[1])
        return first if axis is not None and set(axis.ravel().tolist()) <= {3, -1} else None
    if name in ("SLICE", "STRIDED_SLICE"):
        return _behind_slice(graph, op, first)
    return None


def _behind_window(graph: FloatGraph, op: Any, reach: _Reach) -> _Reach | None:
    """The reach behind a convolution or pooling of stride 1."""
    options = op.builtinOptions
    if (options.strideH, options.strideW) != (1, 1):
        return None
    if graph.name(op) in _KERNELS:
        height, width = graph.shape(op.inputs[1])[1:3]
        spans = (height - 1) * options.dilationHFactor, (width - 1) * options.dilationWFactor
    else:
        spans = options.filterHeight - 1, options.filterWidth - 1
    before = (spans[0] // 2, spans[1] // 2) if options.padding == 0 else (0, 0)  # 0 is SAME
    return reach.wider(before, (spans[0] - before[0], spans[1] - before[1]))


def _behind_slice(graph: FloatGraph, op: Any, reach: _Reach) -> _Reach | None:
    """The reach behind a slice with a known begin and without steps."""
    begin = graph.constant(op.inputs[1])
    strided = graph.name(op) == "STRIDED_SLICE"
    steps = graph.constant(op.inputs[3]) if strided else np.ones(4, np.int32)
    if begin is None or steps is None or begin.shape != (4,) or set(steps.tolist()) != {1}:
        return None
    if strided:
        options = op.builtinOptions
        if options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask:
            return None
        begin = np.where([options.beginMask >> axis & 1 for axis in range(4)], 0, begin)
    top, left = int(begin[1]), int(begin[2])
    return None if min(top, left) < 0 else reach.wider((-top, -left), (top, left))


def _union(windows: list[tuple[Fraction, Fraction]]) -> tuple[Fraction, Fraction]:
    return min(low for low, _ in windows), max(high for _, high in windows)


def _shapes(graph: FloatGraph, tensors: list[int]) -> list[list[int]]:
    """Shapes of activations; those of dynamic size for an input of 16x16."""
    shapes = [graph.shape(tensor) for tensor in tensors]
    if all(min(shape[1:3]) > 0 for shape in shapes):
        return shapes
    image = graph.graph.inputs[0]
    found: dict[int, list[int]] = {}
    sample = np.zeros((1, 16, 16, graph.shape(image)[3]), np.float32)
    graph.visit(tensors, [sample], lambda tensor, values: found.update({tensor: list(values.shape)}))
    return [found[tensor] for tensor in tensors]
