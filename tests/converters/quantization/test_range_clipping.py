"""Activation ranges of least squared error."""

import itertools

import numpy as np
import pytest

from mobile_sr.converters.quantization import activation_ranges, quantizer, range_clipping
from mobile_sr.converters.tflite import flatbuffer
from tests.converters.quantization.small_graphs import Builder, run

SHAPE = (1, 96, 96, 3)
POOL = {"strideH": 1, "strideW": 1, "filterHeight": 2, "filterWidth": 2}


def photographs():
    """Values around 0.5, one of 1.0 and one of 0.0."""
    rng = np.random.default_rng(3)
    images = [np.clip(rng.normal(0.5, 0.02, SHAPE), 0, 1).astype(np.float32) for _ in range(4)]
    images[0][0, 4, 4, 0], images[1][0, 4, 8, 1] = 1.0, 0.0
    return images


def network():
    """A graph, and its activation of wide range, the two of the same scale behind it, and the two of the output."""
    builder = Builder(SHAPE)
    wide = builder.op("SUB", [builder.op("MUL", [0, np.float32(24)]), np.float32(12)], layer="wide")
    pooled = builder.op("MAX_POOL_2D", [wide], **POOL)
    joined = builder.op("CONCATENATION", [pooled, wide], axis=3)
    tail = builder.conv(joined, 6, 12)
    output = builder.op("DEPTH_TO_SPACE", [tail], blockSize=2)
    return builder.finished(output), wide, (pooled, joined), (tail, output)


def squared_error(values, low, high):
    """Of the 8-bit forms of values in a range."""
    step = (high - low) / 255
    return np.square(np.clip(np.round((values - low) / step), 0, 255) * step + low - values).sum()


def test_no_other_range_has_much_less_error():
    graph, wide, _, _ = network()
    low, high = range_clipping.least_error(graph, photographs())[wide]
    values = np.stack(photographs()) * 24 - 12
    candidates = itertools.product(np.linspace(-12, -1, 12), np.linspace(1, 12, 12))
    best = min(squared_error(values, *candidate) for candidate in candidates)
    assert squared_error(values, low, high) < 1.02 * best
    assert squared_error(values, low, high) < 0.85 * squared_error(values, values.min(), values.max())
    assert values.min() < low < high < values.max()


def test_values_of_exact_samples_are_not_clipped():
    graph, wide, _, _ = network()
    before = range_clipping.least_error(graph, photographs())[wide]
    colour = np.full(SHAPE, 0.9, np.float32)
    low, high = range_clipping.least_error(graph, photographs(), [colour])[wide]
    assert before[1] < 0.9 * 24 - 12 <= high + 1e-5
    assert low == before[0]


def test_the_error_counts_behind_the_function_that_alone_reads_a_tensor():
    """LeakyReLU divides the error of negative values by 20: clipping them costs less than coarse steps for the others."""
    builder = Builder(SHAPE)
    wide = builder.op("SUB", [builder.op("MUL", [0, np.float32(24)]), np.float32(12)])
    leaky = builder.op("LEAKY_RELU", [wide], alpha=0.05)
    graph = builder.finished(builder.conv(leaky, 3, 3))
    low, high = range_clipping.least_error(graph, photographs())[wide]
    values = np.stack(photographs()) * 24 - 12

    def error(low, high):
        step = (high - low) / 255
        rounded = np.clip(np.round((values - low) / step), 0, 255) * step + low
        return np.square(np.where(rounded < 0, 0.05, 1) * rounded - np.where(values < 0, 0.05, 1) * values).sum()

    candidates = itertools.product(np.linspace(-12, -0.25, 48), np.linspace(0.5, 12, 24))
    assert error(low, high) < 1.05 * min(error(*candidate) for candidate in candidates)
    plain = range_clipping.least_error(network()[0], photographs())[network()[1]]
    assert error(low, high) < 0.5 * error(*plain)


def test_ends_of_the_network_are_not_clipped():
    graph, wide, _, ends = network()
    whole, ranges = activation_ranges.measure(graph, photographs()), range_clipping.least_error(graph, photographs())
    assert set(ranges) == set(whole)
    for tensor in (*graph.graph.inputs, *ends):
        assert ranges[tensor] == whole[tensor]
    assert ranges[wide] != whole[wide]


def test_operators_that_keep_the_scale_keep_the_range():
    graph, wide, same_scale, _ = network()
    ranges = range_clipping.least_error(graph, photographs())
    assert {ranges[tensor] for tensor in same_scale} == {ranges[wide]}


def test_a_file_is_quantized_with_the_stored_ranges():
    graph, wide, _, _ = network()
    low, high = range_clipping.least_error(graph, photographs())[wide]
    graph.graph.tensors[wide].name = b"wide"
    activation_ranges.store(graph, {"input0": (0.0, 2.0)})
    data = range_clipping.store(graph.packed(), photographs())
    quantized = flatbuffer.parse(quantizer.convert(data, "int8", photographs()))
    scales = {tensor.name: tensor.scales for tensor in quantized.tensors}
    assert scales["wide"] == pytest.approx([(high - low) / 255], rel=1e-5)
    assert scales["input0"] == pytest.approx([2 / 255], rel=1e-5)  # was there before


def test_an_activation_that_is_always_0_gets_a_range():
    builder = Builder(SHAPE)
    dead = builder.op("MUL", [0, np.float32(0)])
    graph = builder.finished(builder.op("ADD", [dead, 0]))
    ranges = range_clipping.least_error(graph, photographs())
    assert ranges[dead][0] < ranges[dead][1]
    assert run(graph, photographs()[0])[0].max() == 1


def line(builder, factor, offset):
    """A convolution that computes factor * gray + offset of the input."""
    weights, bias = np.full((1, 1, 1, 3), factor / 3, np.float32), np.full(1, offset, np.float32)
    return builder.op("CONV_2D", [0, weights, bias], strideH=1, strideW=1)


def sum_of(*lines):
    """A graph that adds convolutions factor * gray + offset for each (factor, offset): the graph, its operands and the sum."""
    builder = Builder(SHAPE)
    operands = [line(builder, factor, offset) for factor, offset in lines]
    added = builder.op("ADD", operands)
    return builder.finished(builder.conv(added, 1, 3)), operands, added


def grays():
    """Gray images, black and white among them."""
    return [np.broadcast_to(image.mean(axis=-1, keepdims=True), SHAPE).copy() for image in photographs()] + [
        np.full(SHAPE, level, np.float32) for level in (0, 1)
    ]


def step(limits):
    return (limits[1] - limits[0]) / 255


@pytest.mark.parametrize(
    ("lines", "aligned"),
    [
        (((2, 0), (-1.5, 1.5)), True),
        (((-2, 0), (1.5, -1.5)), True),
        (((2, 0), (1.5, 0)), False),  # both finer than the sum
        (((2, 0), (-1.9, 0)), False),  # the sum finer than both
    ],
)
def test_operands_get_the_step_of_their_sum_where_that_lowers_the_error(lines, aligned):
    graph, operands, added = sum_of(*lines)
    ranges = range_clipping.least_error(graph, grays(), grays())
    steps = [step(ranges[tensor]) for tensor in operands]
    assert (steps == pytest.approx([step(ranges[added])] * 2, rel=1e-6)) == aligned
    assert all(low <= 0 <= high for low, high in ranges.values())


def test_a_sum_of_aligned_operands_is_exact():
    """All three have one scale in the file."""
    graph, operands, added = sum_of((2, 0), (-1.5, 1.5))
    for tensor, name in zip((*operands, added), ("a", "b", "sum"), strict=True):
        graph.graph.tensors[tensor].name = name.encode()
    data = quantizer.convert(range_clipping.store(graph.packed(), grays(), grays()), "int8", grays())
    scales = {tensor.name: float(tensor.scales[0]) for tensor in flatbuffer.parse(data).tensors if len(tensor.scales) == 1}
    assert scales["a"] == pytest.approx(scales["sum"], rel=1e-6)
    assert scales["b"] == pytest.approx(scales["sum"], rel=1e-6)


def test_an_operand_that_is_also_concatenated_keeps_its_step():
    """It shares the scale of the concatenation."""
    builder = Builder(SHAPE)
    first, second = line(builder, 2, 0), line(builder, -1.5, 1.5)
    joined = builder.op("CONCATENATION", [builder.op("ADD", [first, second]), second], axis=3)
    graph = builder.finished(builder.conv(joined, 2, 3))
    assert range_clipping.least_error(graph, grays(), grays())[second] == pytest.approx((0, 1.5))


@pytest.mark.parametrize("is_shared", [False, True])
def test_an_operand_that_others_read_gets_no_far_coarser_step(is_shared):
    """The sum of a long skip has six times the step of its first operand, which another convolution reads as well."""
    builder = Builder(SHAPE)
    first, second = line(builder, 1, 0), line(builder, -6, 6)
    ends = [builder.conv(builder.op("ADD", [first, second]), 1, 3)]
    if is_shared:
        ends.append(builder.conv(first, 1, 3))
    ranges = range_clipping.least_error(builder.finished(*ends), grays(), grays())
    assert step(ranges[first]) == pytest.approx((1 if is_shared else 6) / 255)


@pytest.mark.parametrize(("colour", "contained"), [(0.7, True), (1.9, False)])
def test_flat_colours_far_beyond_photographs_are_clipped(colour, contained):
    """Containing them would make the steps on photographs several times as coarse; the limit is twice the error."""
    builder = Builder(SHAPE)
    wide = line(builder, 1, 0)
    graph = builder.finished(builder.conv(wide, 1, 3))
    images = grays()[:-2]
    low, high = range_clipping.least_error(graph, images, [np.full(SHAPE, colour, np.float32)])[wide]
    alone = range_clipping.least_error(graph, images)[wide]
    values = np.stack(images).mean(axis=-1)
    assert (high >= colour * 0.9999) == contained
    assert squared_error(values, low, high) < 2.1 * squared_error(values, *alone)
    assert high > alone[1]
