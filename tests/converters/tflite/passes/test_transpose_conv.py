"""A convolution and DEPTH_TO_SPACE become one TRANSPOSE_CONV of the same function."""

import numpy as np
import pytest

from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.converters.tflite.passes import transpose_conv
from mobile_sr.converters.tflite.passes.editor import Editor
from tests.converters.quantization.small_graphs import Builder, images, run


def rewritten(builder, output):
    """(bytes before, bytes after, names of the operators after)."""
    before = builder.finished(output).packed()
    editor = Editor(before)
    transpose_conv.replace_depth_to_space(editor)
    after = editor.pack()
    return before, after, [op.name for op in flatbuffer.parse(after).ops]


def check(builder, output, expected):
    """Replace; compare the operators and the values on an image. Returns the parsed result."""
    before, after, names = rewritten(builder, output)
    assert names == expected
    (image,) = images(1)
    for delegate in (False, True):
        np.testing.assert_allclose(run(after, image, delegate=delegate), run(before, image), rtol=1e-5, atol=1e-5)
    return flatbuffer.parse(after)


def shuffled(builder, source, block):
    return builder.op("DEPTH_TO_SPACE", [source], blockSize=block)


@pytest.mark.parametrize("block", [2, 3, 4])
@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_the_function_stays_the_same(block, side):
    builder = Builder()
    features = builder.conv(builder.inputs[0], 3, 4, 3, activation="RELU")
    tail = builder.conv(features, 4, 3 * block**2, side)
    graph = check(builder, shuffled(builder, tail, block), ["CONV_2D", "TRANSPOSE_CONV"])
    odd = side + 1 - side % 2
    # The biases differ: the first convolution got a channel of a constant value.
    assert graph.tensors[graph.ops[1].inputs[1]].shape == [3, odd * block, odd * block, 5]


def test_equal_biases_need_no_further_channel():
    builder = Builder()
    kernel = builder.rng.normal(0, 0.4, (12, 3, 3, 3))
    tail = builder.op("CONV_2D", [builder.inputs[0], kernel, np.tile([0.1, -0.2, 0.3], 4)], strideH=1, strideW=1)
    graph = check(builder, shuffled(builder, tail, 2), ["TRANSPOSE_CONV"])
    assert graph.tensors[graph.ops[0].inputs[1]].shape == [3, 6, 6, 3]


def test_a_clip_between_and_behind_stays():
    builder = Builder()
    tail = builder.conv(builder.inputs[0], 3, 12, 3, activation="RELU")
    clipped = builder.op("MINIMUM", [tail, np.float32(0.5)])
    end = builder.op("MINIMUM", [shuffled(builder, clipped, 2), np.float32(0.4)])
    check(builder, end, ["PADV2", "TRANSPOSE_CONV", "RELU", "MINIMUM", "MINIMUM"])


def test_input_of_another_operator_is_padded():
    """The convolution before it is read twice, so it keeps its channels."""
    builder = Builder()
    features = builder.conv(builder.inputs[0], 3, 4, 3)
    total = builder.op("ADD", [features, features])
    tail = builder.conv(total, 4, 27, 3)
    check(builder, shuffled(builder, tail, 3), ["CONV_2D", "ADD", "PADV2", "TRANSPOSE_CONV"])


def test_sum_with_copies_of_the_image():
    """The anchor of ABPN."""
    builder = Builder()
    copies = builder.op("CONCATENATION", builder.inputs * 9, axis=3)
    tail = builder.conv(builder.inputs[0], 3, 27, 3)
    total = builder.op("ADD", [tail, copies])
    check(builder, shuffled(builder, total, 3), ["RESIZE_NEAREST_NEIGHBOR", "PADV2", "TRANSPOSE_CONV", "ADD"])


def test_what_has_no_such_form_stays():
    for case in ("groups", "read twice", "constant per channel", "stride", "dynamic"):
        builder = Builder((1, -1, 8, 3)) if case == "dynamic" else Builder()
        features = builder.conv(builder.inputs[0], 3, 4, 3)
        tail = builder.conv(features, 4, 12, 3, groups=2 if case == "groups" else 1, stride=2 if case == "stride" else 1)
        if case == "constant per channel":
            tail = builder.op("MUL", [tail, builder.rng.random(12)])
        output = shuffled(builder, tail, 2)
        if case == "read twice":
            builder.op("MEAN", [tail, [1, 2]])
            output = builder.op("CONCATENATION", [output, shuffled(builder, tail, 2)], axis=3)
        assert "DEPTH_TO_SPACE" in rewritten(builder, output)[2], case


def test_kernel_by_hand():
    """2 x 2 blocks of one channel, a 1 x 1 kernel: the taps are the weights of the four channels."""
    kernel = np.array([1, 2, 3, 4], np.float32).reshape(4, 1, 1, 1)
    assert transpose_conv.transposed_kernel(kernel, 2)[0, ..., 0].tolist() == [[1, 2], [3, 4]]
    # 1 x 3 taps a, b, c: the image is read in the opposite direction.
    kernel = np.arange(12, dtype=np.float32).reshape(4, 1, 3, 1)
    assert transpose_conv.transposed_kernel(kernel, 2)[0, ..., 0].tolist() == [[2, 5, 1, 4, 0, 3], [8, 11, 7, 10, 6, 9]]
