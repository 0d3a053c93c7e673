"""The table of ONNX operators: arithmetic, activations, channels and shapes. See docs/reference/formats.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mobile_sr.converters.formats.onnx_network import spatial
from mobile_sr.converters.formats.onnx_network.emitter import CHANNELS_LAST, Emitter, Operator, Value
from mobile_sr.converters.formats.onnx_network.graph import Node
from mobile_sr.converters.tflite.passes.pixel_shuffle import Shuffle, depth_to_space_order


def _unary(function: Callable[[Any, Any, Node], Any]) -> Operator:
    """An operator that changes every value by itself: function(tf, x, node)."""

    def emit(emitter: Emitter, node: Node) -> Value:
        value = emitter.value(node)
        return Value(function(emitter.tf, value.tensor, node), value.axes)

    return emit


def _binary(function: Callable[[Any, Any, Any], Any]) -> Operator:
    """An operator of two or more tensors with broadcasting: function(tf, a, b)."""

    def emit(emitter: Emitter, node: Node) -> Value:
        (result, *others), axes = emitter.aligned(node)
        for other in others:
            result = function(emitter.tf, result, other)
        return Value(result, axes)

    return emit


def _identity(emitter: Emitter, node: Node) -> Value:
    return emitter.value(node)


def _cast(emitter: Emitter, node: Node) -> Value:
    if node.attributes["to"] not in (1, 10, 11):  # FLOAT, FLOAT16, DOUBLE of TensorProto.DataType
        raise emitter.error(node, "turns the image into integers; cut the network before it")
    return emitter.value(node)


def _erf(tf: Any, x: Any, node: Node) -> Any:
    """Abramowitz and Stegun, 7.1.26: .tflite has no operator; the error is below 1.5e-7."""
    size = tf.abs(x)
    t = 1 / (1 + 0.3275911 * size)
    sum_ = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    return tf.sign(x) * (1 - sum_ * tf.exp(-size * size))


def _gelu(tf: Any, x: Any, node: Node) -> Any:
    return tf.nn.gelu(x, approximate=node.attributes.get("approximate", "none") == "tanh")


def _softplus(tf: Any, x: Any, node: Node) -> Any:
    """log(1 + exp(x)), written so that exp cannot overflow."""
    return tf.nn.relu(x) + tf.math.log(1 + tf.exp(-tf.abs(x)))


def _hard_sigmoid(tf: Any, x: Any, node: Node) -> Any:
    alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-4 and beta == 0.5:
        return tf.nn.relu6(x + 3) * (1 / 6)
    return tf.minimum(tf.nn.relu(alpha * x + beta), 1.0)


def _clip(emitter: Emitter, node: Node) -> Value:
    tf, value = emitter.tf, emitter.value(node)
    low, high = (emitter.parameter(node, name, k) for k, name in ((1, "min"), (2, "max")))
    low, high = (None if limit is None or not np.isfinite(limit) else float(limit) for limit in (low, high))
    x = value.tensor
    if (low, high) == (0, 6):
        x = tf.nn.relu6(x)
    else:
        x = x if low is None else tf.nn.relu(x) if low == 0 else tf.maximum(x, low)  # a RELU joins the convolution before it
        x = x if high is None else tf.minimum(x, high)
    return Value(x, value.axes)


def _prelu(emitter: Emitter, node: Node) -> Value:
    """In the form in which TensorFlow's converter recognizes PRELU: relu(x) - slope * relu(-x)."""
    tf, value, rank = emitter.tf, emitter.value(node), emitter.rank(node.inputs[0])
    slope = emitter.constant(node, 1)
    if slope.size == 1:
        if value.axes[-1] == 1:  # one for all channels
            slope = np.full(value.tensor.shape[-1], slope.item(), np.float32)
    else:
        slope = slope.reshape((1,) * (rank - slope.ndim) + slope.shape).transpose(value.axes)
        slope = slope.reshape(slope.shape[1:]) if slope.shape[0] == 1 else slope
    x = value.tensor
    return Value(tf.nn.relu(x) + (-slope) * tf.nn.relu(-x), value.axes)


def _batch_normalization(emitter: Emitter, node: Node) -> Value:
    value = emitter.value(node)
    scale, shift, mean, variance = (emitter.constant(node, k).astype(np.float64) for k in range(1, 5))
    factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    shape = [len(factor) if axis == 1 else 1 for axis in value.axes]
    factor, offset = (np.float32(array).reshape(shape) for array in (factor, shift - mean * factor))
    return Value(value.tensor * factor + offset, value.axes)


def _instance_normalization(emitter: Emitter, node: Node) -> Value:
    tf, x = emitter.tf, emitter.nhwc(node)
    scale, shift = emitter.constant(node, 1), emitter.constant(node, 2)
    centred = x - tf.reduce_mean(x, (1, 2), keepdims=True)
    variance = tf.reduce_mean(centred * centred, (1, 2), keepdims=True)
    factor = tf.math.rsqrt(variance + node.attributes.get("epsilon", 1e-5))
    return Value(centred * factor * scale + shift, CHANNELS_LAST)


def _layer_normalization(emitter: Emitter, node: Node) -> Value:
    tf, value, rank = emitter.tf, emitter.value(node), emitter.rank(node.inputs[0])
    first = node.attributes.get("axis", -1) % rank
    axes = [value.axes.index(axis) for axis in range(first, rank)]
    centred = value.tensor - tf.reduce_mean(value.tensor, axes, keepdims=True)
    variance = tf.reduce_mean(centred * centred, axes, keepdims=True)
    result = centred * tf.math.rsqrt(variance + node.attributes.get("epsilon", 1e-5))

    def spread(position):
        array = emitter.constant(node, position)
        return array.reshape((1,) * (rank - array.ndim) + array.shape).transpose(value.axes)

    result = result * spread(1)
    return Value(result + spread(2) if len(node.inputs) > 2 and node.inputs[2] else result, value.axes)


def _softmax(emitter: Emitter, node: Node) -> Value:
    value, rank = emitter.value(node), emitter.rank(node.inputs[0])
    axis = node.attributes.get("axis", -1 if emitter.graph.opset >= 13 else 1) % rank
    if emitter.graph.opset < 13 and axis != rank - 1:
        raise emitter.error(node, "of operator set 12 or older runs over several sides; export with operator set 13")
    return Value(emitter.tf.nn.softmax(value.tensor, value.axes.index(axis)), value.axes)


def _reduce(name: str) -> Operator:
    def emit(emitter: Emitter, node: Node) -> Value:
        value, rank = emitter.value(node), emitter.rank(node.inputs[0])
        axes = emitter.parameter(node, "axes", 1)
        axes = range(rank) if axes is None or not len(axes) else [int(axis) % rank for axis in axes]
        keep = bool(node.attributes.get("keepdims", 1))
        result = getattr(emitter.tf, name)(value.tensor, [value.axes.index(axis) for axis in axes], keepdims=keep)
        left = value.axes if keep else [axis for axis in value.axes if axis not in axes]
        ranks = sorted(left)
        return Value(result, tuple(ranks.index(axis) for axis in left))

    return emit


def _matmul(emitter: Emitter, node: Node) -> Value:
    a, b = (emitter.value(node, k) for k in (0, 1))
    a, b = (
        emitter.reorder(value, emitter.sides(name), range(emitter.rank(name))) if emitter.is_data(name) else value.tensor
        for value, name in zip((a, b), node.inputs, strict=True)
    )
    return Value(emitter.tf.matmul(a, b), tuple(range(emitter.rank(node.outputs[0]))))


def _gemm(emitter: Emitter, node: Node) -> Value:
    tf, attributes = emitter.tf, node.attributes
    weights = emitter.constant(node, 1) * np.float32(attributes.get("alpha", 1.0))
    weights = weights.T if attributes.get("transB", 0) else weights
    if attributes.get("transA", 0):
        raise emitter.error(node, "with transA is not supported")
    result = tf.matmul(emitter.stored(node.inputs[0], (0, 1)), np.ascontiguousarray(weights))
    if len(node.inputs) > 2 and node.inputs[2]:
        result = result + emitter.constant(node, 2).reshape(-1) * np.float32(attributes.get("beta", 1.0))
    return Value(result, (0, 1))


def _transpose(emitter: Emitter, node: Node) -> Value:
    value, rank = emitter.value(node), emitter.rank(node.inputs[0])
    permutation = list(node.attributes.get("perm", range(rank)[::-1]))
    return Value(value.tensor, tuple(permutation.index(axis) for axis in value.axes))


def _reshape(emitter: Emitter, node: Node) -> Value:
    """Reshape, Flatten, Squeeze and Unsqueeze: the shape is that of the trials."""
    if node.op == "Unsqueeze":
        return _unsqueeze(emitter, node)
    sides = emitter.sides(node.outputs[0])
    rank = emitter.rank(node.inputs[0])
    if emitter.graph.shapes(node.inputs[0]) == emitter.graph.shapes(node.outputs[0]):
        return emitter.value(node)
    if sides.count(None) > 1:
        raise emitter.size_error(node)
    plain = emitter.reorder(emitter.value(node), emitter.sides(node.inputs[0]), range(rank))
    return Value(emitter.tf.reshape(plain, [-1 if side is None else side for side in sides]), tuple(range(len(sides))))


def _unsqueeze(emitter: Emitter, node: Node) -> Value:
    """New sides of 1 come first, in the order of the axes."""
    value, rank = emitter.value(node), emitter.rank(node.outputs[0])
    added = sorted(int(axis) % rank for axis in emitter.parameter(node, "axes", 1))
    kept = [axis for axis in range(rank) if axis not in added]
    tensor = value.tensor
    for _ in added:
        tensor = emitter.tf.expand_dims(tensor, 0)
    return Value(tensor, (*added, *(kept[axis] for axis in value.axes)))


def _concat(emitter: Emitter, node: Node) -> Value:
    tensors, axes = emitter.aligned(node)
    axis = node.attributes["axis"] % len(axes)
    return Value(emitter.tf.concat(tensors, axes.index(axis)), axes)


def _split(emitter: Emitter, node: Node) -> list[Value]:
    value, rank = emitter.value(node), emitter.rank(node.inputs[0])
    axis = node.attributes.get("axis", 0) % rank
    sizes = [emitter.sides(name)[axis] for name in node.outputs]
    if None in sizes:
        raise emitter.size_error(node)
    parts = len(sizes) if len(set(sizes)) == 1 else sizes
    return [Value(part, value.axes) for part in emitter.tf.split(value.tensor, parts, value.axes.index(axis))]


def _slice(emitter: Emitter, node: Node) -> Value:
    value, rank, attributes = emitter.value(node), emitter.rank(node.inputs[0]), node.attributes
    starts = attributes["starts"] if "starts" in attributes else _by_trial(emitter, node, 1)
    ends = attributes["ends"] if "ends" in attributes else _by_trial(emitter, node, 2)
    axes = emitter.parameter(node, "axes", 3)
    axes = range(len(starts)) if axes is None else [int(axis) % rank for axis in axes]
    steps = emitter.parameter(node, "steps", 4, [1] * len(starts))
    shapes = emitter.graph.shapes(node.inputs[0])
    index: list[slice] = [slice(None)] * rank
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        first, last = (_bound(emitter, node, bound, [shape[axis] for shape in shapes]) for bound in (start, end))
        index[axis] = slice(first, last, int(step))
    return Value(value.tensor[tuple(index[axis] for axis in value.axes)], value.axes)


def _by_trial(emitter: Emitter, node: Node, position: int) -> list[list[int]]:
    """Values of an input that may depend on the image size: for each element its value in all trials."""
    name = node.inputs[position]
    if emitter.is_data(name):
        raise emitter.error(node, f"with bounds that depend on the image ({name}) is not supported")
    return np.stack([np.ravel(trial[name]) for trial in emitter.graph.trials], -1).tolist()


def _bound(emitter: Emitter, node: Node, bound: int | list[int], sides: list[int]) -> int | None:
    """A bound of a slice: a number, counted from the end if it depends on the size, or None for the end."""
    values = bound if isinstance(bound, list) else [bound] * len(sides)
    if all(value >= side for value, side in zip(values, sides, strict=True)):
        return None
    if len(set(values)) == 1:
        return int(values[0]) if values[0] > -(2**31) else None
    from_end = {value - side for value, side in zip(values, sides, strict=True)}
    if len(from_end) == 1:
        return int(from_end.pop())
    raise emitter.size_error(node)


def _tile(emitter: Emitter, node: Node) -> Value:
    """Tile and Expand: how often each side repeats follows from the shapes."""
    rank, out = emitter.rank(node.inputs[0]), emitter.rank(node.outputs[0])
    value = emitter.value(node)
    added = out - rank
    tensor, axes = value.tensor, (*range(added), *(axis + added for axis in value.axes))
    for _ in range(added):
        tensor = emitter.tf.expand_dims(tensor, 0)
    counts = []
    for axis in range(out):
        sources = [1 if axis < added else shape[axis - added] for shape in emitter.graph.shapes(node.inputs[0])]
        targets = [shape[axis] for shape in emitter.graph.shapes(node.outputs[0])]
        counts.append({target // source for source, target in zip(sources, targets, strict=True)})
    if any(len(count) > 1 for count in counts):
        raise emitter.size_error(node)
    repeats = [next(iter(counts[axis])) for axis in axes]
    if sum(count > 1 for count in repeats) == 1:
        side = next(k for k, count in enumerate(repeats) if count > 1)
        return Value(emitter.tf.concat([tensor] * repeats[side], side), axes)
    return Value(emitter.tf.tile(tensor, repeats), axes)


def _depth_to_space(emitter: Emitter, node: Node) -> Value:
    tf, x, block = emitter.tf, emitter.nhwc(node), node.attributes["blocksize"]
    if node.attributes.get("mode", "DCR") == "CRD":
        x = tf.gather(x, depth_to_space_order(x.shape[-1], block), axis=-1)
    return Value(tf.nn.depth_to_space(x, block), CHANNELS_LAST)


def _space_to_depth(emitter: Emitter, node: Node) -> Value:
    return Value(emitter.tf.nn.space_to_depth(emitter.nhwc(node), node.attributes["blocksize"]), CHANNELS_LAST)


def _shuffle(emitter: Emitter, node: Node) -> Value:
    """A Reshape-Transpose-Reshape that rewrites.py recognized."""
    tf, shuffle = emitter.tf, node.attributes["shuffle"]
    assert isinstance(shuffle, Shuffle)
    axes, axes_out = (CHANNELS_LAST if layout == "NCHW" else (0, 1, 2, 3) for layout in (shuffle.layout_in, shuffle.layout_out))
    x = emitter.stored(node.inputs[0], axes)
    if shuffle.kind == "space_to_depth":
        x = tf.nn.space_to_depth(x, shuffle.block)
    if not shuffle.keeps_order:
        x = tf.gather(x, shuffle.channels, axis=-1)
    if shuffle.kind == "depth_to_space":
        x = tf.nn.depth_to_space(x, shuffle.block)
    return Value(x, axes_out)


OPERATORS: dict[str, Operator] = {
    **dict.fromkeys(("Identity", "Dropout"), _identity),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("Tile", "Expand"), _tile),
    "Abs": _unary(lambda tf, x, node: tf.abs(x)),
    "Add": _binary(lambda tf, a, b: a + b),
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Div": _binary(lambda tf, a, b: a / b),
    "Elu": _unary(lambda tf, x, node: tf.nn.elu(x)),
    "Erf": _unary(_erf),
    "Exp": _unary(lambda tf, x, node: tf.exp(x)),
    "Gelu": _unary(_gelu),
    "Gemm": _gemm,
    "HardSigmoid": _unary(_hard_sigmoid),
    "HardSwish": _unary(lambda tf, x, node: x * tf.nn.relu6(x + 3) * (1 / 6)),
    "InstanceNormalization": _instance_normalization,
    "LayerNormalization": _layer_normalization,
    "LeakyRelu": _unary(lambda tf, x, node: tf.nn.leaky_relu(x, node.attributes.get("alpha", 0.01))),
    "MatMul": _matmul,
    "Max": _binary(lambda tf, a, b: tf.maximum(a, b)),
    "Min": _binary(lambda tf, a, b: tf.minimum(a, b)),
    "Mish": _unary(lambda tf, x, node: x * tf.nn.tanh(_softplus(tf, x, node))),
    "Mul": _binary(lambda tf, a, b: a * b),
    "Neg": _unary(lambda tf, x, node: -x),
    "PRelu": _prelu,
    "Pow": _binary(lambda tf, a, b: tf.pow(a, b)),
    "Reciprocal": _unary(lambda tf, x, node: 1 / x),
    "ReduceMax": _reduce("reduce_max"),
    "ReduceMean": _reduce("reduce_mean"),
    "ReduceMin": _reduce("reduce_min"),
    "ReduceSum": _reduce("reduce_sum"),
    "Relu": _unary(lambda tf, x, node: tf.nn.relu(x)),
    "Shuffle": _shuffle,
    "Sigmoid": _unary(lambda tf, x, node: tf.nn.sigmoid(x)),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _unary(_softplus),
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Sqrt": _unary(lambda tf, x, node: tf.sqrt(x)),
    "Sub": _binary(lambda tf, a, b: a - b),
    "Sum": _binary(lambda tf, a, b: a + b),
    "Swish": _unary(lambda tf, x, node: x * tf.nn.sigmoid(node.attributes.get("alpha", 1.0) * x)),
    "Tanh": _unary(lambda tf, x, node: tf.nn.tanh(x)),
    "Transpose": _transpose,
    **spatial.OPERATORS,
}
