"""Operators that move, cut and reduce values, with axes in the layout of their inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mobile_sr.converters.qdq.activations import finish
from mobile_sr.converters.qdq.static_graph import StaticOp
from mobile_sr.converters.qdq.writer import Layout, UnsupportedError, Writer

_NCHW_AXES = (0, 2, 3, 1)  # axes of an NHWC tensor in NCHW


def _axis(axis: int, rank: int, layout: Layout) -> int:
    """Return an axis of TFLite in a layout."""
    axis %= rank
    return _NCHW_AXES[axis] if layout == "NCHW" and rank == 4 else axis


def _in_layout(values: Sequence[int], layout: Layout) -> list[int]:
    """Return a number per axis in the order of a layout."""
    numbers = [int(value) for value in values]
    return [numbers[k] for k in (0, 3, 1, 2)] if layout == "NCHW" and len(numbers) == 4 else numbers


def _reduce(kind: str) -> Callable[[Writer, StaticOp], None]:
    def emit_one(writer: Writer, op: StaticOp) -> None:
        source, target = op.inputs[0], op.outputs[0]
        keep = bool(op.option("keepDims", False))
        layout: Layout = writer.layout(source) if keep and writer.rank(source) == 4 else "NHWC"
        axes = sorted({_axis(int(axis), writer.rank(source), layout) for axis in np.ravel(writer.static.values(op.inputs[1]))})
        inputs = [writer.real(source, layout), writer.integers(f"{op.label}_axes", axes)]
        writer.write(target, writer.node(kind, inputs, op.label, keepdims=int(keep)), layout)

    return emit_one


def _concatenation(writer: Writer, op: StaticOp) -> None:
    layout = writer.common_layout(op)
    axis = _axis(op.option("axis"), writer.rank(op.outputs[0]), layout)
    inputs = [writer.real(index, layout) for index in op.inputs]
    finish(writer, op, writer.node("Concat", inputs, op.label, axis=axis), layout)


def _pad(writer: Writer, op: StaticOp) -> None:
    """PAD with the real value 0, PADV2 with a constant, MIRROR_PAD."""
    layout = writer.common_layout(op)
    pads = np.asarray(writer.static.values(op.inputs[1])).T.tolist()
    widths = [*_in_layout(pads[0], layout), *_in_layout(pads[1], layout)]
    inputs = [writer.real(op.inputs[0], layout), writer.integers(f"{op.label}_pads", widths)]
    mode = "constant"
    if op.name == "MIRROR_PAD":
        if op.option("mode"):
            raise UnsupportedError(f"operator {op.label} uses the unsupported mode SYMMETRIC")
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
    begins = np.ravel(writer.static.values(op.inputs[1])).tolist()
    ends = [begin + size for begin, size in zip(begins, writer.static.shapes[op.outputs[0]], strict=True)]
    _emit_slice(writer, op, begins, ends, [1] * len(begins))


def _strided_slice(writer: Writer, op: StaticOp) -> None:
    """STRIDED_SLICE without new axes and ellipsis."""
    if op.option("ellipsisMask") or op.option("newAxisMask"):
        raise UnsupportedError(f"operator {op.label} has new axes or an ellipsis, which are not supported")
    shape = writer.static.shapes[op.inputs[0]]
    values = [np.ravel(writer.static.values(index)).tolist() for index in op.inputs[1:]]
    begins, ends = [], []
    for axis, (begin, end, stride) in enumerate(zip(*values, strict=True)):
        if stride < 1:
            raise UnsupportedError(f"operator {op.label} has the stride {stride}; it must be positive")
        bit = 1 << axis
        first = 0 if op.option("beginMask") & bit else int(begin) + shape[axis] * (begin < 0)
        last = shape[axis] if op.option("endMask") & bit else int(end) + shape[axis] * (end < 0)
        begins.append(first)
        ends.append(first + 1 if op.option("shrinkAxisMask") & bit else min(last, shape[axis]))
    _emit_slice(writer, op, begins, ends, values[2])


def _emit_slice(writer: Writer, op: StaticOp, begins: list[int], ends: list[int], strides: list[int]) -> None:
    source, target = op.inputs[0], op.outputs[0]
    same_rank = writer.rank(source) == writer.rank(target)
    if writer.static.shapes[source] == writer.static.shapes[target] and writer.alias(target, source):
        return  # nothing is cut off
    layout: Layout = writer.common_layout(op) if same_rank else "NHWC"
    values = (("begins", begins), ("ends", ends), ("axes", None), ("steps", strides))
    inputs = [
        writer.integers(f"{op.label}_{name}", list(range(len(begins))) if numbers is None else _in_layout(numbers, layout))
        for name, numbers in values
    ]
    value = writer.node("Slice", [writer.real(source, layout), *inputs], op.label)
    if not same_rank:
        shape = writer.integers(f"{op.label}_shape", writer.shape(target, "NHWC"))
        value = writer.node("Reshape", [value, shape], f"{op.label}_squeeze")
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


OPERATORS: dict[str, Callable[[Writer, StaticOp], None]] = {
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
