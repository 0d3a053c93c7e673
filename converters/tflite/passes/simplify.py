"""Simplifies float .tflite files of other converters: pixel shuffles, channels-first ends, operators without effect.

The operators that are left are those that phone delegates run: DEPTH_TO_SPACE instead of a transposition of rank 6, and NHWC.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mobile_sr.converters.tflite import op_order
from mobile_sr.converters.tflite.passes import channel_order, transposes
from mobile_sr.converters.tflite.passes.editor import Editor
from mobile_sr.converters.tflite.passes.pixel_shuffle import Shuffle, recognize


def simplify(data: bytes) -> tuple[bytes, list[str]]:
    """Simplify a file. Its function stays the same, apart from channels-first ends, which become channels last.

    Args:
        data: bytes of a float .tflite file that flatbuffer.parse accepts.

    Returns:
        The bytes, unchanged if there was nothing to simplify, and a line about each kind of change.
    """
    try:
        editor = Editor(data)
    except ValueError:  # several subgraphs
        return data, []
    if any(entry.name == op_order.METADATA for entry in editor.model.metadata or []):
        return data, []  # operators are referred to by number
    notes: list[str] = []
    passes: tuple[tuple[Callable[[Editor], int], str], ...] = (
        (_shuffles, "pixel shuffle of {} operators RESHAPE-TRANSPOSE-RESHAPE replaced"),
        (transposes.sink, "{} transpositions removed; the image is channels last (NHWC)"),
        (channel_order.fold, "{} reorderings of channels folded into convolutions"),
        (_without_effect, "{} operators without effect removed"),
    )
    for function, line in passes:
        count = function(editor)
        if count:
            notes.append(line.format(count))
    return (editor.pack(), notes) if notes else (data, [])


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
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    editor = Editor(data)
    interpreter = Interpreter(
        model_content=data,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,  # which would hide tensors
        experimental_preserve_all_tensors=True,
    )
    index = int(editor.graph.inputs[0])
    try:
        interpreter.resize_tensor_input(index, shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(index, np.zeros(shape, np.float32))
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


def _shuffles(editor: Editor) -> int:
    """Replace RESHAPE-TRANSPOSE-RESHAPE by DEPTH_TO_SPACE or SPACE_TO_DEPTH, and a GATHER if the channels move."""
    count = 0
    for first in list(editor.graph.operators):
        chain = _chain(editor, first)
        if chain is None:
            continue
        transpose, last = chain
        source, target = int(first.inputs[0]), int(last.outputs[0])
        permutation = editor.constant(int(transpose.inputs[1]))
        shapes = [editor.shape(tensor) for tensor in (source, int(first.outputs[0]), target)]
        if permutation is None or any(-1 in shape for shape in shapes):
            continue
        for layout in ("NHWC", "NCHW"):
            shuffle = recognize(*shapes[:2], permutation.tolist(), shapes[2], layout, layout)
            if shuffle is not None:
                _replace(editor, shuffle, layout, source, target, last)
                editor.remove(first, transpose, last)
                count += 1
                break
    return count


def _chain(editor: Editor, first: Any) -> tuple[Any, Any] | None:
    """The TRANSPOSE and RESHAPE that alone read the result of a RESHAPE."""
    ops = [first]
    if editor.kind(first) != "RESHAPE":
        return None
    for kind in ("TRANSPOSE", "RESHAPE"):
        result = int(ops[-1].outputs[0])
        readers = editor.readers(result)
        if len(readers) != 1 or editor.is_end(result) or editor.kind(readers[0]) != kind:
            return None
        ops.append(readers[0])
    return ops[1], ops[2]


def _replace(editor: Editor, shuffle: Shuffle, layout: str, source: int, target: int, position: Any) -> None:
    """Insert the operators of a shuffle before `position`; around them, transpositions of an NCHW tensor."""
    schema = editor.schema
    steps: list[tuple[str, list[int], Any]] = []
    if layout == "NCHW":
        steps.append(("TRANSPOSE", [transposes.permutation_constant(editor, transposes.TO_NHWC)], schema.TransposeOptionsT()))
    gather = schema.GatherOptionsT()
    gather.axis = 3
    order = [] if shuffle.is_identity else [("GATHER", np.array(shuffle.channels, np.int32), gather)]
    if shuffle.kind == "depth_to_space":
        depth = schema.DepthToSpaceOptionsT()
        depth.blockSize = shuffle.block
        blocks = [*order, ("DEPTH_TO_SPACE", None, depth)]
    elif shuffle.kind == "space_to_depth":
        space = schema.SpaceToDepthOptionsT()
        space.blockSize = shuffle.block
        blocks = [("SPACE_TO_DEPTH", None, space), *order]
    else:
        blocks = list(order)
    steps += [
        (kind, [] if values is None else [editor.add_constant(values, "channels")], options) for kind, values, options in blocks
    ]
    if layout == "NCHW":
        steps.append(("TRANSPOSE", [transposes.permutation_constant(editor, transposes.TO_NCHW)], schema.TransposeOptionsT()))
    if not steps:  # a shuffle that moves nothing
        editor.redirect(target, source)
        return
    shape, name = editor.shape(source), (editor.graph.tensors[target].name or b"").decode()
    for number, (kind, extra, options) in enumerate(steps):
        shape = _after(kind, shape, layout, shuffle)
        result = target if number == len(steps) - 1 else editor.add_tensor(shape, f"{name}_{kind.lower()}")
        editor.insert_before(position, editor.make_op(kind, [source, *extra], [result], options))
        source = result


def _after(kind: str, shape: list[int], layout: str, shuffle: Shuffle) -> list[int]:
    """Shape after one step."""
    block = shuffle.block
    if kind == "TRANSPOSE":  # the first one is to NHWC, the second one back
        to_last = shape[1] * shape[2] * shape[3] and layout == "NCHW"
        return [shape[axis] for axis in (transposes.TO_NHWC if to_last else transposes.TO_NCHW)]
    if kind == "DEPTH_TO_SPACE":
        return [shape[0], shape[1] * block, shape[2] * block, shape[3] // block**2]
    if kind == "SPACE_TO_DEPTH":
        return [shape[0], shape[1] // block, shape[2] // block, shape[3] * block**2]
    return shape


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
