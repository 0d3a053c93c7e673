"""DEPTH_TO_SPACE becomes reshapes and a transposition of the same values."""

import numpy as np
import pytest

from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.converters.tflite.passes import interleave
from mobile_sr.converters.tflite.passes.editor import Editor
from tests.converters.quantization.small_graphs import Builder, images, run


def net(block, shape=(1, 6, 8, 3)):
    """A convolution and DEPTH_TO_SPACE."""
    builder = Builder(shape)
    tail = builder.conv(builder.inputs[0], 3, 2 * block**2, 3)
    return builder.finished(builder.op("DEPTH_TO_SPACE", [tail], blockSize=block)).packed()


@pytest.mark.parametrize("block", [2, 3, 4])
def test_the_values_are_the_same(block):
    data = net(block)
    editor = Editor(data)
    assert interleave.replace_depth_to_space(editor) == 1
    result = editor.pack()
    graph = flatbuffer.parse(result)
    assert [op.name for op in graph.ops] == ["CONV_2D", "RESHAPE", "TRANSPOSE", "RESHAPE"]
    assert max(len(tensor.shape) for tensor in graph.tensors) == 4
    (image,) = images(1)
    np.testing.assert_array_equal(run(result, image), run(data, image))


def test_dynamic_size_and_batches_are_refused():
    with pytest.raises(ValueError, match="fixed size"):
        interleave.replace_depth_to_space(Editor(net(2, (1, -1, 8, 3))))
    with pytest.raises(ValueError, match="a batch of 1"):
        interleave.replace_depth_to_space(Editor(net(2, (2, 6, 8, 3))))
