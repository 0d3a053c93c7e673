"""Activation ranges, from which 8-bit files get their scales."""

import math

import numpy as np
import pytest

from mobile_sr.converters import to_tflite
from mobile_sr.converters.quantization import activation_ranges, float_graph, quantizer
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.tflite import flatbuffer
from tests.converters.quantization.small_graphs import Builder

SHAPES = ((1, 24, 20, 3), (1, 24, 20, 3), (1, 17, 31, 3))


def samples():
    rng = np.random.default_rng(1)
    return [rng.uniform(0, 1, shape).astype(np.float32) for shape in SHAPES]


def network(**_):
    """A residual block with attention: additions and products overwrite their inputs if the interpreter allows it."""
    import keras

    keras.utils.set_random_seed(0)
    conv = {"kernel_size": 3, "padding": "same", "kernel_initializer": "random_normal"}
    x = image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, activation="relu", name="head", **conv)(x)
    y = keras.layers.Conv2D(8, name="body", **conv)(x)
    y = y * keras.ops.sigmoid(keras.layers.Conv2D(8, name="mask", **conv)(y) - 0.1)
    return keras.Model(image, keras.layers.Conv2D(3, name="tail", **conv)(x + y))


def float_file():
    return to_tflite.float_tflite(network())


def ranges_of(data):
    """{tensor: (minimum, maximum)} by `measure`."""
    return activation_ranges.measure(FloatGraph(data), samples())


def measured_ranges(data):
    """The same, measured with an interpreter that keeps every tensor."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    run = Interpreter(model_content=data, experimental_op_resolver_type=plain, experimental_preserve_all_tensors=True)
    constant = [tensor.constant for tensor in flatbuffer.parse(data).tensors]
    limits = {}
    for image in samples():
        run.resize_tensor_input(run.get_input_details()[0]["index"], image.shape)
        run.allocate_tensors()
        run.set_tensor(run.get_input_details()[0]["index"], image)
        run.invoke()
        for index in (k for k, fixed in enumerate(constant) if not fixed):
            values = run.get_tensor(index)
            low, high = limits.get(index, (0, 0))
            limits[index] = min(low, values.min()), max(high, values.max())
    return limits


@pytest.mark.parametrize("max_bytes", [2**30, 1])
def test_every_activation_has_the_range_of_its_own_values(max_bytes, monkeypatch):
    monkeypatch.setattr(float_graph, "_MAX_RUN_BYTES", max_bytes)
    data = float_file()
    ranges, expected = ranges_of(data), measured_ranges(data)
    assert set(ranges) == set(expected)
    for index, limits in expected.items():
        np.testing.assert_allclose(ranges[index], limits, rtol=1e-4, atol=1e-5)


def test_the_converter_uses_these_ranges():
    """TensorFlow's own calibration reads the inputs of an operator after it ran, when their memory may contain its result."""
    import keras

    model = network()
    data = to_tflite.convert(model, "int8", calibration=samples())
    graph = flatbuffer.parse(data)
    (added,) = (op for op in graph.ops if op.name == "ADD")
    parts = keras.Model(model.input, [model.get_layer(name).output for name in ("head", "body", "mask")])
    values = [parts.predict_on_batch(image) for image in samples()]
    head, body, mask = (np.concatenate([v.ravel() for v in part]) for part in zip(*values, strict=True))
    residual = body / (1 + np.exp(0.1 - mask))
    for tensor, values in zip(added.inputs, (head, residual), strict=True):
        expected = (max(0, values.max()) - min(0, values.min())) / 255
        np.testing.assert_allclose(graph.tensors[tensor].scales, [expected], rtol=1e-3)


def test_an_activation_that_is_always_0_has_the_range_of_its_inputs():
    import keras

    image = keras.Input((None, None, 3))
    doubled = image * 2.0
    model = keras.Model(image, doubled + keras.layers.ReLU(name="dead")(image - 1.5) * doubled)
    data = to_tflite.float_tflite(model)
    ranges = ranges_of(data)
    names = {op.name: op.outputs[0] for op in flatbuffer.parse(data).ops}
    brightest = max(image.max() for image in samples())
    np.testing.assert_allclose(ranges[names["MUL"]], (0, 2 * brightest), rtol=1e-5)
    assert 0 not in {low - high for low, high in ranges.values()}


def test_the_range_of_an_input_of_tanh_is_limited():
    import keras

    image = keras.Input((None, None, 3))
    read_by_both = image * 9.0
    model = keras.Model(
        image, keras.ops.tanh(image * 10.0 - 5.0) + keras.ops.tanh(image * 0.5) + keras.ops.tanh(read_by_both) * read_by_both
    )
    data = to_tflite.float_tflite(model)
    ranges = ranges_of(data)
    ops = flatbuffer.parse(data).ops
    tanh_inputs = sorted(ranges[op.inputs[0]] for op in ops if op.name == "TANH")
    brightest = max(image.max() for image in samples())
    assert len(tanh_inputs) == 3
    np.testing.assert_allclose(
        tanh_inputs[0], (-math.atanh(126 / 128), math.atanh(126 / 128) * 127 / 128), rtol=1e-6
    )  # not -5..5
    np.testing.assert_allclose(tanh_inputs[1], (0, brightest / 2), rtol=1e-5)
    np.testing.assert_allclose(tanh_inputs[2], (0, brightest * 9), rtol=1e-5)


def test_stored_ranges_replace_measured_ones():
    """The tensor's scale is that of the stored range; the others keep theirs. Storing again forgets the first range."""
    data = float_file()
    graph = FloatGraph(data)
    names = {graph.layer_name(tensor): graph.tensor_name(tensor) for op in graph.ops for tensor in op.outputs}
    other = next(name for name in names.values() if name != names["head"])
    activation_ranges.store(graph, {other: (-1.0, 1.0)})
    activation_ranges.store(graph, {names["head"]: (0.0, 5.1)})
    packed = graph.packed()
    assert sorted(activation_ranges.stored(FloatGraph(packed)).values()) == [(0.0, pytest.approx(5.1))]

    plain, given = (output_scales(quantizer.convert(file, "uint8", samples())) for file in (data, packed))
    (changed,) = [index for index, (a, b) in enumerate(zip(plain, given, strict=True)) if a != b]
    assert given[changed] == pytest.approx(0.02)


def output_scales(data):
    graph = flatbuffer.parse(data)
    return [float(graph.tensors[op.outputs[0]].scales[0]) for op in graph.ops]


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"nothing": (0.0, 1.0)}, "the network has no activation 'nothing'"),
        ({None: (0.5, 1.0)}, "must be finite and include 0"),
        ({None: (0.0, math.inf)}, "must be finite and include 0"),
        ({None: (0.0, 0.0)}, "must be finite and include 0"),
    ],
)
def test_unusable_ranges_are_refused(ranges, message):
    graph = FloatGraph(float_file())
    name = graph.tensor_name(graph.ops[0].outputs[0])
    with pytest.raises(ValueError, match=message):
        activation_ranges.store(graph, {key or name: limits for key, limits in ranges.items()})
    assert activation_ranges.stored(graph) == {}


def test_maxima_have_the_range_of_their_tensor():
    """In 8 bits all have one scale. Otherwise the convolution would get that of its maxima, and saturate below them."""
    b = Builder()
    kernel = np.random.default_rng(0).normal(0, 0.5, (4, 1, 1, 3))
    x = b.op("CONV_2D", [b.inputs[0], kernel, np.array([-2, 0, 0.5, 0])], strideH=1, strideW=1)
    parts = [b.op(name, [x, b.ints([3])], keepDims=True) for name in ("MEAN", "REDUCE_MAX")]
    both = b.op("CONCATENATION", parts, axis=3)
    graph = b.finished(b.op("MUL", [x, b.op("CONV_2D", [both, np.ones((1, 1, 1, 2)), np.zeros(1)], strideH=1, strideW=1)]))
    sample = np.random.default_rng(1).uniform(0, 1, (1, 6, 8, 3)).astype(np.float32)
    ranges = activation_ranges.measure(graph, [sample])
    assert ranges[x][0] < -1
    assert ranges[parts[1]] == ranges[both] == ranges[x]
    integer = flatbuffer.parse(quantizer.convert(graph.packed(), "int8", [sample]))
    (scale,) = {tuple(integer.tensors[op.outputs[0]].scales) for op in integer.ops if op.name == "REDUCE_MAX"}
    assert scale[0] == pytest.approx((ranges[x][1] - ranges[x][0]) / 255)
