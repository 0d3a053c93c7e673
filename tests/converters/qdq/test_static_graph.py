"""A .tflite at one size: shapes of all tensors, and what is computed from shapes."""

import numpy as np
import pytest

from mobile_sr.converters.qdq.static_graph import StaticGraph
from mobile_sr.converters.tflite import flatbuffer
from tests.converters.quantization.small_graphs import Builder


def doubled():
    """A bilinear resize to twice the size, which the graph computes from the shape of its input."""
    b = Builder((1, -1, -1, 3))
    ends = [np.array([k]) for k in (1, 3, 1)]
    masks = dict.fromkeys(("beginMask", "endMask", "ellipsisMask", "newAxisMask", "shrinkAxisMask"), 0)
    int32 = b.schema.TensorType.INT32
    shape = b.op("SHAPE", [b.inputs[0]], shape=(4,), outType=int32)
    sides = b.op("STRIDED_SLICE", [shape, *ends], shape=(2,), **masks)
    size = b.op("MUL", [sides, np.array([2, 2])], shape=(2,))
    for tensor in (shape, sides, size):
        b.graph.graph.tensors[tensor].type = int32
    result = b.op("RESIZE_BILINEAR", [b.op("RELU", [b.inputs[0]]), size])
    b.graph.graph.outputs = [result]
    b.graph.graph.tensors[result].shapeSignature = [1, -1, -1, 3]
    return flatbuffer.pack(b.graph.model), size, result


def test_sizes_are_constants_at_one_size():
    data, size, result = doubled()
    static = StaticGraph(data, (1, 5, 7, 3))
    assert [op.label for op in static.ops] == ["RELU_3", "RESIZE_BILINEAR_4"]
    assert static.is_constant(size)
    assert static.values(size).tolist() == [10, 14]
    assert not static.is_constant(result)
    assert static.shapes[result] == (1, 10, 14, 3)


def test_a_file_without_computed_sizes_is_not_run(monkeypatch):
    monkeypatch.delattr("ai_edge_litert.interpreter.Interpreter.invoke")
    b = Builder((1, -1, -1, 3))
    b.graph.graph.outputs = [b.op("RELU", [b.inputs[0]])]
    data = flatbuffer.pack(b.graph.model)
    static = StaticGraph(data, (1, 5, 7, 3))
    assert static.sized == set()
    assert static.shapes[b.graph.graph.outputs[0]] == (1, 5, 7, 3)


def test_a_file_without_an_image_is_refused():
    b = Builder((1, 3))
    b.graph.graph.outputs = [b.op("RELU", [b.inputs[0]])]
    with pytest.raises(ValueError, match="it has no input of four dimensions"):
        StaticGraph(flatbuffer.pack(b.graph.model), (1, 5, 7, 3))
