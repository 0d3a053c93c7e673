"""Quantization of a float .tflite to every precision."""

import keras
import numpy as np
import pytest
from keras import layers

from mobile_sr.converters.formats import to_float_tflite
from mobile_sr.converters.quantization import activation_ranges, prelu, quantizer, saturation
from mobile_sr.converters.quantization.channels.equalization_groups import ChannelGroups
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.tflite import flatbuffer
from tests.converters.quantization import small_graphs
from tests.converters.quantization.small_graphs import Builder
from tests.mobile_sr.quantization import foreign_nets

SHAPE = (1, 12, 16, 3)


def network(shape=SHAPE):
    b = Builder(shape)
    x = b.conv(b.inputs[0], 3, 8, 3, layer="head", activation="RELU")
    y = b.op("ADD", [x, b.conv(x, 8, 8, 3, layer="body")])
    return b.finished(b.op("DEPTH_TO_SPACE", [b.conv(y, 8, 12, 3, layer="tail")], blockSize=2))


def images():
    """The last one reaches from 0 to 1."""
    result = small_graphs.images(2, SHAPE)
    result[-1][0, 0, 0] = 0, 1, 0.5
    return result


@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("precision", ["uint8", "int8", "int16"])
def test_integer_files(precision, per_tensor):
    graph = network()
    data = quantizer.convert(graph.packed(), precision, images(), per_tensor)
    parsed = flatbuffer.parse(data)
    first, last = parsed.tensors[parsed.inputs[0]], parsed.tensors[parsed.outputs[0]]
    assert first.dtype == last.dtype == ("float32" if precision == "int16" else precision)
    kernels = [parsed.tensors[op.inputs[1]] for op in parsed.ops if op.name == "CONV_2D"]
    assert {kernel.dtype for kernel in kernels} == {"int8"}
    assert [len(kernel.scales) for kernel in kernels] == ([1, 1, 1] if per_tensor else [8, 8, 12])
    inner = next(parsed.tensors[op.outputs[0]] for op in parsed.ops if op.name == "ADD")
    assert inner.dtype == {"uint8": "int8"}.get(precision, precision)
    if precision != "int16":
        np.testing.assert_allclose(first.scales, [1 / 255], rtol=1e-6)
        assert first.zero_points.tolist() == [0 if precision == "uint8" else -128]
    image = images()[0]
    (expected,) = small_graphs.run(graph, image)
    values = image if precision == "int16" else np.round(image / first.scales[0] + first.zero_points[0]).astype(precision)
    (result,) = small_graphs.run(data, values)
    if precision != "int16":
        result = (result.astype(np.float32) - last.zero_points[0]) * last.scales[0]
    error = np.abs(result - expected).max() / np.ptp(expected)
    assert error < {True: 0.06, False: 0.02 if precision != "int16" else 0.001}[per_tensor]


def test_float32_returns_the_bytes():
    data = network().packed()
    assert quantizer.convert(data, "float32") is data


def test_refused_arguments():
    data = network().packed()
    with pytest.raises(ValueError, match="precision must be one of .*'int4'"):
        quantizer.convert(data, "int4", images())
    for precision in quantizer.CALIBRATED:
        with pytest.raises(ValueError, match=f"'{precision}' needs calibration images"):
            quantizer.convert(data, precision)


@pytest.mark.parametrize("precision", ["uint8", "int8"])
def test_an_operator_that_the_quantizer_refuses_is_named_in_one_line(precision):
    """L2_NORMALIZATION without its options runs, but the quantizer requires them."""
    b = Builder(SHAPE)
    x = b.conv(b.inputs[0], 3, 4)
    graph = b.finished(b.conv(b.op("L2_NORMALIZATION", [x], layer="normalize"), 4, 3))
    with pytest.raises(quantizer.ConversionError) as error:
        quantizer.convert(graph.packed(), precision, images())
    assert str(error.value) == (
        f"TensorFlow cannot quantize the model to {precision}: "
        "'tfl.l2_normalization' op requires attribute 'fused_activation_function'"
    )


@pytest.mark.parametrize("limit", ["fused", "RELU", "RELU6", "RELU and MINIMUM"])
@pytest.mark.parametrize("pool", ["MAX_POOL_2D", "AVERAGE_POOL_2D"])
def test_a_limit_behind_a_pool(pool, limit):
    """The quantizer fuses it into the pool, whose output must have the scale of its input."""
    b = Builder(SHAPE)
    window = {"strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2}
    kernel = b.weights((4, 1, 1, 3))
    x = b.op("CONV_2D", [b.inputs[0], kernel, np.array([-0.3, 0.0, 0.2, 0.1])], strideH=1, strideW=1)
    x = b.op(pool, [x], activation="RELU" if limit == "fused" else None, **window)
    x = b.op(limit.split()[0], [x]) if limit != "fused" else x
    x = b.op("MINIMUM", [x, np.float32(0.3)]) if limit.endswith("MINIMUM") else x
    graph = b.finished(x)
    image = images()[1]
    (expected,) = small_graphs.run(graph, image)
    assert expected.min() == 0
    data = quantizer.convert(graph.packed(), "int8", images())
    parsed = flatbuffer.parse(data)
    last = parsed.tensors[parsed.outputs[0]]
    (result,) = small_graphs.run(data, np.round(image * 255 - 128).astype(np.int8))
    real = (result.astype(np.float32) - last.zero_points[0]) * last.scales[0]
    assert np.abs(real - expected).max() < 2 / 255 * 2  # the range of the convolution is below 2


def test_equal_biases_are_broken():
    equal = np.full(4, 0.5, np.float32)
    result = quantizer.break_equal_bias(equal)
    assert result[0] != 0.5
    np.testing.assert_allclose(result, equal, rtol=1e-7)
    for kept in (np.zeros(4, np.float32), np.full(1, 0.5, np.float32), np.array([0.5, 0.6]), np.ones((1, 1, 2, 2))):
        np.testing.assert_array_equal(quantizer.break_equal_bias(kept), kept)


def test_equal_biases_have_the_scales_of_their_channels():
    """Not all in units of the first channel's scale."""
    b = Builder(SHAPE)
    kernel = np.array([[1.0, 0, 0], [0, 0.01, 0]]).reshape(2, 1, 1, 3)
    graph = b.finished(b.op("CONV_2D", [b.inputs[0], kernel, np.full(2, 0.5)], strideH=1, strideW=1))
    data = quantizer.convert(graph.packed(), "uint8", images())
    parsed = flatbuffer.parse(data)
    last = parsed.tensors[parsed.outputs[0]]
    (result,) = small_graphs.run(data, np.zeros(SHAPE, np.uint8))
    assert np.abs((result - float(last.zero_points[0])) * last.scales[0] - 0.5).max() < 0.51 * last.scales[0]


def test_int16_has_the_measured_ranges():
    """Steps of max(|low|, |high|) / 32767; PRELU, which the quantizer does not know, is gone from the file's list."""
    image = keras.Input((8, 8, 3))
    x = layers.PReLU(keras.initializers.Constant(0.5), shared_axes=[1, 2])(layers.Conv2D(4, 3, padding="same")(image))
    graph = FloatGraph(to_float_tflite(keras.Model(image, layers.Conv2D(3, 3, padding="same")(x))).data)
    assert prelu.rewrite(graph) == 1
    assert {graph.name(op) for op in graph.ops} == {"CONV_2D", "MUL", "ADD"}
    data = graph.packed()
    sample = np.random.default_rng(0).random((1, 8, 8, 3)).astype(np.float32)
    ranges = activation_ranges.measure(FloatGraph(data), [sample], limit_tanh=False)
    result = flatbuffer.parse(quantizer.convert(data, "int16", [sample]))
    floats = FloatGraph(data)
    wanted = [max(map(abs, ranges[op.outputs[0]])) / 32767 for op in floats.ops]
    found = [result.tensors[op.outputs[0]].scales[0] for op in result.ops if op.name in ("CONV_2D", "MUL", "ADD")]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_a_relu_before_a_pixel_shuffle_is_part_of_the_limit(tmp_path):
    graph = FloatGraph(to_float_tflite(foreign_nets.onnx(tmp_path / "net.onnx")).data)
    assert [graph.name(op) for op in graph.ops][-3:] == ["RELU", "DEPTH_TO_SPACE", "MINIMUM"]
    assert [limit for _, limit in saturation.saturate(graph, {})] == [1]
    assert [graph.name(op) for op in graph.ops][-2:] == ["CONV_2D", "DEPTH_TO_SPACE"]


def test_reading_a_shape_does_not_stop_equalization():
    graph = FloatGraph(to_float_tflite(foreign_nets.functional()).data)
    groups = ChannelGroups(graph)
    shape = next(op for op in graph.ops if graph.name(op) == "SHAPE")
    enlarge = next(op for op in graph.ops if graph.name(op) == "TRANSPOSE_CONV")
    assert shape.inputs[0] == enlarge.inputs[2]
    inputs, _ = groups.convolutions[enlarge.outputs[0]]
    assert (groups.roots(inputs) != groups.roots([0])).all()


def test_a_file_of_litert_torch():
    """Its metadata keep the quantizer from the weights; they are left out."""
    from ai_edge_litert import schema_py_generated as schema

    b = Builder()
    graph = b.finished(b.conv(b.inputs[0], 3, 4))
    plain = quantizer.convert(graph.packed(), "int8", small_graphs.images())
    entry = schema.MetadataT()
    entry.name, entry.buffer = quantizer.KEEPS_CONSTANTS, 0
    graph.model.metadata = [entry]
    assert quantizer.convert(graph.packed(), "int8", small_graphs.images()) == plain
    assert "float32" not in {tensor.dtype for tensor in flatbuffer.parse(plain).tensors}
