"""QDQ ONNX of integer .tflite files: ONNX Runtime's CPU gives the bytes of XNNPACK."""

import dataclasses

import numpy as np
import pytest

from mobile_sr import zoo
from mobile_sr.converters import to_qdq_onnx
from mobile_sr.converters.qdq.static_graph import StaticGraph
from mobile_sr.converters.qdq.writer import Writer
from mobile_sr.converters.quantization import quantizer
from mobile_sr.converters.tflite import flatbuffer
from tests.conftest import make_image
from tests.converters.quantization import small_graphs
from tests.converters.quantization.small_graphs import Builder

SHAPE = (1, 12, 16, 8)
SIDES = {"strideH": 2, "strideW": 2, "filterHeight": 3, "filterWidth": 3}

# {name: what is appended to the 8 channels x of a 1x1 convolution}.
OPERATORS = {
    "conv, stride 2": lambda b, x: b.conv(x, 8, 8, 3, stride=2),
    "conv, dilated": lambda b, x: b.conv(x, 8, 8, 3, dilation=2),
    "conv, groups": lambda b, x: b.conv(x, 8, 8, 3, groups=4),
    "conv, valid": lambda b, x: b.conv(x, 8, 8, 3, padding=1),
    "conv, relu6": lambda b, x: b.conv(x, 8, 8, 3, activation="RELU6"),
    "depthwise": lambda b, x: b.depthwise(x, 8),
    "depthwise, multiplier 2": lambda b, x: b.depthwise(x, 8, 2),
    "transpose conv": lambda b, x: b.transposed(x, 8, 3, 3, 2, size=(12, 16)),
    "transpose conv, 9x9, stride 3": lambda b, x: b.transposed(x, 8, 3, 9, 3, size=(12, 16)),
    "transpose conv, 2x2": lambda b, x: b.transposed(x, 8, 3, 2, 2, size=(12, 16)),
    "fully connected": lambda b, x: b.op("FULLY_CONNECTED", [x, b.weights((5, 8)), b.rng.normal(0, 1, 5)], keepNumDims=True),
    "add, constant": lambda b, x: b.op("ADD", [x, b.rng.random(8).astype(np.float32)]),
    "sub": lambda b, x: b.op("SUB", [x, b.conv(x, 8, 8)]),
    "mul, relu": lambda b, x: b.op("MUL", [x, b.conv(x, 8, 8)], activation="RELU"),
    "mul, broadcast": lambda b, x: b.op("MUL", [x, b.op("MEAN", [x, np.array([1, 2])], keepDims=True)]),
    "maximum": lambda b, x: b.op("MAXIMUM", [x, b.conv(x, 8, 8)]),
    "minimum": lambda b, x: b.op("MINIMUM", [x, b.conv(x, 8, 8)]),
    "softmax": lambda b, x: b.op("SOFTMAX", [x], beta=1.0),
    **{name: lambda b, x, name=name: b.op(name, [x]) for name in ("RELU", "LOGISTIC", "TANH", "HARD_SWISH", "GELU", "ABS")},
    "mean of pixels": lambda b, x: b.op("MEAN", [x, np.array([1, 2])], keepDims=True),
    "mean of channels": lambda b, x: b.op("MEAN", [x, np.array([3])], keepDims=True),
    "sum": lambda b, x: b.op("SUM", [x, np.array([1, 2])], keepDims=False),
    "max pool": lambda b, x: b.op("MAX_POOL_2D", [x], **SIDES),
    "max pool, unequal strides": lambda b, x: b.op("MAX_POOL_2D", [x], **{**SIDES, "strideW": 1, "filterWidth": 2}),
    "nearest": lambda b, x: b.op("RESIZE_NEAREST_NEIGHBOR", [x, np.array([24, 32])]),
    "nearest, half pixel": lambda b, x: b.op("RESIZE_NEAREST_NEIGHBOR", [x, np.array([24, 32])], halfPixelCenters=True),
    "concatenation": lambda b, x: b.op("CONCATENATION", [x, b.conv(x, 8, 4)], axis=3),
    "pad": lambda b, x: b.op("PAD", [x, np.array([[0, 0], [1, 2], [3, 0], [0, 1]])]),
    "pad by a constant": lambda b, x: b.op("PADV2", [x, np.array([[0, 0], [1, 2], [3, 0], [0, 0]]), np.float32(0.5)]),
    "mirror pad": lambda b, x: b.op("MIRROR_PAD", [x, np.array([[0, 0], [1, 2], [3, 0], [0, 0]])], mode=0),
    "slice": lambda b, x: b.op("SLICE", [x, np.array([0, 1, 2, 3]), np.array([1, 5, 6, 4])], shape=(1, 5, 6, 4)),
    "strided slice": lambda b, x: b.op(
        "STRIDED_SLICE",
        [x, np.array([0, 1, 2, 0]), np.array([0, -1, 12, 4]), np.array([1, 1, 2, 1])],
        **{"beginMask": 0, "endMask": 1, "ellipsisMask": 0, "newAxisMask": 0, "shrinkAxisMask": 0},
    ),
    "split": lambda b, x: b.op("CONCATENATION", b.op("SPLIT", [np.int32(3), x], outputs=2, numSplits=2)[::-1], axis=3),
    "reshape": lambda b, x: b.op("RESHAPE", [x, np.array([1, 24, 8, 8])], newShape=[1, 24, 8, 8]),
    "transpose": lambda b, x: b.op("TRANSPOSE", [x, np.array([0, 2, 1, 3])]),
    "depth to space": lambda b, x: b.op("DEPTH_TO_SPACE", [x], blockSize=2),
    "space to depth": lambda b, x: b.op("SPACE_TO_DEPTH", [x], blockSize=2),
}
# Slopes, interpolations and means that XNNPACK rounds otherwise: up to one level.
ROUNDED = {
    "prelu": lambda b, x: b.op("PRELU", [x, b.rng.random((1, 1, 8)).astype(np.float32)]),
    "leaky relu": lambda b, x: b.op("LEAKY_RELU", [x], alpha=0.2),
    "average pool": lambda b, x: b.op("AVERAGE_POOL_2D", [x], **SIDES),
    "bilinear": lambda b, x: b.op("RESIZE_BILINEAR", [x, np.array([24, 32])]),
    "bilinear, half pixel": lambda b, x: b.op("RESIZE_BILINEAR", [x, np.array([24, 32])], halfPixelCenters=True),
    "bilinear, aligned": lambda b, x: b.op("RESIZE_BILINEAR", [x, np.array([24, 32])], alignCorners=True),
}


def quantized(append, precision="int8"):
    """The bytes of an integer file: a 1x1 convolution and what `append` adds."""
    b = Builder(SHAPE)
    graph = b.finished(append(b, b.conv(b.inputs[0], 8, 8)))
    return quantizer.convert(graph.packed(), precision, small_graphs.images(2, SHAPE))


def run_onnx(model, *values):
    """The outputs of an ONNX file on the CPU for uint8 inputs in their order."""
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {end.name: value for end, value in zip(session.get_inputs(), values, strict=True)})


def differences(data):
    """|XNNPACK - ONNX Runtime| for an int8 file on random values."""
    values = np.random.default_rng(5).integers(0, 256, SHAPE, np.uint8)
    (expected,) = small_graphs.run(data, (values.astype(np.int16) - 128).astype(np.int8), delegate=True)
    (result,) = run_onnx(to_qdq_onnx.convert(data, SHAPE), values)
    assert result.dtype == np.uint8
    assert result.shape == expected.shape
    assert np.ptp(result) > 20
    return np.abs(result.astype(int) - 128 - expected)


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_give_the_same_bytes(name):
    assert differences(quantized(OPERATORS[name])).max() == 0


@pytest.mark.parametrize("name", ROUNDED)
def test_operators_that_are_rounded_otherwise(name):
    assert differences(quantized(ROUNDED[name])).max() == 1


def zoo_file(name):
    """The bytes of a packaged uint8 file; of AdaDSR's, the dense signature."""
    data = zoo.resolve(f"{name}:uint8").read_bytes()
    signatures = flatbuffer.parse(data, "dense" if name.startswith("ada") else None)
    return flatbuffer.as_first_subgraph(data, signatures)


@pytest.mark.parametrize("name", ["xlsr_x3", *(pytest.param(n, marks=pytest.mark.slow) for n in zoo.names() if n != "xlsr_x3")])
def test_zoo_files_give_the_same_bytes(name):
    data = zoo_file(name)
    graph = flatbuffer.parse(data)
    image = make_image(40, 52)[None]
    values = [image if len(graph.tensors[i].shape) == 4 else np.full((1, 1), 100, np.uint8) for i in graph.inputs]
    results = run_onnx(to_qdq_onnx.convert(data, image.shape), *values)
    for result, expected in zip(results, small_graphs.run(data, *values, delegate=True), strict=True):
        np.testing.assert_array_equal(result, expected)
        assert result.std() > 10 or name.startswith("ada")


def test_every_operator_is_between_its_own_scales():
    """Scales, zero points (of uint8) and integer weights are those of the file, also around operators that move values."""
    onnx = pytest.importorskip("onnx")
    data = zoo_file("xlsr_x3")
    graph = flatbuffer.parse(data)
    model = onnx.load_from_string(to_qdq_onnx.convert(data, (1, 8, 8, 3))).graph
    constants = {entry.name: onnx.numpy_helper.to_array(entry) for entry in model.initializer}
    makers = {name: node for node in model.node for name in node.output}
    readers = {node.input[0]: node for node in model.node if node.op_type == "QuantizeLinear"}
    (concat,) = (op for op in graph.ops if op.name == "CONCATENATION")
    (node,) = (node for node in model.node if node.op_type == "Concat")
    ends = [makers[name] for name in node.input] + [readers[node.output[0]]]
    for tensor, end in zip([graph.tensors[i] for i in (*concat.inputs, *concat.outputs)], ends, strict=True):
        assert constants[end.input[1]] == tensor.scales[0]
        assert constants[end.input[2]] == tensor.zero_points[0] + 128
    kinds = [node.op_type for node in model.node if node.op_type not in ("QuantizeLinear", "DequantizeLinear")]
    assert kinds.count("Conv") == 11
    assert kinds.count("Transpose") == 2  # at the ends only
    assert set(kinds) == {"Conv", "Concat", "DepthToSpace", "Transpose"}
    for node in model.node:
        if node.op_type == "Conv":
            assert {makers[name].op_type for name in node.input} == {"DequantizeLinear"}
            assert [constants[makers[name].input[0]].dtype for name in node.input[1:]] == [np.int8, np.int32]


def test_uint8_files_keep_their_type():
    data = quantized(OPERATORS["add, constant"], "uint8")
    values = np.random.default_rng(5).integers(0, 256, SHAPE, np.uint8)
    (expected,) = small_graphs.run(data, values, delegate=True)
    np.testing.assert_array_equal(run_onnx(to_qdq_onnx.convert(data, SHAPE), values)[0], expected)


def test_two_outputs_may_be_the_same_values():
    """The second one is a slice of everything, which is no node."""
    b = Builder(SHAPE)
    x = b.op("LOGISTIC", [b.inputs[0]])
    masks = dict.fromkeys(("beginMask", "endMask", "ellipsisMask", "newAxisMask", "shrinkAxisMask"), 0)
    graph = b.finished(x, b.op("STRIDED_SLICE", [x, np.zeros(4, int), np.array(SHAPE), np.ones(4, int)], **masks))
    data = quantizer.convert(graph.packed(), "uint8", small_graphs.images(2, SHAPE))
    assert len(set(flatbuffer.parse(data).outputs)) == 2
    values = np.random.default_rng(5).integers(0, 256, SHAPE, np.uint8)
    results = run_onnx(to_qdq_onnx.convert(data, SHAPE), values)
    for result, expected in zip(results, small_graphs.run(data, values, delegate=True), strict=True):
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(("scale", "zero_point", "shared"), [(0.5, 3, True), (0.5, 4, False), (0.25, 3, False)])
def test_values_are_shared_between_equal_parameters_only(scale, zero_point, shared):
    b = Builder(SHAPE)
    data = b.finished(b.op("RELU", [b.inputs[0]])).packed()
    static = StaticGraph(data, SHAPE)
    source, target = static.ops[0].inputs[0], static.ops[0].outputs[0]
    for tensor, parameters in ((source, (0.5, 3)), (target, (scale, zero_point))):
        entry = static.graph.tensors[tensor]
        values = {"dtype": "uint8", "scales": parameters[:1], "zero_points": parameters[1:]}
        static.graph.tensors[tensor] = dataclasses.replace(entry, **values)
    writer = Writer(static)
    writer.add_input(source, "lr")
    assert writer.alias(target, source) == shared


def test_what_is_not_supported_is_named():
    with pytest.raises(ValueError, match="operator ARG_MAX_1 has no QDQ form in mobile-sr"):
        to_qdq_onnx.convert(quantized(lambda b, x: b.op("ARG_MAX", [x, np.int32(3)], outputType=2)), SHAPE)
    with pytest.raises(ValueError, match=r"does not run on \[1, 12, 16, 5\]"):
        to_qdq_onnx.convert(quantized(OPERATORS["RELU"]), (1, 12, 16, 5))
    with pytest.raises(ValueError, match=r"tensor .* is int16 with 1 scales; 8 bits are supported"):
        to_qdq_onnx.convert(quantized(OPERATORS["sub"], "int16"), SHAPE)
