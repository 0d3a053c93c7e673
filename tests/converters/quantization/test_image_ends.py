"""The ends of 8-bit files have the range of an image, whatever the network does there."""

import numpy as np
import pytest

from mobile_sr.converters.quantization import image_ends, quantizer
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.tflite import flatbuffer
from tests.converters.quantization.small_graphs import Builder, run

SHAPE = (1, 8, 8, 3)


def conv(b, x, inputs=3, outputs=3, gain=1.0):
    """A 1x1 convolution: `gain` times the identity, repeated for further channels."""
    kernel = gain * np.resize(np.eye(inputs), (outputs, inputs)).reshape(outputs, 1, 1, inputs)
    return b.op("CONV_2D", [x, kernel, np.zeros(outputs)], strideH=1, strideW=1)


def overshooting(b, high):
    """Values from -0.4 * high to 1.6 * high in the order of DEPTH_TO_SPACE."""
    y = b.op("ADD", [conv(b, b.inputs[0], outputs=12, gain=2.0), np.full(12, -0.4 * high, np.float32)])
    return b.op("DEPTH_TO_SPACE", [y], blockSize=2)


def concatenated(b, high):
    return conv(b, b.op("CONCATENATION", [b.inputs[0], conv(b, b.inputs[0], gain=5.0)], axis=3), 6, 3)


def resized_and_concatenated(b, high):
    x = b.op("RESIZE_NEAREST_NEIGHBOR", [b.inputs[0], b.ints([16, 16])])
    y = b.op("DEPTH_TO_SPACE", [conv(b, b.inputs[0], outputs=12, gain=5.0)], blockSize=2)
    return conv(b, b.op("CONCATENATION", [x, y], axis=3), 6, 3)


def logistic(b, high):
    return b.op("LOGISTIC", [conv(b, b.inputs[0], gain=3.0)])


def clip_behind_a_resize(b, high):
    x = b.op("RESIZE_NEAREST_NEIGHBOR", [conv(b, b.inputs[0], gain=1.5), b.ints([16, 16])])
    return b.op("MINIMUM", [b.op("RELU", [x]), np.float32(high)])


NETWORKS = {  # function: (c of 0..c, operators of the uint8 file)
    overshooting: (255, ["QUANTIZE", "CONV_2D", "ADD", "DEPTH_TO_SPACE", "QUANTIZE"]),
    concatenated: (1, ["QUANTIZE", "MUL", "CONV_2D", "CONCATENATION", "CONV_2D", "QUANTIZE"]),
    resized_and_concatenated: (1, None),
    logistic: (1, ["QUANTIZE", "CONV_2D", "LOGISTIC", "MUL", "QUANTIZE"]),
    clip_behind_a_resize: (1, ["QUANTIZE", "CONV_2D", "RESIZE_NEAREST_NEIGHBOR", "MUL", "QUANTIZE"]),
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("precision", ["uint8", "int8"])
def test_bytes_are_pixels(network, precision):
    high, operators = NETWORKS[network]
    b = Builder(SHAPE)
    data = b.finished(network(b, high)).packed()
    image = (np.random.default_rng(0).permutation(192).reshape(SHAPE) * (high / 191)).astype(np.float32)
    (expected,) = run(data, image)
    limited = image_ends.limit(data, (0, high))
    np.testing.assert_allclose(run(limited, image)[0], np.clip(expected, 0, high), atol=1e-5 * high)
    result = quantizer.convert(limited, precision, [image])
    parsed = flatbuffer.parse(result)
    for index in (parsed.inputs[0], parsed.outputs[0]):
        assert parsed.tensors[index].scales[0] == pytest.approx(high / 255)
        assert parsed.tensors[index].zero_points[0] == (0 if precision == "uint8" else -128)
    if operators and precision == "uint8":
        assert [op.name for op in parsed.ops] == operators
    offset = 128 if precision == "int8" else 0
    levels = np.round(image * (255 / high)) - offset
    (found,) = run(result, levels.astype(precision))
    error = np.abs(found.astype(int) + offset - np.clip(expected, 0, high) * (255 / high))
    assert error.max() <= 4  # levels; features of 0..5 are merged with the image


def test_what_stays():
    """A clipped network, one for -1..1, and one of two outputs are returned as they are."""
    b = Builder(SHAPE)
    clipped = b.finished(b.op("MINIMUM", [b.op("RELU", [conv(b, b.inputs[0], gain=2.0)]), np.float32(1)])).packed()
    assert image_ends.limit(clipped, (0, 1)) is clipped
    b = Builder(SHAPE)
    plain = b.finished(conv(b, b.inputs[0])).packed()
    assert image_ends.limit(plain, (-1, 1)) is plain
    b = Builder(SHAPE)
    two = b.finished(conv(b, b.inputs[0]), conv(b, b.inputs[0])).packed()
    assert image_ends.limit(two, (0, 1)) is two
    assert len(FloatGraph(image_ends.limit(plain, (0, 1))).ops) == 3  # CONV_2D, RELU, MINIMUM
