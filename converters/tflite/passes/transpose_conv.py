"""Writes a convolution followed by DEPTH_TO_SPACE as one TRANSPOSE_CONV, for compilers without DEPTH_TO_SPACE.

With block size s, tap (dy, dx) of the k x k kernel of output channel (i * s + j) * C + c becomes tap (s * (k - 1 - dy) + i,
s * (k - 1 - dx) + j) of the s * k x s * k kernel of output channel c. The number of multiply-adds stays the same.

A transposed convolution has one bias for each of its C channels, the convolution one for each of its s * s * C. Where these
differ, the convolution's input gets a channel of a constant value; its weights at the centre of the kernel add the difference.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from mobile_sr.converters.tflite.passes.channel_order import UNARY
from mobile_sr.converters.tflite.passes.editor import Editor

# The weights of the constant channel are at most this share of the kernel's largest. A larger share would round the weights
# less, but the value of the channel more: in 8 bits it is a multiple of the tensor's scale.
_SHARE = 1 / 16
_SAME = 0  # schema.Padding.SAME
_Edit = Callable[[], None]


def replace_depth_to_space(editor: Editor) -> int:
    """Replace the DEPTH_TO_SPACE operators of a file of fixed size whose input comes from convolutions.

    Operators between them that treat all values alike, such as a clip, are applied to the large image instead. In a sum, both
    terms need such a form; copies of an image side by side become RESIZE_NEAREST_NEIGHBOR.

    Args:
        editor: the file, with float weights.

    Returns:
        The number of operators that were replaced. Others stay: with another operator before them, other padding than SAME,
        grouped kernels, strides, dilations, or a dynamic size.
    """
    count = 0
    for op in [op for op in editor.graph.operators if editor.kind(op) == "DEPTH_TO_SPACE"]:
        source, target = int(op.inputs[0]), int(op.outputs[0])
        shape, large = editor.shape(source), editor.shape(target)
        if -1 in shape or -1 in large or shape[0] != 1 or editor.is_end(source):
            continue
        edits = _enlarge(editor, source, int(op.builtinOptions.blockSize))
        if edits is not None:
            for edit in edits:
                edit()
            editor.bypass(op)
            count += 1
    return count


def _enlarge(editor: Editor, tensor: int, block: int) -> list[_Edit] | None:
    """Return edits that compute a tensor [1, H, W, s * s * C] in its form after DEPTH_TO_SPACE; None if that is impossible."""
    op = editor.makers().get(tensor)
    if op is None or len(editor.readers(tensor)) != 1 or editor.is_end(tensor):
        return None
    _, height, width, channels = editor.shape(tensor)
    large = [1, height * block, width * block, channels // block**2]
    resize = functools.partial(editor.set_shape, tensor, large)
    kind = editor.kind(op)
    if kind == "CONV_2D":
        return [functools.partial(_transpose_conv, editor, op, block), resize] if _is_plain(editor, op) else None
    if kind == "CONCATENATION" and _is_copies(editor, op, block**2):
        return [functools.partial(_nearest, editor, op, large), resize]
    if kind not in (*UNARY, "ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM"):
        return None
    edits: list[_Edit] = [resize]
    for operand in {int(i) for i in op.inputs}:
        constant = editor.constant(operand)
        if constant is not None and constant.size == 1:
            continue
        further = None if constant is not None else _enlarge(editor, operand, block)
        if further is None or editor.shape(operand) != editor.shape(tensor):
            return None
        edits += further
    return edits


def _is_plain(editor: Editor, op: Any) -> bool:
    """Whether a CONV_2D has constant weights, no stride, dilation or groups, and padding that keeps the size."""
    options, kernel = op.builtinOptions, editor.constant(int(op.inputs[1]))
    steps = (options.strideH, options.strideW, options.dilationHFactor, options.dilationWFactor)
    if kernel is None or kernel.dtype != np.float32 or steps != (1, 1, 1, 1):
        return False
    if len(op.inputs) > 2 and int(op.inputs[2]) >= 0 and editor.constant(int(op.inputs[2])) is None:
        return False
    if options.fusedActivationFunction and options.fusedActivationFunction not in _activations(editor):
        return False
    keeps_size = options.padding == _SAME or kernel.shape[1:3] == (1, 1)
    return keeps_size and kernel.shape[3] == editor.shape(int(op.inputs[0]))[3]


def transposed_kernel(kernel: np.ndarray, block: int) -> np.ndarray:
    """Return the kernel of the transposed convolution.

    Args:
        kernel: [s * s * C, k, l, C_in] of the convolution with SAME padding.
        block: s, the block size.

    Returns:
        [C, s * k, s * l, C_in], with k and l made odd by zeros, so that both paddings are symmetric.
    """
    even = [(0, 0), *((1 - side % 2, 0) for side in kernel.shape[1:3]), (0, 0)]
    kernel = np.pad(kernel, even)[:, ::-1, ::-1]
    _, rows, columns, inputs = kernel.shape
    phases = kernel.reshape(block, block, -1, rows, columns, inputs).transpose(2, 3, 0, 4, 1, 5)
    return np.ascontiguousarray(phases.reshape(-1, rows * block, columns * block, inputs))


def _transpose_conv(editor: Editor, op: Any, block: int) -> None:
    """Replace a convolution by a transposed one, which writes to the same tensor."""
    kernel = editor.constant(int(op.inputs[1]))
    assert kernel is not None  # by _is_plain
    image, target = int(op.inputs[0]), int(op.outputs[0])
    given = editor.constant(int(op.inputs[2])) if len(op.inputs) > 2 else None
    biases = np.zeros(len(kernel), np.float32) if given is None else given
    phases = biases.reshape(block**2, -1).astype(np.float64)
    bias = (phases.max(axis=0) + phases.min(axis=0)) / 2
    difference = (phases - bias).reshape(-1)
    if np.any(difference):
        largest = np.abs(kernel).max() or 1.0
        value = np.float32(np.abs(difference).max() / (_SHARE * largest))
        kernel = np.pad(kernel, [(0, 0)] * 3 + [(0, 1)])
        kernel[:, (kernel.shape[1] - 1) // 2, (kernel.shape[2] - 1) // 2, -1] = difference / value
        image = _with_constant_channel(editor, op, image, value)
    _, height, width, channels = editor.shape(target)
    large = [1, height * block, width * block, channels // block**2]
    name, options = editor.name(target), editor.schema.TransposeConvOptionsT()
    options.padding, options.strideH, options.strideW = _SAME, block, block
    inputs = [
        editor.add_constant(np.array(large, np.int32), f"{name}/shape"),
        editor.add_constant(transposed_kernel(kernel, block), editor.name(int(op.inputs[1]))),
        image,
        editor.add_constant(bias.astype(np.float32), f"{name}/bias"),
    ]
    activation = op.builtinOptions.fusedActivationFunction
    result = editor.add_tensor(large, f"{name}/before_activation") if activation else target
    editor.insert_before(op, editor.make_op("TRANSPOSE_CONV", inputs, [result], options, version=3))
    if activation:  # an operator of its own: not every compiler reads the activation of a transposed convolution
        editor.insert_before(op, editor.make_op(_activations(editor)[activation], [result], [target]))
    editor.remove(op)


def _activations(editor: Editor) -> dict[int, str]:
    """{number of a fused activation: operator}."""
    kinds = editor.schema.ActivationFunctionType
    return {kinds.RELU: "RELU", kinds.RELU6: "RELU6", kinds.RELU_N1_TO_1: "RELU_N1_TO_1", kinds.TANH: "TANH"}


def _with_constant_channel(editor: Editor, conv: Any, image: int, value: np.float32) -> int:
    """Add a channel of a positive value to the input of a convolution; returns the new input."""
    shape, maker = editor.shape(image), editor.makers().get(image)
    if maker is not None and len(editor.readers(image)) == 1 and not editor.is_end(image) and _can_grow(editor, maker):
        weights, bias = np.asarray(editor.constant(int(maker.inputs[1]))), editor.constant(int(maker.inputs[2]))
        editor.replace_constant(maker, 1, np.concatenate([weights, np.zeros_like(weights[:1])]))
        editor.replace_constant(maker, 2, np.append(np.asarray(bias), value).astype(np.float32))
        editor.set_shape(image, [*shape[:3], shape[3] + 1])
        return image
    result = editor.add_tensor([*shape[:3], shape[3] + 1], f"{editor.name(image)}/with_constant")
    paddings = editor.add_constant(np.array([[0, 0], [0, 0], [0, 0], [0, 1]], np.int32), f"{editor.name(image)}/paddings")
    inputs = [image, paddings, editor.add_constant(np.array(value, np.float32), f"{editor.name(image)}/value")]
    editor.insert_before(conv, editor.make_op("PADV2", inputs, [result], editor.schema.PadV2OptionsT()))
    return result


def _can_grow(editor: Editor, op: Any) -> bool:
    """Whether an operator is a convolution without groups that can compute an additional channel with a constant value."""
    kinds = editor.schema.ActivationFunctionType
    if editor.kind(op) != "CONV_2D" or op.builtinOptions.fusedActivationFunction not in (kinds.NONE, kinds.RELU):
        return False
    constants = [editor.constant(int(i)) for i in op.inputs[1:3]]
    if len(constants) < 2 or constants[0] is None or constants[1] is None:
        return False
    return constants[0].shape[3] == editor.shape(int(op.inputs[0]))[3]


def _is_copies(editor: Editor, op: Any, count: int) -> bool:
    """Whether a CONCATENATION puts copies of one image side by side."""
    inputs = [int(i) for i in op.inputs]
    return inputs == inputs[:1] * count and op.builtinOptions.axis in (-1, 3) and not editor.has_activation(op)


def _nearest(editor: Editor, op: Any, large: list[int]) -> None:
    """Replace concatenated copies of an image, followed by DEPTH_TO_SPACE, by RESIZE_NEAREST_NEIGHBOR."""
    size = editor.add_constant(np.array(large[1:3], np.int32), f"{editor.name(int(op.outputs[0]))}/size")
    options = editor.schema.ResizeNearestNeighborOptionsT()
    resize = editor.make_op("RESIZE_NEAREST_NEIGHBOR", [int(op.inputs[0]), size], [int(op.outputs[0])], options)
    editor.insert_before(op, resize)
    editor.remove(op)
