"""Folds a GATHER that reorders channels into the weights of the convolutions before or after it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from mobile_sr.converters.tflite.passes.editor import Editor

# Operators that change every value by itself.
UNARY = {
    *("ABS", "ELU", "EXP", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "NEG", "RELU", "RELU6", "RELU_0_TO_1"),
    *("RELU_N1_TO_1", "RSQRT", "SQRT", "SQUARE", "TANH"),
}
BINARY = {"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM"}
# {convolution: (index of its input, of its kernel, of its bias)}; the first side of the kernel is the output channel.
_CONVOLUTIONS = {"CONV_2D": (0, 1, 2), "TRANSPOSE_CONV": (2, 1, 3)}
_Edits = list[Callable[[], None]]


def fold(editor: Editor) -> int:
    """Remove the GATHERs of the last side whose order can be folded; one that repeats the image becomes a CONCATENATION.

    Args:
        editor: the file.

    Returns:
        The number of GATHERs that were removed.
    """
    count = 0
    for gather in list(editor.graph.operators):
        order = _order(editor, gather)
        if order is None:
            continue
        source, target = int(gather.inputs[0]), int(gather.outputs[0])
        edits = None
        if sorted(order) == list(range(editor.shape(source)[-1])):
            edits = _into_makers(editor, source, order)
            if edits is None:
                edits = _into_readers(editor, target, order)
        if edits is not None:
            for edit in edits:
                edit()
            editor.bypass(gather)
            count += 1
    for gather in list(editor.graph.operators):
        order = _order(editor, gather)
        if order is not None:
            _concatenate(editor, gather, order)
    return count


def _order(editor: Editor, op: Any) -> np.ndarray | None:
    """The constant indices of a GATHER of the last side of an image, None for another operator."""
    if editor.kind(op) != "GATHER" or (op.builtinOptions is not None and op.builtinOptions.batchDims):
        return None
    indices, rank = editor.constant(int(op.inputs[1])), len(editor.shape(int(op.inputs[0])))
    axis = 0 if op.builtinOptions is None else op.builtinOptions.axis
    return indices if indices is not None and indices.ndim == 1 and rank == 4 and axis in (-1, 3) else None


def _into_makers(editor: Editor, tensor: int, order: np.ndarray) -> _Edits | None:
    """Edits that reorder the channels of a tensor where they are computed, None if that is impossible."""
    op = editor.makers().get(tensor)
    if op is None or len(editor.readers(tensor)) != 1 or editor.is_end(tensor):
        return None
    kind = editor.kind(op)
    if kind in _CONVOLUTIONS:
        image, kernel, bias = _CONVOLUTIONS[kind]
        values = editor.constant(int(op.inputs[kernel]))
        if values is None or (kind == "CONV_2D" and values.shape[3] != editor.shape(int(op.inputs[image]))[3]):
            return None  # a grouped convolution computes its outputs from different inputs
        return _reorder(editor, op, kernel, order, 0, len(order)) + _reorder(editor, op, bias, order, -1, len(order))
    if kind in UNARY:
        return _into_makers(editor, int(op.inputs[0]), order)
    if kind == "DEPTHWISE_CONV_2D" and editor.shape(int(op.inputs[0]))[3] == len(order):
        edits = _into_makers(editor, int(op.inputs[0]), order)
        own = [_reorder(editor, op, position, order, -1, len(order)) for position in (1, 2)]
        return None if edits is None else edits + own[0] + own[1]
    if kind in BINARY or kind == "PRELU":
        every: _Edits = []
        for position, operand in enumerate(op.inputs):
            if editor.constant(int(operand)) is not None:
                edits = _reorder(editor, op, position, order, -1, len(order))
            elif editor.shape(int(operand))[-1:] == [1]:
                edits = []
            else:
                edits = _into_makers(editor, int(operand), order)
            if edits is None:
                return None
            every += edits
        return every
    inner = _order(editor, op)
    if inner is not None:
        return [lambda: editor.replace_constant(op, 1, inner[order].astype(np.int32))]
    if kind == "CONCATENATION" and len({int(i) for i in op.inputs}) == 1 and op.builtinOptions.axis in (-1, 3):
        return [lambda: _gather_instead(editor, op, order)]
    return None


def _reorder(editor: Editor, op: Any, position: int, order: np.ndarray, axis: int, channels: int) -> _Edits:
    """The edit that reorders one side of a constant operand; none if it is absent or the same for all channels."""
    values = editor.constant(int(op.inputs[position])) if position < len(op.inputs) else None
    if values is None or not values.ndim or values.shape[axis] != channels:
        return []
    return [lambda: editor.replace_constant(op, position, np.take(values, order, axis))]


def _gather_instead(editor: Editor, op: Any, order: np.ndarray) -> None:
    """Replace a CONCATENATION of copies of one tensor, followed by `order`, by a GATHER."""
    image = int(op.inputs[0])
    options = editor.schema.GatherOptionsT()
    options.axis = 3
    indices = editor.add_constant((order % editor.shape(image)[3]).astype(np.int32), "channels")
    editor.insert_before(op, editor.make_op("GATHER", [image, indices], [int(op.outputs[0])], options))
    editor.remove(op)


def _into_readers(editor: Editor, tensor: int, order: np.ndarray) -> _Edits | None:
    """Edits of the convolutions that read the reordered tensor, None if something else reads it."""
    readers, inverse = editor.readers(tensor), np.argsort(order)
    if not readers or editor.is_end(tensor):
        return None
    edits: _Edits = []
    for op in readers:
        values = editor.constant(int(op.inputs[1])) if editor.kind(op) == "CONV_2D" else None
        if values is None or values.shape[3] != len(order):
            return None
        edits.append(functools.partial(editor.replace_constant, op, 1, values[..., inverse]))
    return edits


def _concatenate(editor: Editor, gather: Any, order: np.ndarray) -> None:
    """Replace a GATHER that repeats all channels in their order by a CONCATENATION, which more delegates run."""
    image = int(gather.inputs[0])
    channels = editor.shape(image)[3]
    if channels > 0 and len(order) > channels and np.array_equal(order, np.arange(len(order)) % channels):
        options = editor.schema.ConcatenationOptionsT()
        options.axis = 3
        copies = [image] * (len(order) // channels)
        editor.insert_before(gather, editor.make_op("CONCATENATION", copies, [int(gather.outputs[0])], options))
        editor.remove(gather)
