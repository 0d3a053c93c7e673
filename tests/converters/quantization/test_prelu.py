"""PReLU of any slope in operators that XNNPACK runs in 8 bits."""

import numpy as np
import pytest

from mobile_sr.converters.quantization import prelu, quantizer
from mobile_sr.inference import litert
from tests.converters.quantization import small_graphs
from tests.converters.quantization.small_graphs import Builder

SLOPES = {  # name: (4 slopes, operators without folding, operators with folding)
    "below 1": ([0.25, 0.0, 0.9, 0.5], ["MUL", "ADD"], ["MUL", "ADD"]),
    "up to 1": ([1, 0.3, 1, 1], ["MUL", "ADD"], ["MUL", "ADD"]),
    "1": ([1, 1, 1, 1], [], []),
    "negative": ([-0.5, -2, -1, -0.1], ["MUL", "ADD"], ["MUL", "ADD"]),
    "above 1": ([1.5, 3, 20, 1.01], ["MUL", "SUB"], ["MUL", "ADD"]),
    "mixed": ([-0.5, 0.3, 1, 4], ["MUL", "MUL", "ADD"], ["MUL", "ADD"]),
    "one below 1": ([0.2], ["MUL", "ADD"], ["MUL", "ADD"]),
    "one above 1": ([2.5], ["MUL", "SUB"], ["MUL", "ADD"]),
}


def slopes(name):
    """[1, 1, C] float32, or [1, 1, 1]."""
    return np.array(SLOPES[name][0], np.float32).reshape(1, 1, -1)


def check(graph, expected_names, shape=small_graphs.IMAGE, count=1):
    """Rewrite a graph: its operators afterwards, and its outputs, which stay."""
    (image,) = small_graphs.images(1, shape, seed=3)
    before = small_graphs.run(graph, image - 0.5)
    assert prelu.rewrite(graph) == count
    assert small_graphs.names(graph) == expected_names
    for old, new in zip(before, small_graphs.run(graph.packed(), image - 0.5), strict=True):
        assert old.shape == new.shape
        np.testing.assert_allclose(new, old, rtol=0, atol=3e-6 * np.abs(old).max())


@pytest.mark.parametrize("name", SLOPES)
def test_without_folding(name):
    """The result is an output of the graph, which must not change its sign."""
    b = Builder()
    x = b.conv(b.inputs[0], 3, 4)
    y = b.op("PRELU", [x, slopes(name)])
    check(b.finished(y), ["CONV_2D", *SLOPES[name][1]])


@pytest.mark.parametrize("name", SLOPES)
def test_golden_values(name):
    b = Builder((1, 1, 3, 4))
    graph = b.finished(b.op("NEG", [b.op("PRELU", [b.op("NEG", [b.inputs[0]]), slopes(name)])]))
    assert prelu.rewrite(graph) == 1
    image = np.repeat(np.array([2, 0, -3], np.float32).reshape(1, 1, 3, 1), 4, axis=3)
    (result,) = small_graphs.run(graph, image)
    expected = np.broadcast_to(slopes(name)[0, 0], 4)
    np.testing.assert_allclose(result[0, 0], [2 * expected, np.zeros(4), np.full(4, -3)], rtol=1e-6)


BEFORE = {
    "CONV_2D": (lambda b: b.conv(b.inputs[0], 3, 4, 3), 3),
    "grouped": (lambda b: b.conv(b.inputs[0], 6, 4, 3, groups=2), 6),
    "DEPTHWISE_CONV_2D": (lambda b: b.depthwise(b.inputs[0], 2, 2), 2),
    "TRANSPOSE_CONV": (lambda b: b.transposed(b.inputs[0], 3, 4), 3),
    "TRANSPOSE_CONV without bias": (lambda b: b.transposed(b.inputs[0], 3, 4, bias=False), 3),
    "FULLY_CONNECTED": (lambda b: b.op("FULLY_CONNECTED", [b.inputs[0], b.weights((4, 3)), -1], keepNumDims=True), 3),
}


@pytest.mark.parametrize("name", BEFORE)
@pytest.mark.parametrize("values", ["mixed", "one above 1"])
def test_folded_into_the_operator_before(name, values):
    function, channels = BEFORE[name]
    shape = (1, 6, 8, channels)
    b = Builder(shape)
    x = function(b)
    y = b.conv(b.op("PRELU", [x, slopes(values)]), 4, 3, 3)
    check(b.finished(y), [small_graphs.names(b.graph)[0], "MUL", "ADD", "CONV_2D"], shape)


AFTER = {
    "CONV_2D": lambda b, x: [b.conv(x, 4, 3, 3)],
    "fused RELU": lambda b, x: [b.conv(x, 4, 3, 3, activation="RELU")],
    "grouped": lambda b, x: [b.conv(x, 4, 6, 3, groups=2)],
    "DEPTHWISE_CONV_2D": lambda b, x: [b.depthwise(x, 4, 2)],
    "TRANSPOSE_CONV": lambda b, x: [b.transposed(x, 4, 5)],
    "FULLY_CONNECTED": lambda b, x: [b.op("FULLY_CONNECTED", [x, b.weights((5, 4)), -1], keepNumDims=True)],
    "two": lambda b, x: [b.conv(x, 4, 3, 3), b.depthwise(x, 4)],
}


@pytest.mark.parametrize("name", AFTER)
@pytest.mark.parametrize("values", ["mixed", "above 1"])
def test_folded_into_the_readers(name, values):
    b = Builder()
    x = b.op("PRELU", [b.conv(b.inputs[0], 3, 4, 3), slopes(values)])
    outputs = AFTER[name](b, x)
    check(b.finished(*outputs), ["CONV_2D", "MUL", "ADD", *small_graphs.names(b.graph)[2:]])


NOT_FOLDED = {
    "an addition reads it": lambda b, x: [b.op("ADD", [b.conv(x, 4, 4), x])],
    "an output": lambda b, x: [b.conv(x, 4, 4), x],
    "a pool": lambda b, x: [b.op("MAX_POOL_2D", [x], strideH=1, strideW=1, filterHeight=2, filterWidth=2)],
    "a matrix product of all positions": lambda b, x: [b.op("FULLY_CONNECTED", [x, b.weights((3, 192)), np.zeros(3)])],
}


@pytest.mark.parametrize("name", NOT_FOLDED)
def test_not_folded_into_other_readers(name):
    b = Builder()
    x = b.op("PRELU", [b.conv(b.inputs[0], 3, 4, 3), slopes("mixed")])
    graph = b.finished(*NOT_FOLDED[name](b, x))
    check(graph, ["CONV_2D", "MUL", "MUL", "ADD", *small_graphs.names(graph)[2:]])


def test_not_folded_if_something_else_depends_on_the_convolution():
    b = Builder()
    first = b.conv(b.inputs[0], 3, 4, 3)
    y = b.conv(b.op("PRELU", [first, slopes("above 1")]), 4, 4)
    check(b.finished(b.op("ADD", [first, y])), ["CONV_2D", "MUL", "SUB", "CONV_2D", "ADD"])
    b = Builder()
    first = b.conv(b.inputs[0], 3, 4, 3, activation="RELU6")
    check(b.finished(b.conv(b.op("PRELU", [first, slopes("above 1")]), 4, 4)), ["CONV_2D", "MUL", "SUB", "CONV_2D"])


def test_two_in_a_row_with_folding():
    b = Builder()
    x = b.op("PRELU", [b.conv(b.inputs[0], 3, 4, 3), slopes("mixed")])
    x = b.op("PRELU", [b.conv(x, 4, 4, 3), slopes("above 1")])
    names = ["CONV_2D", "MUL", "ADD", "CONV_2D", "MUL", "ADD", "CONV_2D"]
    check(b.finished(b.conv(x, 4, 3)), names, count=2)


def test_slopes_that_stay():
    """Slopes that differ between positions or are not constant."""
    b = Builder()
    x = b.conv(b.inputs[0], 3, 4)
    graph = b.finished(b.op("PRELU", [x, b.rng.random((6, 8, 4))]), b.op("PRELU", [x, b.op("LOGISTIC", [x])]))
    names = small_graphs.names(graph)
    assert prelu.rewrite(graph) == 0
    assert small_graphs.names(graph) == names


@pytest.mark.parametrize("values", SLOPES)
@pytest.mark.parametrize("fold", [True, False])
def test_one_partition_in_8_bits(values, fold):
    b = Builder((1, 16, 16, 3))
    x = b.op("PRELU", [b.conv(b.inputs[0], 3, 4, 3), slopes(values)])
    y = b.conv(x, 4, 4) if fold else b.op("ADD", [b.conv(x, 4, 4), x])
    graph = b.finished(y)
    images = small_graphs.images(2, (1, 16, 16, 3))
    assert litert.delegate_partitions(quantizer.convert(graph.packed(), "int8", images)) == 2
    prelu.rewrite(graph)
    data = quantizer.convert(graph.packed(), "int8", images)
    assert "PRELU" not in small_graphs.names(data)
    assert litert.delegate_partitions(data) == 1


def test_leaky_relu_stays_because_xnnpack_runs_it():
    b = Builder((1, 16, 16, 3))
    x = b.op("LEAKY_RELU", [b.conv(b.inputs[0], 3, 4, 3)], alpha=0.2)
    graph = b.finished(b.conv(x, 4, 3))
    assert prelu.rewrite(graph) == 0
    data = quantizer.convert(graph.packed(), "int8", small_graphs.images(2, (1, 16, 16, 3)))
    assert small_graphs.names(data) == ["CONV_2D", "LEAKY_RELU", "CONV_2D"]
    assert litert.delegate_partitions(data) == 1


@pytest.mark.parametrize("name", SLOPES)
@pytest.mark.parametrize("swapped", [False, True])
def test_four_operators_of_one_prelu(name, swapped):
    """x + (1 - slope) * relu(-x), as AnySlopePReLU is converted."""
    b = Builder()
    x = b.conv(b.inputs[0], 3, 4)
    terms = [x, b.op("MUL", [b.op("RELU", [b.op("NEG", [x])]), 1 - slopes(name).reshape(-1)])]
    y = b.op("ADD", terms[::-1] if swapped else terms)
    check(b.finished(b.conv(y, 4, 3, 3)), ["CONV_2D", *SLOPES[name][2], "CONV_2D"])


def test_four_operators_of_something_else():
    """Another part reads the product, or the sum is not one with x."""
    b = Builder()
    x = b.conv(b.inputs[0], 3, 4)
    product = b.op("MUL", [b.op("RELU", [b.op("NEG", [x])]), np.full(4, 0.75)])
    other = b.op("ADD", [b.conv(b.inputs[0], 3, 4), b.op("MUL", [b.op("RELU", [b.op("NEG", [x])]), np.full(4, 0.75)])])
    graph = b.finished(b.op("ADD", [x, product]), product, other)
    names = small_graphs.names(graph)
    assert prelu.rewrite(graph) == 0
    assert small_graphs.names(graph) == names
