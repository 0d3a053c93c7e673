"""Makes channels-first ends channels last, and moves transpositions towards the output until they cancel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mobile_sr.converters.tflite.passes.channel_order import BINARY, UNARY
from mobile_sr.converters.tflite.passes.editor import Editor
from mobile_sr.converters.tflite.passes.pixel_shuffle import TO_NCHW, TO_NHWC

_IMAGES = (1, 3)  # channels of an image
_PADS = ("PAD", "PADV2", "MIRROR_PAD")


def sink(editor: Editor) -> tuple[int, int]:
    """Turn an input [1, C, H, W] and output [1, C, H, W] into channels last, and move transpositions until they cancel.

    Args:
        editor: the file.

    Returns:
        The number of transpositions that were removed, which is negative if there are more now, and of changed ends.
    """
    before = _count(editor)
    ends = _channels_last_ends(editor)
    while _merge(editor) or _move(editor):
        pass
    return before + ends - _count(editor), ends


def permutation_constant(editor: Editor, permutation: Sequence[int]) -> int:
    """Add the constant of a TRANSPOSE and return its tensor."""
    return editor.add_constant(np.array(permutation, np.int32), "permutation")


def _count(editor: Editor) -> int:
    return sum(editor.kind(op) == "TRANSPOSE" for op in editor.live_operators())


def _is_channels_first(shape: Sequence[int]) -> bool:
    return len(shape) == 4 and shape[1] in _IMAGES and shape[3] not in _IMAGES


def _channels_last_ends(editor: Editor) -> int:
    """Put a TRANSPOSE behind a channels-first input and before a channels-first output; return how many."""
    count = 0
    for old in [int(i) for i in editor.graph.inputs]:
        shape = editor.shape(old)
        if _is_channels_first(shape):
            new = editor.add_tensor([shape[axis] for axis in TO_NHWC], _name(editor, old))
            editor.graph.operators.insert(0, _transpose(editor, new, TO_NCHW, old))
            editor.replace_input(old, new)
            count += 1
    for old in [int(i) for i in editor.graph.outputs]:
        shape = editor.shape(old)
        if _is_channels_first(shape):
            new = editor.add_tensor([shape[axis] for axis in TO_NHWC], _name(editor, old))
            editor.graph.operators.append(_transpose(editor, old, TO_NHWC, new))
            editor.replace_output(old, new)
            count += 1
    return count


def _name(editor: Editor, tensor: int) -> str:
    """The name of an end, which passes to the tensor that replaces it."""
    name = editor.name(tensor)
    editor.graph.tensors[tensor].name = f"{name}_channels_first".encode()
    return name


def _transpose(editor: Editor, source: int, permutation: Sequence[int], target: int) -> Any:
    constant = permutation_constant(editor, permutation)
    return editor.make_op("TRANSPOSE", [source, constant], [target], editor.schema.TransposeOptionsT())


def _permutation(editor: Editor, op: Any) -> tuple[int, ...] | None:
    """The constant permutation of a TRANSPOSE, None for another operator."""
    if op is None or editor.kind(op) != "TRANSPOSE":
        return None
    values = editor.constant(int(op.inputs[1]))
    return None if values is None else tuple(values.tolist())


def _merge(editor: Editor) -> bool:
    """Merge one pair of consecutive transpositions; whether there was one."""
    makers = editor.makers()
    for second in editor.live_operators():
        outer = _permutation(editor, second)
        first = makers.get(int(second.inputs[0])) if outer is not None else None
        inner = _permutation(editor, first)
        if outer is None or first is None or inner is None:
            continue
        merged = [inner[axis] for axis in outer]
        source = int(first.inputs[0])
        second.inputs = [source, permutation_constant(editor, merged)]
        if merged == sorted(merged):
            editor.bypass(second)
        return True
    return False


def _move(editor: Editor) -> bool:
    """Move the transpositions before one operator behind it; whether there was such an operator."""
    makers = editor.makers()
    for op in editor.live_operators():
        data = [int(i) for i in op.inputs if int(i) >= 0 and not editor.is_constant(int(i))]
        if editor.kind(op) == "SPLIT":
            data = data[-1:]
        permutations = {_permutation(editor, makers.get(tensor)) for tensor in data}
        if len(permutations) != 1:
            continue
        permutation = permutations.pop()
        if permutation is None or len(permutation) != 4 or not _adapt(editor, op, permutation):
            continue
        op.inputs = [int(makers[int(i)].inputs[0]) if int(i) in data else int(i) for i in op.inputs]
        inverse = np.argsort(permutation)
        index = next(k for k, other in enumerate(editor.graph.operators) if other is op)
        behind = []
        for k, target in enumerate([int(i) for i in op.outputs]):
            shape = editor.shape(target)
            moved = editor.add_tensor([shape[axis] for axis in inverse], f"{editor.name(target)}_moved")
            op.outputs = [*op.outputs[:k], moved, *op.outputs[k + 1 :]]
            behind.append(_transpose(editor, moved, permutation, target))
        editor.graph.operators[index + 1 : index + 1] = behind
        return True
    return False


def _adapt(editor: Editor, op: Any, permutation: Sequence[int]) -> bool:
    """Change an operator's constants and axes for an input before a TRANSPOSE by `permutation`; whether that is possible."""
    kind, inverse = editor.kind(op), np.argsort(permutation)
    if kind in UNARY:
        return True
    if kind in BINARY or kind == "PRELU":
        shapes = [editor.shape(int(i)) for i in op.inputs if not editor.is_constant(int(i))]
        if any(len(shape) != 4 for shape in shapes):
            return False
        constants = {k: editor.constant(int(i)) for k, i in enumerate(op.inputs) if editor.is_constant(int(i))}
        if any(values is None for values in constants.values()):
            return False
        for position, values in constants.items():
            assert values is not None
            if values.size > 1 or kind == "PRELU":
                full = values.reshape((1,) * (4 - values.ndim) + values.shape).transpose(inverse)
                editor.replace_constant(op, position, full[0] if kind == "PRELU" else full)
        return True
    if kind == "CONCATENATION":
        op.builtinOptions.axis = int(permutation[op.builtinOptions.axis % 4])
        return True
    if kind in _PADS:
        paddings = editor.constant(int(op.inputs[1]))
        if paddings is not None:
            editor.replace_constant(op, 1, paddings[inverse].astype(np.int32))
        return paddings is not None
    if kind == "SLICE":
        bounds = [editor.constant(int(i)) for i in op.inputs[1:]]
        for position, values in enumerate(bounds, 1):
            if values is None:
                return False
            editor.replace_constant(op, position, values[inverse].astype(np.int32))
        return True
    if kind == "SPLIT":
        axis = editor.constant(int(op.inputs[0]))
        if axis is not None:
            editor.replace_constant(op, 0, np.array(permutation[int(axis.item()) % 4], np.int32).reshape(axis.shape))
        return axis is not None
    if kind == "MEAN" and op.builtinOptions.keepDims:
        axes = editor.constant(int(op.inputs[1]))
        if axes is not None:
            moved = sorted(int(permutation[int(axis) % 4]) for axis in axes.ravel())
            editor.replace_constant(op, 1, np.array(moved, np.int32))
        return axes is not None
    return False
