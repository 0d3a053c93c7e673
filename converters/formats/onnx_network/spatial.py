"""The table of ONNX operators that look at neighbouring pixels: convolutions, pooling, padding and resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mobile_sr.converters.formats.onnx_network.emitter import CHANNELS_LAST, Emitter, Operator, Value
from mobile_sr.converters.formats.onnx_network.graph import Node

_LOWEST = float(np.finfo(np.float32).min)


def _conv(emitter: Emitter, node: Node) -> Value:
    tf, x = emitter.tf, emitter.nhwc(node)
    kernel = _kernel(emitter, node)  # [C_out, C_in / groups, k, k]
    groups, strides, dilations = _geometry(node)
    size = [dilation * (side - 1) + 1 for side, dilation in zip(kernel.shape[2:], dilations, strict=True)]
    x, padding = _pad_for(emitter, node, x, size, strides)
    channels = x.shape[-1]
    if groups == channels and groups > 1 and kernel.shape[1] == 1 and strides[0] == strides[1]:
        filters = kernel.reshape(channels, -1, *kernel.shape[2:]).transpose(2, 3, 0, 1)
        y = tf.nn.depthwise_conv2d(x, filters, (1, *strides, 1), padding, dilations=dilations)
    else:
        y = tf.nn.conv2d(x, kernel.transpose(2, 3, 1, 0), strides, padding, dilations=dilations)
    return Value(_add_bias(emitter, node, y), CHANNELS_LAST)


def _conv_transpose(emitter: Emitter, node: Node) -> Value:
    """A SAME transposed convolution if the pads are its pads, else the full result (VALID), cropped by the pads."""
    tf, x = emitter.tf, emitter.nhwc(node)
    kernel = _kernel(emitter, node)  # [C_in, C_out / groups, k, k]
    groups, strides, dilations = _geometry(node)
    if dilations != [1, 1]:
        raise emitter.error(node, f"with dilations {dilations} is not supported")
    extra = list(node.attributes.get("output_padding", (0, 0)))
    source, target = (emitter.graph.shapes(name)[0][2:] for name in (node.inputs[0], node.outputs[0]))
    full = [(side - 1) * stride + k for side, stride, k in zip(source, strides, kernel.shape[2:], strict=True)]
    crop = [whole - out for whole, out in zip(full, target, strict=True)]  # pads of both sides less the extra rows
    begin = list(node.attributes.get("pads", (0, 0, 0, 0)))[:2]
    auto = node.attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER") or "output_shape" in node.attributes:
        total = [count + more for count, more in zip(crop, extra, strict=True)]
        begin = [count - count // 2 if auto == "SAME_LOWER" else count // 2 for count in total]
    end = [count - first for count, first in zip(crop, begin, strict=True)]
    longer = [max(0, -count) for count in end]
    sizes = list(zip(kernel.shape[2:], strides, begin, end, strict=True))
    same = all(first == (k - stride) // 2 and first + last == k - stride for k, stride, first, last in sizes)
    image_shape = tf.shape(x)
    sides = [x.shape[axis] if x.shape[axis] is not None else image_shape[axis] for axis in (1, 2)]
    output = [
        side * stride if same else (side - 1) * stride + k + more
        for side, stride, k, more in zip(sides, strides, kernel.shape[2:], longer, strict=True)
    ]
    parts = []
    for part, weights in zip(tf.split(x, groups, -1) if groups > 1 else [x], np.split(kernel, groups), strict=True):
        shape = tf.stack([1, *output, weights.shape[1]])
        padding = "SAME" if same else "VALID"
        parts.append(tf.nn.conv2d_transpose(part, weights.transpose(2, 3, 1, 0), shape, strides, padding))
    y = _add_bias(emitter, node, tf.concat(parts, -1) if groups > 1 else parts[0])
    if not same and any((*begin, *end)):
        rows, columns = (slice(first, -last if last > 0 else None) for first, last in zip(begin, end, strict=True))
        y = y[:, rows, columns, :]
    return Value(y, CHANNELS_LAST)


def _kernel(emitter: Emitter, node: Node) -> np.ndarray:
    kernel = emitter.constant(node, 1)
    if kernel.ndim != 4:
        raise emitter.error(node, f"has a kernel of shape {list(kernel.shape)}; only 2D convolutions are supported")
    return kernel


def _geometry(node: Node) -> tuple[int, list[int], list[int]]:
    """Groups, strides and dilations."""
    attributes = node.attributes
    return attributes.get("group", 1), list(attributes.get("strides", (1, 1))), list(attributes.get("dilations", (1, 1)))


def _add_bias(emitter: Emitter, node: Node, y: Any) -> Any:
    if len(node.inputs) < 3 or not node.inputs[2]:
        return y
    return emitter.tf.nn.bias_add(y, emitter.constant(node, 2))


def _pads(emitter: Emitter, node: Node, size: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Pads (top, left, bottom, right) of a convolution or pooling with windows of `size`."""
    auto = node.attributes.get("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        return list(node.attributes.get("pads", (0, 0, 0, 0)))
    if auto == "VALID":
        return [0, 0, 0, 0]
    totals = []
    for shape in emitter.graph.shapes(node.inputs[0]):
        outputs = [-(-side // stride) for side, stride in zip(shape[2:], strides, strict=True)]
        totals.append([max(0, (o - 1) * s + k - side) for o, s, k, side in zip(outputs, strides, size, shape[2:], strict=True)])
    if any(total != totals[0] for total in totals):
        raise emitter.size_error(node)
    less, more = [total // 2 for total in totals[0]], [total - total // 2 for total in totals[0]]
    return [*less, *more] if auto == "SAME_UPPER" else [*more, *less]


def _pad_for(
    emitter: Emitter, node: Node, x: Any, size: Sequence[int], strides: Sequence[int], value: float = 0.0
) -> tuple[Any, str]:
    """The padded input and TensorFlow's padding: 'SAME' if it is equal, else a Pad and 'VALID'."""
    if node.attributes.get("auto_pad") == "SAME_UPPER":
        return x, "SAME"
    pads = _pads(emitter, node, size, strides)
    if not any(pads):
        return x, "VALID"
    same = [(side - 1) // 2 for side in size] + [side - 1 - (side - 1) // 2 for side in size]
    if pads == same and list(strides) == [1, 1]:
        return x, "SAME"
    top, left, bottom, right = pads
    paddings = ((0, 0), (top, bottom), (left, right), (0, 0))
    return emitter.tf.pad(x, paddings, constant_values=value), "VALID"


def _pool(emitter: Emitter, node: Node) -> Value:
    tf, x, attributes = emitter.tf, emitter.nhwc(node), node.attributes
    size, strides = list(attributes["kernel_shape"]), list(attributes.get("strides", (1, 1)))
    average = node.op == "AveragePool"
    if attributes.get("dilations", [1, 1]) != [1, 1]:
        raise emitter.error(node, f"with dilations {attributes['dilations']} is not supported")
    padded, padding = _pad_for(emitter, node, x, size, strides, 0.0 if average else _LOWEST)
    counts_padding = bool(attributes.get("count_include_pad", 0))
    if average and counts_padding and padding == "SAME":
        top, left, bottom, right = _pads(emitter, node, size, strides)
        padded, padding = tf.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0))), "VALID"
    elif average and not counts_padding and padded is not x:
        raise emitter.error(node, "with these pads is not supported; export the network as .tflite or SavedModel")
    function = tf.nn.avg_pool2d if average else tf.nn.max_pool2d
    return Value(function(padded, size, strides, padding), CHANNELS_LAST)


def _global_average_pool(emitter: Emitter, node: Node) -> Value:
    return Value(emitter.tf.reduce_mean(emitter.nhwc(node), (1, 2), keepdims=True), CHANNELS_LAST)


def _global_max_pool(emitter: Emitter, node: Node) -> Value:
    return Value(emitter.tf.reduce_max(emitter.nhwc(node), (1, 2), keepdims=True), CHANNELS_LAST)


def _pad(emitter: Emitter, node: Node) -> Value:
    tf, value, rank = emitter.tf, emitter.value(node), emitter.rank(node.inputs[0])
    pads = [int(count) for count in emitter.parameter(node, "pads", 1)]
    axes = emitter.parameter(node, "axes", 3)
    axes = range(rank) if axes is None else [int(axis) % rank for axis in axes]
    by_axis = {axis: (pads[k], pads[k + len(axes)]) for k, axis in enumerate(axes)}
    paddings = np.array([by_axis.get(axis, (0, 0)) for axis in value.axes])
    mode = node.attributes.get("mode", "constant")
    x = value.tensor
    if (paddings < 0).any():
        x = x[tuple(slice(max(0, -first), min(0, last) or None) for first, last in paddings)]
        paddings = np.maximum(paddings, 0)
    if mode == "constant":
        number = emitter.parameter(node, "value", 2, 0.0)
        x = tf.pad(x, paddings, constant_values=float(np.ravel(number)[0]) if np.size(number) else 0.0)
    elif mode == "reflect":
        x = tf.pad(x, paddings, "REFLECT")
    elif mode == "edge":  # a mirror image of one pixel at a time is the edge
        while paddings.any():
            x = tf.pad(x, np.minimum(paddings, 1), "SYMMETRIC")
            paddings = np.maximum(paddings - 1, 0)
    else:
        raise emitter.error(node, f"with mode {mode} is not supported; use constant, reflect or edge")
    return Value(x, value.axes)


def _resize(emitter: Emitter, node: Node) -> Value:
    """Nearest and linear resizing by the same factor at every size, in the coordinates that .tflite has, too."""
    tf, x, attributes = emitter.tf, emitter.nhwc(node), node.attributes
    shapes = zip(emitter.graph.shapes(node.inputs[0]), emitter.graph.shapes(node.outputs[0]), strict=True)
    pairs = [(source[2:], target[2:]) for source, target in shapes]
    mode = attributes.get("mode", "nearest")
    old = node.op == "Upsample" or emitter.graph.opset < 11
    coordinates = "asymmetric" if old else attributes.get("coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if old else attributes.get("nearest_mode", "round_prefer_floor")
    if mode not in ("nearest", "linear"):
        raise emitter.error(node, f"with mode {mode} is not supported; use nearest or linear, or export as .tflite")
    forms = {"asymmetric": (False, False), "half_pixel": (False, True), "align_corners": (True, False)}
    forms["pytorch_half_pixel"] = forms["half_pixel"]
    if coordinates not in forms or attributes.get("antialias", 0):
        what = "antialias" if coordinates in forms else f"coordinates {coordinates}"
        raise emitter.error(node, f"with {what} is not supported; use {', '.join(forms)}, or export as .tflite")
    align_corners, half_pixel = forms[coordinates]
    if mode == "nearest":
        whole = all(out % side == 0 for source, target in pairs for side, out in zip(source, target, strict=True))
        repeats = whole and (coordinates, rounding) in _REPEATING
        if not repeats and (coordinates, rounding) != ("asymmetric", "floor"):
            raise emitter.error(node, f"with {coordinates} and {rounding} at this scale has no .tflite form")
        align_corners = half_pixel = False
    size = _resized(emitter, node, x, pairs)
    resize = tf.raw_ops.ResizeNearestNeighbor if mode == "nearest" else tf.raw_ops.ResizeBilinear
    return Value(resize(images=x, size=size, align_corners=align_corners, half_pixel_centers=half_pixel), CHANNELS_LAST)


# (coordinates, rounding) that repeat each pixel when the scale is an integer.
_REPEATING = {("asymmetric", "floor")} | {
    (coordinates, rounding)
    for coordinates in ("half_pixel", "pytorch_half_pixel")
    for rounding in ("round_prefer_floor", "round_prefer_ceil")
}


def _resized(emitter: Emitter, node: Node, x: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Any:
    """The size after a resize: numbers if it is fixed, else a multiple or part of the size of `x` or of the image."""
    tf = emitter.tf
    targets = [tuple(target) for _, target in pairs]
    if len(set(targets)) == 1:
        return tf.constant(targets[0], tf.int32)
    layout = emitter.graph.layout
    images = [tuple(shape[layout.index(side)] for side in "HW") for shape in emitter.graph.shapes(emitter.graph.image)]
    for tensor, sources in ((x, [source for source, _ in pairs]), (emitter.lr, images)):
        size = tf.shape(tensor)[1:3]
        for factor in _factors(sources, targets):
            return size * tf.constant(factor, tf.int32)
        for factor in _factors(targets, sources):
            return size // tf.constant(factor, tf.int32)
    raise emitter.size_error(node)


def _factors(small: Sequence[Sequence[int]], large: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """The integers by which each side of all small sizes is smaller, as a list of one; empty if there are none."""
    factors = tuple(out // side for side, out in zip(small[0], large[0], strict=True))
    matches = all(
        side * factor == out
        for source, target in zip(small, large, strict=True)
        for side, factor, out in zip(source, factors, target, strict=True)
    )
    return [factors] if matches else []


OPERATORS: dict[str, Operator] = {
    "AveragePool": _pool,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": _global_max_pool,
    "MaxPool": _pool,
    "Pad": _pad,
    "Resize": _resize,
    "Upsample": _resize,
}
