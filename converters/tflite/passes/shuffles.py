"""Replaces chains of RESHAPE and TRANSPOSE by DEPTH_TO_SPACE and SPACE_TO_DEPTH, and the parts of a PReLU by PRELU."""

from __future__ import annotations

from typing import Any

import numpy as np

from mobile_sr.converters.tflite.passes.editor import Editor
from mobile_sr.converters.tflite.passes.pixel_shuffle import TO_NCHW, TO_NHWC, Shuffle, Step, recognize
from mobile_sr.converters.tflite.passes.transposes import permutation_constant

_STEPS = {"RESHAPE": "reshape", "TRANSPOSE": "transpose", "BROADCAST_TO": "broadcast", "SQUEEZE": "reshape"}
_STEPS["EXPAND_DIMS"] = "reshape"


def replace_shuffles(editor: Editor) -> int:
    """Replace the chains that move pixels into channels or back, or select channels.

    The image becomes NHWC for the new operators; a GATHER moves the channels if that is needed.

    Args:
        editor: the file. Chains of dynamic shapes stay.

    Returns:
        The number of chains that were replaced.
    """
    count = 0
    for last in list(editor.graph.operators):
        readers = editor.readers(int(last.outputs[0]))
        if editor.kind(last) not in _STEPS or (readers and all(editor.kind(op) in _STEPS for op in readers)):
            continue
        chain = _chain(editor, last)
        while chain and sum(editor.kind(op) != "TRANSPOSE" for op in chain) > 0:
            source, target = int(chain[0].inputs[0]), int(last.outputs[0])
            steps = [_step(editor, op) for op in chain]
            known = all(step is not None for step in steps) and -1 not in editor.shape(source)
            shuffle = recognize(editor.shape(source), [step for step in steps if step is not None]) if known else None
            if shuffle is not None:
                _replace(editor, shuffle, source, target, last)
                count += 1
                break
            chain = chain[1:]
    editor.live_operators()
    return count


def _chain(editor: Editor, last: Any) -> list[Any]:
    """The operators up to `last` that only move values."""
    makers, chain = editor.makers(), [last]
    while (maker := makers.get(int(chain[0].inputs[0]))) is not None and editor.kind(maker) in _STEPS:
        chain.insert(0, maker)
    return chain


def _step(editor: Editor, op: Any) -> Step | None:
    """An operator for `recognize`, None if its shape is dynamic."""
    kind = _STEPS[editor.kind(op)]
    if kind == "transpose":
        permutation = editor.constant(int(op.inputs[1]))
        return None if permutation is None else (kind, permutation.tolist())
    shape = editor.shape(int(op.outputs[0]))
    return None if -1 in shape else (kind, shape)


def _replace(editor: Editor, shuffle: Shuffle, source: int, target: int, last: Any) -> None:
    """Write `target` by the operators of a shuffle instead of `last`."""
    schema, block = editor.schema, shuffle.block
    shape = editor.shape(source)
    steps: list[tuple[str, int | None, Any, list[int]]] = []  # operator, its constant, its options, its shape

    def transpose(permutation):
        shape = [(steps[-1][3] if steps else editor.shape(source))[axis] for axis in permutation]
        steps.append(("TRANSPOSE", permutation_constant(editor, permutation), schema.TransposeOptionsT(), shape))

    def gather():
        if not shuffle.keeps_order:
            options = schema.GatherOptionsT()
            options.axis = 3
            indices = editor.add_constant(np.array(shuffle.channels, np.int32), "channels")
            steps.append(("GATHER", indices, options, [1, height, width, len(shuffle.channels)]))

    if shuffle.layout_in == "NCHW":
        transpose(TO_NHWC)
        shape = steps[-1][3]
    _, height, width, channels = shape
    if shuffle.kind == "space_to_depth":
        height, width = height // block, width // block
        space = schema.SpaceToDepthOptionsT()
        space.blockSize = block
        steps.append(("SPACE_TO_DEPTH", None, space, [1, height, width, channels * block**2]))
    gather()
    if shuffle.kind == "depth_to_space":
        depth = schema.DepthToSpaceOptionsT()
        depth.blockSize = block
        shape = [1, height * block, width * block, len(shuffle.channels) // block**2]
        steps.append(("DEPTH_TO_SPACE", None, depth, shape))
    if shuffle.layout_out == "NCHW":
        transpose(TO_NCHW)
    if not steps:  # nothing moves: a transposition without effect, which another pass removes
        transpose((0, 1, 2, 3))
    name = editor.name(target)
    for number, (kind, constant, options, shape) in enumerate(steps):
        result = target if number == len(steps) - 1 else editor.add_tensor(shape, f"{name}_{kind.lower()}")
        inputs = [source] if constant is None else [source, constant]
        editor.insert_before(last, editor.make_op(kind, inputs, [result], options))
        source = result
    editor.remove(last)


def replace_prelus(editor: Editor) -> int:
    """Replace relu(x) - slope * relu(-x), or relu(x) + slope * relu(-x) with negative slopes, by PRELU.

    Args:
        editor: the file.

    Returns:
        The number of PRELUs.
    """
    makers, count = editor.makers(), 0
    for op in list(editor.graph.operators):
        sign = {"SUB": 1, "ADD": -1}.get(editor.kind(op))
        positive, scaled = (makers.get(int(i)) for i in op.inputs) if sign else (None, None)
        if positive is None or scaled is None or sign is None or editor.has_activation(op):
            continue
        if (editor.kind(positive), editor.kind(scaled)) != ("RELU", "MUL") or editor.has_activation(scaled):
            continue
        x = int(positive.inputs[0])
        slope, negative = _constant_and_other(editor, scaled)
        if slope is None or not _is_relu_of_minus(editor, makers, negative, x):
            continue
        channels = editor.shape(x)[-1]
        if len(editor.shape(x)) != 4 or slope.size not in (1, channels) or slope.shape[-1:] not in ((), (1,), (channels,)):
            continue
        values = np.broadcast_to(sign * slope.reshape(1, 1, -1), (1, 1, channels)).astype(np.float32)
        alpha = editor.add_constant(np.ascontiguousarray(values), "slope")
        editor.insert_before(op, editor.make_op("PRELU", [x, alpha], [int(op.outputs[0])]))
        editor.remove(op)
        count += 1
    editor.live_operators()
    return count


def _constant_and_other(editor: Editor, op: Any) -> tuple[np.ndarray | None, int]:
    """The constant operand of an operator of two, and the tensor of the other one."""
    first, second = (int(i) for i in op.inputs)
    values = editor.constant(second)
    return (values, first) if values is not None else (editor.constant(first), second)


def _is_relu_of_minus(editor: Editor, makers: dict[int, Any], tensor: int, x: int) -> bool:
    """Whether a tensor is relu(-x): NEG and RELU, or a product with -1 that ends in a RELU."""
    op = makers.get(tensor)
    if op is not None and editor.kind(op) == "RELU":
        minus = makers.get(int(op.inputs[0]))
        return minus is not None and editor.kind(minus) == "NEG" and int(minus.inputs[0]) == x
    if op is None or editor.kind(op) != "MUL":
        return False
    factor, other = _constant_and_other(editor, op)
    relu = editor.schema.ActivationFunctionType.RELU
    if other != x or factor is None or op.builtinOptions.fusedActivationFunction != relu:
        return False
    return bool(np.all(factor == -1))
