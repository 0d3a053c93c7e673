"""Simplifies float .tflite files of other converters: pixel shuffles, channels-first images, operators without effect.

The operators that are left are those that phone delegates run: DEPTH_TO_SPACE instead of transpositions, and NHWC.
"""

from __future__ import annotations

import numpy as np

from mobile_sr.converters.tflite import op_order, runtime
from mobile_sr.converters.tflite.passes import channel_order, shuffles, transposes
from mobile_sr.converters.tflite.passes.editor import Editor


def simplify(data: bytes) -> tuple[bytes, list[str]]:
    """Simplify a file. Its function stays the same, apart from channels-first ends, which become channels last.

    Args:
        data: bytes of a float .tflite file that flatbuffer.parse accepts.

    Returns:
        The bytes, unchanged if there was nothing to simplify, and a line about each kind of change.
    """
    notes: list[str] = []
    try:
        editor = Editor(data)
    except ValueError:  # several subgraphs, or a file too large for one flatbuffer
        return data, notes
    if any(entry.name == op_order.METADATA for entry in editor.model.metadata or []):
        return data, notes  # operators are referred to by number

    def note(count, line):
        if count:
            notes.append(line.format(count, "s" if count > 1 else ""))

    note(shuffles.replace_prelus(editor), "{} PRELU{} put together from parts")
    note(shuffles.replace_shuffles(editor), "{} chain{} of RESHAPE and TRANSPOSE replaced by pixel shuffles")
    before = editor.pack()
    removed, ends = transposes.sink(editor)
    if removed <= 0 and not ends:
        editor = Editor(before)
    note(ends, "{} end{} turned from channels first to channels last (NHWC)")
    note(max(0, removed), "{} transposition{} removed")
    note(channel_order.fold(editor), "{} reordering{} of channels folded into convolutions")
    note(_without_effect(editor), "{} operator{} without effect removed")
    return (editor.pack(), notes) if notes else (data, notes)


def fix_size(data: bytes, shape: tuple[int, ...]) -> bytes:
    """Give the input of a file of dynamic size a fixed shape.

    Args:
        data: bytes of the file.
        shape: shape of the input.

    Returns:
        The bytes of the file. All tensors have fixed shapes, and what was computed from the size is constant.

    Raises:
        ValueError: the file has several subgraphs or does not run on this shape.
    """
    editor = Editor(data)
    interpreter = runtime.create_interpreter(data, delegate=False, keep=True)  # a delegate would hide tensors
    index = int(editor.graph.inputs[0])
    try:
        interpreter.resize_tensor_input(index, shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(index, np.zeros(shape, interpreter.get_input_details()[0]["dtype"]))
        interpreter.invoke()
    except RuntimeError as error:
        raise ValueError(f"does not run on {shape} ({str(error).splitlines()[0]})") from None
    shapes = {int(detail["index"]): detail["shape"] for detail in interpreter.get_tensor_details()}
    for tensor, entry in enumerate(editor.graph.tensors):
        if entry.shapeSignature is not None and len(entry.shapeSignature):
            editor.set_shape(tensor, [int(side) for side in shapes[tensor]])
    by_size: set[int] = set()
    for op in editor.graph.operators:
        inputs = {int(i) for i in op.inputs if int(i) >= 0}
        if editor.kind(op) == "SHAPE" or all(i in by_size or editor.is_constant(i) for i in inputs):
            by_size |= {int(i) for i in op.outputs}
    for op in editor.graph.operators:
        for position, tensor in enumerate(int(i) for i in op.inputs):
            if tensor in by_size and int(op.outputs[0]) not in by_size:
                values = interpreter.get_tensor(tensor)
                if values.dtype in (np.int32, np.float32):
                    editor.replace_constant(op, position, values)
    return editor.pack()


def _without_effect(editor: Editor) -> int:
    """Remove RESHAPE to the same fixed shape and TRANSPOSE by the identity."""
    count = 0
    for op in list(editor.graph.operators):
        kind = editor.kind(op)
        if kind not in ("RESHAPE", "TRANSPOSE"):
            continue
        source, target = int(op.inputs[0]), int(op.outputs[0])
        if kind == "RESHAPE":
            idle = editor.shape(source) == editor.shape(target) and editor.shape(source).count(-1) == 0
        else:
            permutation = editor.constant(int(op.inputs[1]))
            idle = permutation is not None and permutation.tolist() == list(range(len(permutation)))
        if idle and not (editor.is_end(source) and editor.is_end(target)):
            editor.bypass(op)
            count += 1
    return count
