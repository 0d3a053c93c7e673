"""Simplified files compute the same numbers with fewer operators."""

import numpy as np
import pytest

from mobile_sr import zoo
from mobile_sr.converters.formats import tf_function, verification
from mobile_sr.converters.tflite import fixed_shape, flatbuffer
from mobile_sr.converters.tflite.passes import simplify
from mobile_sr.converters.tflite.passes.editor import Editor


def kinds(data):
    """Names of the operators in their order."""
    return [op.name for op in flatbuffer.parse(data).ops]


def weights(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


def convert(function, size=(6, 8)):
    """A .tflite of a function of [1, H, W, 3] and TensorFlow."""
    import tensorflow as tf

    return tf_function.convert(lambda x: function(tf, x), "net", 3, size)


def check(data, expected, size=(6, 8)):
    """Simplify; compare the operators and the values. Returns the notes."""
    result, notes = simplify.simplify(data)
    assert kinds(result) == expected
    lr = verification.sample(*size, 3)
    np.testing.assert_allclose(verification.run(result, lr, "new"), verification.run(data, lr, "old"), rtol=1e-5, atol=1e-6)
    return notes


def test_nothing_to_do():
    data = convert(lambda tf, x: tf.nn.depth_to_space(tf.nn.conv2d(x, weights(3, 3, 3, 12), 1, "SAME"), 2))
    assert simplify.simplify(data) == (data, [])


def test_order_through_activations_sums_and_constants():
    """PReLU slopes, biases, added constants, a depthwise convolution and a residual have their channels reordered."""

    def net(tf, x):
        a = tf.nn.bias_add(tf.nn.conv2d(x, weights(3, 3, 3, 12), 1, "SAME"), weights(12))
        a = tf.nn.relu(a) + weights(12) * tf.nn.relu(-a)
        b = tf.nn.conv2d(x, weights(1, 1, 3, 12, seed=1), 1, "SAME")
        b = tf.nn.depthwise_conv2d(tf.nn.sigmoid(b), weights(3, 3, 12, 1, seed=2), (1, 1, 1, 1), "SAME")
        order = np.random.default_rng(3).permutation(12)
        return tf.nn.depth_to_space(tf.gather(tf.nn.tanh(a + b) * weights(12, seed=4), order, axis=-1), 2)

    data = convert(net)
    result, _ = simplify.simplify(data)
    assert (kinds(data).count("GATHER"), kinds(result).count("GATHER"), kinds(result).count("PRELU")) == (1, 0, 1)
    check(data, kinds(result))


def test_order_into_the_convolutions_after_it():
    def net(tf, x):
        y = tf.gather(tf.nn.space_to_depth(x, 2), np.random.default_rng(0).permutation(12), axis=-1)
        return tf.nn.conv2d(y, weights(3, 3, 12, 3), 1, "SAME") + tf.nn.conv2d(y, weights(1, 1, 12, 3), 1, "SAME")

    data = convert(net)
    check(data, [kind for kind in kinds(data) if kind != "GATHER"])


def test_order_of_a_tensor_that_is_read_twice_stays():
    def net(tf, x):
        y = tf.nn.conv2d(x, weights(3, 3, 3, 12), 1, "SAME")
        return tf.nn.depth_to_space(tf.gather(y, np.arange(12)[::-1].copy(), axis=-1) + y, 2)

    data = convert(net)
    assert "GATHER" in kinds(data)
    assert simplify.simplify(data) == (data, [])


def test_order_of_a_grouped_convolution_stays():
    def net(tf, x):
        y = tf.concat([x, x], -1)
        y = tf.nn.conv2d(y, weights(3, 3, 3, 12), 1, "SAME")  # two groups
        return tf.nn.depth_to_space(tf.gather(y, np.arange(12)[::-1].copy(), axis=-1), 2)

    data = convert(net)
    assert "GATHER" in kinds(data)
    assert simplify.simplify(data) == (data, [])


def test_repeated_channels_in_order_become_a_concatenation():
    def net(tf, x):
        y = tf.nn.conv2d(x, weights(3, 3, 3, 12), 1, "SAME") + tf.gather(x, np.repeat(np.arange(3), 4), axis=-1)
        crd = np.arange(12).reshape(3, 4).T.reshape(-1).copy()
        return tf.nn.depth_to_space(tf.gather(y, crd, axis=-1), 2)

    data = convert(net)
    assert kinds(data).count("GATHER") == 2
    result, _ = simplify.simplify(data)
    assert sorted(kinds(result)) == ["ADD", "CONCATENATION", "CONV_2D", "DEPTH_TO_SPACE"]
    check(data, kinds(result))


def test_shuffle_in_channels_first():
    """A pixel shuffle of NCHW between two transpositions is one DEPTH_TO_SPACE."""

    def net(tf, x):
        y = tf.transpose(tf.nn.conv2d(x, weights(3, 3, 3, 12), 1, "SAME"), (0, 3, 1, 2))
        y = tf.transpose(tf.reshape(y, (1, 3, 2, 2, 6, 8)), (0, 1, 4, 2, 5, 3))
        return tf.transpose(tf.nn.relu(tf.reshape(y, (1, 3, 12, 16))), (0, 2, 3, 1))

    notes = check(convert(net), ["CONV_2D", "DEPTH_TO_SPACE"])
    assert notes == [
        "1 chain of RESHAPE and TRANSPOSE replaced by pixel shuffles",
        "1 reordering of channels folded into convolutions",
    ]


def test_transpositions_move_behind_operators():
    """Sums, constants, pads, slices, splits, concatenations and means in NCHW."""

    def net(tf, x):
        y = tf.transpose(tf.nn.conv2d(x, weights(3, 3, 3, 4), 1, "SAME"), (0, 3, 1, 2))
        z = tf.transpose(tf.nn.conv2d(x, weights(1, 1, 3, 4), 1, "SAME"), (0, 3, 1, 2))
        y = (y + z) * weights(4, 1, 1)
        y = tf.pad(y, ((0, 0), (1, 0), (2, 0), (0, 3)), "REFLECT")
        y = tf.slice(y, (0, 1, 2, 0), (1, 4, 6, 8))
        first, second = tf.split(y, 2, 1)
        y = tf.concat([first, second, first], 1)
        y = y * tf.reduce_mean(y, (2, 3), keepdims=True)
        return tf.nn.conv2d(tf.transpose(y, (0, 2, 3, 1)), weights(1, 1, 6, 3), 1, "SAME")

    data = convert(net)
    assert kinds(data).count("TRANSPOSE") >= 2
    result, _ = simplify.simplify(data)
    assert "TRANSPOSE" not in kinds(result)
    check(data, kinds(result))


def test_prelu_in_parts():
    """relu(x) - slope * relu(-x), where TensorFlow's converter does not see it."""
    slope = weights(4)

    def net(tf, x):
        y = tf.nn.conv2d(x, weights(3, 3, 3, 4), 1, "SAME")
        return tf.nn.relu(y) - slope * tf.nn.relu(-y)

    data = convert(net)
    assert kinds(data).count("RELU") == 2
    assert check(data, ["CONV_2D", "PRELU"]) == ["1 PRELU put together from parts"]


def test_prelu_of_litert_torch():
    """relu(x) - slope * relu(x * -1), the last RELU being part of the product."""
    slope = np.abs(weights(1, 1, 4))

    def net(tf, x):
        y = tf.nn.conv2d(x, weights(3, 3, 3, 4), 1, "SAME")
        return tf.nn.relu(y) + (-slope) * tf.nn.relu(-y)

    editor = Editor(convert(net))
    prelu = next(op for op in editor.graph.operators if editor.kind(op) == "PRELU")
    x, y = int(prelu.inputs[0]), int(prelu.outputs[0])
    shape = editor.shape(x)
    positive, negative, scaled = (editor.add_tensor(shape, name) for name in ("positive", "negative", "scaled"))
    relu = editor.schema.MulOptionsT()
    relu.fusedActivationFunction = editor.schema.ActivationFunctionType.RELU
    minus, slopes = editor.add_constant(np.float32([-1]), "minus"), editor.add_constant(slope, "slope")
    parts = [
        editor.make_op("RELU", [x], [positive]),
        editor.make_op("MUL", [x, minus], [negative], relu),
        editor.make_op("MUL", [negative, slopes], [scaled], editor.schema.MulOptionsT()),
        editor.make_op("SUB", [positive, scaled], [y], editor.schema.SubOptionsT()),
    ]
    editor.insert_before(prelu, *parts)
    editor.remove(prelu)
    assert check(editor.pack(), ["CONV_2D", "PRELU"]) == ["1 PRELU put together from parts"]


def test_fixed_sizes():
    """What was computed from the size is constant."""
    data = convert(lambda tf, x: tf.image.resize(x, tf.shape(x)[1:3] * 2), None)
    assert "SHAPE" in kinds(data)
    fixed = simplify.fix_size(data, (1, 6, 8, 3))
    assert kinds(fixed) == ["RESIZE_BILINEAR"]
    graph = flatbuffer.parse(fixed)
    assert graph.tensors[graph.outputs[0]].shape == [1, 12, 16, 3]
    check(fixed, ["RESIZE_BILINEAR"])


def test_a_size_on_which_the_file_does_not_run():
    data = convert(lambda tf, x: tf.nn.depth_to_space(tf.nn.space_to_depth(x, 2), 2), None)
    with pytest.raises(ValueError, match=r"does not run on \(1, 5, 8, 3\)"):
        simplify.fix_size(data, (1, 5, 8, 3))


def test_the_size_of_the_image_where_a_scalar_comes_first():
    """AdaDSR's dense signature: inputs desired depth and image."""
    data = zoo.resolve("adaedsr_b8_x2:uint8").read_bytes()
    data = fixed_shape.first_subgraph_only(flatbuffer.as_first_subgraph(data, flatbuffer.parse(data, "dense")))
    graph = flatbuffer.parse(simplify.fix_size(data, (1, 5, 6, 3)))
    assert [len(graph.tensors[tensor].shape) for tensor in graph.inputs] == [2, 4]
    assert [graph.tensors[tensor].shape for tensor in graph.outputs] == [[1, 5, 6, 1], [1, 10, 12, 3]]
