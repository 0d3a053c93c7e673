"""Writes DEPTH_TO_SPACE as a RESHAPE, a TRANSPOSE and a RESHAPE, for compilers that do not support the operator.

The values are the same in every precision: they are only moved.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mobile_sr.converters.tflite.passes.editor import Editor


def replace_depth_to_space(editor: Editor) -> int:
    """Replace every DEPTH_TO_SPACE of a file of fixed size.

    With C output channels and block size s, the image [1, H, W, s * s * C] becomes [H, W, s, s * C], then [H, s, W, s * C],
    then [1, H * s, W * s, C]. No tensor has more than 4 axes.

    Args:
        editor: the file.

    Returns:
        The number of operators that were replaced.

    Raises:
        ValueError: the size of an image is dynamic.
    """
    ops = [op for op in editor.graph.operators if editor.kind(op) == "DEPTH_TO_SPACE"]
    for op in ops:
        _replace(editor, op, int(op.builtinOptions.blockSize))
    return len(ops)


def _replace(editor: Editor, op: Any, block: int) -> None:
    source, target = int(op.inputs[0]), int(op.outputs[0])
    shape = editor.shape(source)
    if -1 in shape or shape[0] != 1:
        raise ValueError(f"DEPTH_TO_SPACE of shape {shape} can only be replaced at a fixed size and a batch of 1")
    _, height, width, channels = shape
    split = [height, width, block, channels // block]
    swapped = [height, block, width, channels // block]
    name = editor.name(target)
    parts = editor.add_tensor(split, f"{name}/parts"), editor.add_tensor(swapped, f"{name}/interleaved")
    permutation = editor.add_constant(np.array([0, 2, 1, 3], np.int32), f"{name}/permutation")
    editor.insert_before(
        op,
        reshape(editor, source, parts[0], split),
        editor.make_op("TRANSPOSE", [parts[0], permutation], [parts[1]], editor.schema.TransposeOptionsT()),
        reshape(editor, parts[1], target, editor.shape(target)),
    )
    editor.remove(op)


def reshape(editor: Editor, source: int, target: int, shape: list[int]) -> Any:
    """Return a new RESHAPE to a given shape. It is not inserted into the graph."""
    options = editor.schema.ReshapeOptionsT()
    options.newShape = list(shape)
    sides = editor.add_constant(np.array(shape, np.int32), f"{editor.name(target)}/shape")
    return editor.make_op("RESHAPE", [source, sides], [target], options)
