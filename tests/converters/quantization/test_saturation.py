"""Limits to 0..c become saturation of 8-bit tensors: which of them, and with which bytes."""

import numpy as np
import pytest

from mobile_sr.converters.quantization import activation_ranges, quantizer, saturation
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.tflite import flatbuffer
from tests.converters.quantization import small_graphs
from tests.converters.quantization.small_graphs import Builder

SHAPE = (1, 16, 16, 4)
INTEGERS = np.array([[127, -60, 3, 0], [-127, 127, 9, 80], [50, 40, 127, 20], [0, 127, -127, -1]])  # of a 1x1 kernel


def samples():
    """Inputs with all 256 levels of each channel: their scale is exactly 1/255."""
    levels = np.arange(256, dtype=np.float32) / 255
    rng = np.random.default_rng(0)
    return [np.stack([rng.permutation(levels) for _ in range(4)], -1).reshape(SHAPE) for _ in range(3)]


def number(text, c):
    """float32 of '-1', 'c' or '3c'."""
    return np.float32(float(text.removesuffix("c") or 1) * c if text.endswith("c") else float(text))


def limited_by(*operators):
    """Function that appends operators: 'RELU', 'MINIMUM c', 'c MINIMUM', 'MAXIMUM 0', ..."""

    def build(b, x, c):
        for text in operators:
            first, _, second = text.partition(" ")
            if not second:
                x = b.op(text, [x], **({"blockSize": 2} if "SPACE" in text or "DEPTH" in text else {}))
            elif first.isupper():
                x = b.op(first, [x, number(second, c)])
            else:
                x = b.op(second, [number(first, c).reshape(1, 1, 1, 1), x])
        return x

    return build


REMOVED = {  # name: (fused activation of the convolution, operators behind it, possible c)
    "fused RELU": ("RELU", ["MINIMUM c"], (1, 6, 255)),
    "RELU": (None, ["RELU", "MINIMUM c"], (1, 255)),
    "MINIMUM before RELU": (None, ["c MINIMUM", "RELU"], (1, 255)),
    "MAXIMUM and MINIMUM": (None, ["MAXIMUM 0", "MINIMUM c"], (1, 255)),
    "MINIMUM and MAXIMUM": (None, ["MINIMUM c", "0 MAXIMUM"], (1,)),
    "RELU6": (None, ["RELU6"], (6,)),
    "fused RELU6": ("RELU6", ["MINIMUM c"], (1, 6)),
    "RELU6 and MINIMUM": (None, ["RELU6", "MINIMUM c"], (1,)),
    "RELU_0_TO_1": (None, ["RELU_0_TO_1"], (1,)),
    "RELU_N1_TO_1 and RELU": (None, ["RELU_N1_TO_1", "RELU"], (1,)),
    "fused RELU_N1_TO_1": ("RELU_N1_TO_1", ["RELU"], (1,)),
    "several": (None, ["MAXIMUM -1", "MINIMUM 3c", "RELU", "MINIMUM c"], (1,)),
    "DEPTH_TO_SPACE before it": (None, ["DEPTH_TO_SPACE", "RELU", "MINIMUM c"], (1,)),
    "DEPTH_TO_SPACE between": ("RELU", ["DEPTH_TO_SPACE", "MINIMUM c"], (1, 255)),
    "DEPTH_TO_SPACE behind it": ("RELU", ["MINIMUM c", "DEPTH_TO_SPACE"], (1, 255)),
    "there and back": ("RELU", ["DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "MINIMUM c", "DEPTH_TO_SPACE"], (1,)),
}
KEPT = {
    "no lower limit": (None, ["MINIMUM 1"]),
    "no upper limit": (None, ["MAXIMUM 0"]),
    "-1 to 1": (None, ["MAXIMUM -1", "MINIMUM 1"]),
    "0.5 to 1": (None, ["MAXIMUM 0.5", "MINIMUM 1"]),
    "RELU_N1_TO_1": (None, ["RELU_N1_TO_1"]),
    "0 to 0": ("RELU", ["MINIMUM 0"]),
    "LOGISTIC": ("RELU", ["LOGISTIC", "RELU", "MINIMUM 0.6"]),  # its 8-bit scale is always 1/256
    "TANH": (None, ["TANH", "RELU", "MINIMUM 0.6"]),
}


def clipped_network(fused, operators, c):
    """A 1x1 convolution with weights of exactly -127..127 steps, and limits."""
    b = Builder(SHAPE)
    step = 0.01 * c
    kernel, bias = INTEGERS.reshape(4, 1, 1, 4) * step, np.array([17, -3000, 0, 12000]) * step / 255
    y = b.op("CONV_2D", [b.inputs[0], kernel, bias], strideH=1, strideW=1, activation=fused)
    return b.finished(limited_by(*operators)(b, y, c))


def quantized(graph, precision="uint8"):
    return quantizer.convert(graph.packed(), precision, samples())


def real(tensor, values):
    """Real values of an 8-bit tensor."""
    return (values.astype(np.float64) - tensor.zero_points[0]) * tensor.scales[0]


@pytest.mark.parametrize(("name", "c"), [(name, c) for name, (_, _, limits) in REMOVED.items() for c in limits])
def test_removed_limits_saturate_exactly(name, c):
    fused, operators, _ = REMOVED[name]
    graph = clipped_network(fused, operators, c)
    assert saturation.output_limit(graph) == pytest.approx(c)
    image = samples()[0]
    expected_float = small_graphs.run(graph, image)[0]
    assert expected_float.min() == 0
    assert expected_float.max() == pytest.approx(c)
    data = quantized(graph)
    assert set(small_graphs.names(data)) <= {"QUANTIZE", "CONV_2D", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH"}
    parsed = flatbuffer.parse(data)
    output = parsed.tensors[parsed.outputs[0]]
    np.testing.assert_allclose(output.scales, [c / 255], rtol=1e-6)
    assert output.zero_points.tolist() == [0]
    levels = np.round(image * 255).astype(np.uint8)
    (result,) = small_graphs.run(data, levels, delegate=True)
    accumulators = levels.reshape(-1, 4).astype(int) @ INTEGERS.T + [17, -3000, 0, 12000]
    expected = np.clip(np.round(accumulators / 100), 0, 255).reshape(SHAPE)
    ties = (np.abs(accumulators) % 100 == 50).reshape(SHAPE)
    if operators.count("DEPTH_TO_SPACE") > operators.count("SPACE_TO_DEPTH"):
        expected, ties = (part.reshape(16, 16, 2, 2).transpose(0, 2, 1, 3).reshape(1, 32, 32, 1) for part in (expected, ties))
    assert ties.mean() < 0.05
    np.testing.assert_array_equal(result[~ties], expected[~ties])
    assert np.abs(real(output, result) - expected_float).max() < 0.51 * c / 255


@pytest.mark.parametrize("name", KEPT)
def test_other_limits_stay(name):
    fused, operators = KEPT[name]
    graph = clipped_network(fused, operators, 2)
    assert saturation.output_limit(graph) is None
    names = small_graphs.names(graph)
    ranges = activation_ranges.measure(graph, samples())
    before = dict(ranges)
    assert saturation.saturate(graph, ranges) == []
    assert ranges == before
    assert small_graphs.names(graph) == names
    check_within_a_level(graph, 1, 5 if name in ("LOGISTIC", "TANH") else 0)


def check_within_a_level(graph, levels, source=0.0):
    """Compare a graph with its uint8 and int8 files; tolerance in levels of the output, and of a source with this range."""
    image = samples()[0]
    expected = small_graphs.run(graph, image)
    for precision in ("uint8", "int8"):
        data = quantized(graph, precision)
        parsed = flatbuffer.parse(data)
        entry = parsed.tensors[parsed.inputs[0]]
        integers = np.round(image / entry.scales[0] + entry.zero_points[0]).astype(precision)
        for tensor, found, wanted in zip(parsed.outputs, small_graphs.run(data, integers), expected, strict=True):
            output = parsed.tensors[tensor]
            assert np.abs(real(output, found) - wanted).max() < levels * output.scales[0] + source / 255
    return data


def clipped(b, x):
    return b.op("MINIMUM", [b.op("RELU", [x]), np.float32(0.5)])


def identity(b, x, gain=1.0, activation=None):
    """A 1x1 convolution that multiplies all channels by `gain`."""
    return b.op("CONV_2D", [x, np.eye(4).reshape(4, 1, 1, 4) * gain, np.zeros(4)], strideH=1, strideW=1, activation=activation)


POOL = {"strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2}
BEFORE = {  # operators between a convolution and the limit whose 8-bit output has the scale of their input
    "MAX_POOL_2D": lambda b, x: b.op("MAX_POOL_2D", [x], **POOL),
    "AVERAGE_POOL_2D": lambda b, x: b.op("AVERAGE_POOL_2D", [x], **POOL),
    "RESIZE_BILINEAR": lambda b, x: b.op("RESIZE_BILINEAR", [x, b.ints([32, 32])], version=3, halfPixelCenters=True),
    "RESIZE_NEAREST_NEIGHBOR": lambda b, x: b.op("RESIZE_NEAREST_NEIGHBOR", [x, b.ints([32, 32])]),
    "SLICE": lambda b, x: b.op("SLICE", [x, b.ints([0, 1, 0, 0]), b.ints([1, 9, 16, 4])], shape=(1, 9, 16, 4)),
    "STRIDED_SLICE": lambda b, x: b.op("STRIDED_SLICE", [x, b.ints([0] * 4), b.ints([1, 9, 16, 4]), b.ints([1] * 4)]),
    "PAD": lambda b, x: b.op("PAD", [x, b.ints([[0, 0], [1, 1], [1, 1], [0, 0]])]),
    "MIRROR_PAD": lambda b, x: b.op("MIRROR_PAD", [x, b.ints([[0, 0], [1, 1], [1, 1], [0, 0]])]),
    "MAXIMUM": lambda b, x: b.op("MAXIMUM", [x, identity(b, b.inputs[0], -3.0)]),
    "CONCATENATION": lambda b, x: b.op("CONCATENATION", [x, identity(b, b.inputs[0], -3.0)], axis=3),
    "REDUCE_MAX": lambda b, x: b.op("REDUCE_MAX", [x, b.ints([1])], keepDims=True),
    "TILE": lambda b, x: b.op("TILE", [x, b.ints([1, 1, 2, 1])]),
    "GATHER": lambda b, x: b.op("GATHER", [x, b.ints([3, 0, 1, 2])], axis=3),
}


@pytest.mark.parametrize("name", BEFORE)
def test_values_are_not_limited_before_they_are_mixed(name):
    """The convolution's own values reach beyond the limit. Limiting them would change averages and maxima."""
    b = Builder(SHAPE)
    x = b.op("CONV_2D", [b.inputs[0], INTEGERS.reshape(4, 1, 1, 4) * 0.02, np.zeros(4)], strideH=1, strideW=1)
    graph = b.finished(clipped(b, BEFORE[name](b, x)))
    assert saturation.output_limit(graph) is None
    assert small_graphs.run(graph, samples()[0])[0].max() == 0.5
    check_within_a_level(graph, 0, 14)  # two levels of the convolution, whose range is 7


@pytest.mark.parametrize("name", ["ADD", "SUB", "MUL", "MEAN", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "LEAKY_RELU"])
def test_results_of_other_operators_saturate(name):
    b = Builder(SHAPE)
    x = identity(b, b.inputs[0])
    if name == "DEPTHWISE_CONV_2D":
        y = b.depthwise(x, 4)
    elif name == "TRANSPOSE_CONV":
        y = b.transposed(x, 4, 4, size=SHAPE[1:3])
    elif name == "MEAN":
        y = b.op(name, [x, b.ints([1])], keepDims=True)
    else:
        y = b.op(name, [x], alpha=0.5) if name == "LEAKY_RELU" else b.op(name, [x, b.inputs[0]])
    graph = b.finished(clipped(b, y))
    assert saturation.output_limit(graph) == 0.5
    assert small_graphs.names(check_within_a_level(graph, 1.6))[-1] == name


def beyond(b):
    """A tensor with values from -2 to 2 that only a limit reads."""
    return b.op("CONV_2D", [b.inputs[0], np.eye(4).reshape(4, 1, 1, 4) * 4, np.full(4, -2.0)], strideH=1, strideW=1)


def test_a_limit_stays_if_something_else_reads_the_tensor_before_it():
    b = Builder(SHAPE)
    x = beyond(b)
    both = b.finished(clipped(b, x), identity(b, x))
    assert saturation.saturate(both, {}) == []
    b = Builder(SHAPE)
    x = beyond(b)
    is_output = b.finished(clipped(b, x), x)
    assert saturation.saturate(is_output, {}) == []
    b = Builder(SHAPE)
    x = beyond(b)
    y = b.op("RELU", [x])
    between = b.finished(b.op("MINIMUM", [y, np.float32(0.5)]), y)
    assert saturation.saturate(between, {}) == []
    b = Builder(SHAPE)
    image = b.finished(clipped(b, b.inputs[0]))
    assert saturation.saturate(image, {}) == []
    b = Builder(SHAPE)
    x = beyond(b)
    moved = b.op("DEPTH_TO_SPACE", [x], blockSize=2)
    assert saturation.saturate(b.finished(clipped(b, moved), x), {}) == []


def test_a_limit_by_another_tensor_stays():
    b = Builder(SHAPE)
    x = beyond(b)
    graph = b.finished(b.op("MINIMUM", [b.op("RELU", [x]), b.inputs[0]]))
    assert saturation.saturate(graph, {}) == []
    b = Builder(SHAPE)
    graph = b.finished(b.op("MINIMUM", [b.op("RELU", [beyond(b)]), np.array([0.5, 0.5, 0.6, 0.7])]))
    assert saturation.saturate(graph, {}) == []


READERS = {  # what reads a limited tensor in the middle of a network
    "CONV_2D": lambda b, x: b.conv(x, 4, 3, 3),
    "two": lambda b, x: b.op("ADD", [identity(b, x, 0.5), x]),
    "MUL": lambda b, x: b.op("MUL", [x, beyond(b)]),
    "CONCATENATION": lambda b, x: b.op("CONCATENATION", [x, beyond(b)], axis=3),
    "MAXIMUM": lambda b, x: b.op("MAXIMUM", [x, beyond(b)]),
    "CONCATENATION behind PAD": lambda b, x: b.op("CONCATENATION", [BEFORE["PAD"](b, x), BEFORE["PAD"](b, beyond(b))], axis=3),
    "PADV2": lambda b, x: b.op("PADV2", [x, b.ints([[0, 0], [1, 1], [1, 1], [0, 0]]), np.float32(3)]),
    "DEPTH_TO_SPACE": lambda b, x: b.op("DEPTH_TO_SPACE", [x], blockSize=2),
    "RESHAPE": lambda b, x: b.op("NEG", [b.op("RESHAPE", [x, b.ints([1, 16, 64, 1])])]),
    **{name: function for name, function in BEFORE.items() if name not in ("MAXIMUM", "CONCATENATION", "GATHER")},
}


MERGED = ("CONCATENATION", "MAXIMUM", "CONCATENATION behind PAD", "PADV2")


@pytest.mark.parametrize("name", READERS)
def test_limits_in_the_middle(name):
    b = Builder(SHAPE)
    graph = b.finished(READERS[name](b, clipped(b, beyond(b))))
    changed = FloatGraph(graph.packed())
    limits = saturation.saturate(changed, activation_ranges.measure(changed, samples()))
    assert [limit for _, limit in limits] == ([] if name in MERGED else [0.5])
    check_within_a_level(graph, 1.1, 1 if name == "MUL" else 0)


def test_ranges_and_tensors_of_a_limit():
    b = Builder(SHAPE)
    x = identity(b, b.inputs[0], 2)
    y = clipped(b, b.op("DEPTH_TO_SPACE", [x], blockSize=2))
    z = b.op("SPACE_TO_DEPTH", [y], blockSize=2)
    graph = b.finished(b.conv(z, 4, 3, layer="last"))
    ranges = {tensor: (-9.0, 9.0) for op in graph.ops for tensor in op.outputs}
    moved = graph.ops[1].outputs[0]
    assert saturation.saturate(graph, ranges) == [(moved, 0.5)]
    assert small_graphs.names(graph) == ["CONV_2D", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "CONV_2D"]
    assert {tensor for tensor, limits in ranges.items() if limits == (0, 0.5)} == {x, moved, z}
    assert y not in ranges
    assert ranges[graph.graph.outputs[0]] == (-9, 9)


def test_the_limit_of_the_output():
    b = Builder(SHAPE)
    inner = clipped(b, beyond(b))
    outer = b.op("MINIMUM", [identity(b, inner, 2, "RELU"), np.float32(0.75)])
    graph = b.finished(b.op("DEPTH_TO_SPACE", [outer], blockSize=2), inner)
    tensors = [graph.tensor_name(tensor) for tensor in range(len(graph.graph.tensors))]
    graph.add_constant("nothing reads it", np.ones(3, np.float32))
    assert saturation.output_limit(graph) == 0.75
    assert small_graphs.names(graph).count("MINIMUM") == 2  # unchanged
    assert [graph.tensor_name(tensor) for tensor in range(len(tensors))] == tensors  # so are the numbers
    assert len(graph.graph.tensors) == len(tensors) + 1
    b = Builder(SHAPE)
    assert saturation.output_limit(b.finished(identity(b, clipped(b, beyond(b))))) is None
