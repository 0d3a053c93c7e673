"""Operators without an 8-bit form, as those of normalizations, become others."""

import numpy as np

from mobile_sr.converters.quantization import integer_forms, quantizer
from mobile_sr.converters.tflite import flatbuffer
from tests.converters.quantization.small_graphs import Builder, run


def test_negation_and_square():
    b = Builder()
    kernel = np.random.default_rng(0).normal(0, 0.3, (3, 1, 1, 3))
    x = b.op("CONV_2D", [b.inputs[0], kernel, np.zeros(3)], strideH=1, strideW=1)
    graph = b.finished(b.op("ADD", [b.op("NEG", [x]), b.op("SQUARE", [x])]))
    sample = np.random.default_rng(1).uniform(0, 1, (1, 6, 8, 3)).astype(np.float32)
    data = graph.packed()
    (before,) = run(graph, sample)
    assert integer_forms.rewrite(graph) == 2
    np.testing.assert_array_equal(run(graph, sample)[0], before)
    assert integer_forms.rewrite(graph) == 0
    parsed = flatbuffer.parse(quantizer.convert(data, "int8", [sample]))
    assert {tensor.dtype for tensor in parsed.tensors if tensor.name} <= {"int8", "int32"}
    assert [op.name for op in parsed.ops] == ["CONV_2D", "MUL", "MUL", "ADD"]


def test_integers_stay():
    """A dynamic size, such as the rows that a padding adds, can contain a NEG of integers."""
    b = Builder()
    y = b.op("RELU", [b.inputs[0]])
    graph = b.finished(y)
    size = graph.add_constant("size", np.array([3], np.int32))
    negative = graph.add_constant("negative", np.array([0], np.int32))
    graph.add_op(0, "NEG", [size], [negative])
    assert integer_forms.rewrite(graph) == 0
    assert graph.name(graph.ops[0]) == "NEG"
