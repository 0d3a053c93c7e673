"""Files that would crash the runtime are refused by the parser."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from mobile_sr.converters.tflite import flatbuffer


@pytest.fixture
def refused(exported):
    """A function that changes a valid file through its object tree and returns the parser's message."""

    def refuse(precision, change):
        model = schema.ModelT.InitFromPackedBuf((exported / f"tiny_{precision}.tflite").read_bytes(), 0)
        flatbuffer.parse(flatbuffer.pack(model))
        change(model.subgraphs[0])
        with pytest.raises(flatbuffer.TFLiteFileError) as caught:
            flatbuffer.parse(flatbuffer.pack(model))
        return str(caught.value)

    return refuse


def set_to(select, **values):
    def change(graph):
        for name, value in values.items():
            setattr(select(graph), name, value)

    return change


def input_tensor(graph):
    return graph.tensors[graph.inputs[0]]


def first_op(graph):
    return graph.operators[0]


def kernel(graph):
    return graph.tensors[graph.operators[1].inputs[1]]


def test_the_flow_of_tensors(refused):
    def absent_kernel(graph):
        graph.operators[1].inputs = [0, -1, 1]

    def swapped(graph):
        graph.operators[:2] = graph.operators[1::-1]

    def constant_input(graph):
        input_tensor(graph).buffer = kernel(graph).buffer

    def constant_target(graph):
        graph.tensors[first_op(graph).outputs[0]].buffer = kernel(graph).buffer

    def written_twice(graph):
        graph.operators[2].outputs = graph.operators[1].outputs

    assert "CONV_2D reads tensor -1" in refused("uint8", absent_kernel)
    assert "CONV_2D reads tensor" in refused("uint8", swapped)
    assert "its input is tensor" in refused("uint8", constant_input)
    assert "QUANTIZE writes tensor" in refused("uint8", constant_target)
    assert "CONV_2D writes tensor" in refused("uint8", written_twice)
    assert "its output is tensor -1" in refused("uint8", lambda graph: setattr(graph, "outputs", [-1]))


@pytest.mark.parametrize("scale", [0.0, -1.0, 4.6e-41, np.inf, np.nan])
def test_scales(refused, scale):
    change = set_to(lambda graph: input_tensor(graph).quantization, scale=np.array([scale], np.float32))
    assert "scale or zero point of tensor" in refused("uint8", change)


def test_zero_points(refused):
    change = set_to(lambda graph: input_tensor(graph).quantization, zeroPoint=np.array([256]))
    assert "scale or zero point of tensor" in refused("uint8", change)


def test_shapes(refused):
    def larger(graph):
        op = next(op for op in graph.operators if op.inputs[0] not in graph.inputs and len(op.inputs) == 1)
        graph.tensors[op.outputs[0]].shape = np.array([32, 1, 32767, 32], np.int32)

    assert "DEQUANTIZE turns" in refused("float16", larger)
    huge = set_to(input_tensor, shape=np.array([1, 2**24, 8, 3], np.int32))
    assert "too large" in refused("uint8", huge)


def test_integers_need_scales(exported):
    """Every integer tensor without scale or zero point is refused, except a bias, which derives its scale."""
    data = (exported / "tiny_uint8.tflite").read_bytes()
    count = len(schema.ModelT.InitFromPackedBuf(data, 0).subgraphs[0].tensors)
    refused = 0
    for index in range(count):
        for field in ("quantization", "scale", "zeroPoint"):
            model = schema.ModelT.InitFromPackedBuf(data, 0)
            tensor = model.subgraphs[0].tensors[index]
            if tensor.type not in (schema.TensorType.INT8, schema.TensorType.UINT8):
                continue
            setattr(tensor if field == "quantization" else tensor.quantization, field, None)
            with pytest.raises(flatbuffer.TFLiteFileError):
                flatbuffer.parse(flatbuffer.pack(model))
            refused += 1
    assert refused > 30


def test_types_operands_and_options(refused):
    def options(graph):
        graph.operators[1].builtinOptions, graph.operators[1].builtinOptionsType = None, 0

    def operands(graph):
        graph.operators[1].inputs = graph.operators[1].inputs[:1]

    assert "has the options NONE" in refused("uint8", options)
    assert "CONV_2D has 1 inputs" in refused("uint8", operands)
    assert "has a kernel of float32 for int8" in refused("uint8", set_to(kernel, type=schema.TensorType.FLOAT32))
    assert "CONV_2D" in refused("float32", set_to(lambda graph: graph.tensors[graph.operators[0].outputs[0]], type=9))
