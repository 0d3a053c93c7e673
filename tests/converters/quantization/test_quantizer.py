"""Quantization of a float .tflite to every precision."""

import keras
import numpy as np
from keras import layers

from mobile_sr.converters.formats import to_float_tflite
from mobile_sr.converters.quantization import activation_ranges, prelu, quantizer, saturation
from mobile_sr.converters.quantization.equalization_groups import ChannelGroups
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.tflite import flatbuffer
from tests.mobile_sr.quantization import foreign_nets


def test_equal_biases_are_broken():
    equal = np.full(4, 0.5, np.float32)
    result = quantizer.break_equal_bias(equal)
    assert result[0] != 0.5
    np.testing.assert_allclose(result, equal, rtol=1e-7)
    for kept in (np.zeros(4, np.float32), np.full(1, 0.5, np.float32), np.array([0.5, 0.6]), np.ones((1, 1, 2, 2))):
        np.testing.assert_array_equal(quantizer.break_equal_bias(kept), kept)


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
