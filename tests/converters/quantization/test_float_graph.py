"""The editable float graph: constants, operators, unused parts, and the values of activations."""

import numpy as np
import pytest

from mobile_sr.converters.quantization import float_graph, weight_storage
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.tflite import flatbuffer
from tests.converters.quantization import small_graphs
from tests.converters.quantization.small_graphs import Builder


def network(shape=(1, 6, 8, 3)):
    """A residual block: an addition and a product that may overwrite their inputs."""
    b = Builder(shape)
    x = b.conv(b.inputs[0], 3, 8, 3, layer="head", activation="RELU")
    y = b.conv(x, 8, 8, 3, layer="body")
    y = b.op("MUL", [y, b.op("LOGISTIC", [b.conv(y, 8, 8, 1, layer="mask")])], layer="product")
    return b.finished(b.conv(b.op("ADD", [x, y], layer="sum"), 8, 3, layer="tail"))


def all_values(graph, *arrays):
    """{tensor: values} of every activation, from an interpreter that keeps all of them."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    data = flatbuffer.pack(graph.model)
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=plain, experimental_preserve_all_tensors=True)
    for tensor, values in zip(graph.graph.inputs, arrays, strict=True):
        interpreter.resize_tensor_input(tensor, values.shape)
    interpreter.allocate_tensors()
    for tensor, values in zip(graph.graph.inputs, arrays, strict=True):
        interpreter.set_tensor(tensor, values)
    interpreter.invoke()
    return {tensor: interpreter.get_tensor(tensor) for op in graph.ops for tensor in op.outputs}


def add_signature(graph, inputs, outputs):
    """Add the signature 'serving_default' with {name: tensor}."""
    from ai_edge_litert import schema_py_generated as schema

    definition = schema.SignatureDefT()
    definition.signatureKey, definition.subgraphIndex = b"serving_default", 0
    for part, entries in (("inputs", inputs), ("outputs", outputs)):
        values = []
        for name, tensor in entries.items():
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name.encode(), tensor
            values.append(entry)
        setattr(definition, part, values)
    graph.model.signatureDefs = [definition]


CONSTANTS = [
    np.array([[0.1, -2.5], [3e-8, 1e30]], np.float32),
    np.array([0.5, -65504], np.float16),
    np.array([[[-128, 127]]], np.int8),
    np.array([-(2**31), 2**31 - 1], np.int32),
    np.array([[2**62], [-1]], np.int64),
    np.array([True, False]),
    np.float32(0.25).reshape(()),
]


@pytest.mark.parametrize("values", CONSTANTS, ids=lambda values: f"{values.dtype}{values.ndim}")
def test_constants_survive_a_file(values):
    b = Builder()
    added, changed = b.constant(values, values.dtype), b.constant(np.zeros(3))
    b.graph.set_constant(changed, values)
    output = b.op("CUSTOM", [b.inputs[0], added, changed])  # of no use, but it reads both
    b.graph.graph.outputs = [output]
    graph = FloatGraph(b.graph.packed())
    for tensor in graph.ops[0].inputs[1:]:
        found = graph.constant(tensor)
        assert found.dtype == values.dtype
        assert found.shape == values.shape == tuple(graph.shape(tensor))
        np.testing.assert_array_equal(found, values)
        assert graph.is_float(tensor) == (values.dtype == np.float32)
    found[...] = 0  # a copy
    np.testing.assert_array_equal(graph.constant(tensor), values)


def test_activations_are_not_constants():
    graph = network()
    assert graph.constant(graph.graph.inputs[0]) is None
    assert graph.constant(graph.graph.outputs[0]) is None
    assert graph.constant(-1) is None
    kept = graph.ops[0].inputs[1]
    graph.graph.tensors[kept].type = graph._schema.TensorType.STRING
    assert graph.constant(kept) is None


def test_added_operators_run_with_their_versions():
    graph = network()
    (image,) = small_graphs.images(1)
    (before,) = small_graphs.run(graph, image)
    (y,) = graph.graph.outputs
    doubled = graph.add_activation("doubled", y)
    options = graph._schema.MulOptionsT()
    op = graph.add_op(len(graph.ops), "MUL", [y, graph.add_constant("two", np.full(1, -2, np.float32))], [doubled], options)
    graph.set_activation(op, "RELU")
    graph.graph.outputs = [doubled]
    np.testing.assert_allclose(small_graphs.run(graph.packed(), image)[0], np.maximum(-2 * before, 0), rtol=1e-6)
    again = FloatGraph(graph.packed())
    assert (again.name(again.ops[-1]), again.activation(again.ops[-1])) == ("MUL", "RELU")
    assert [again.activation(op) for op in again.ops[:2]] == ["RELU", "NONE"]
    assert again.activation(again.ops[2]) == "NONE"
    assert again.shape(again.graph.outputs[0]) == [1, 6, 8, 3]

    again.set_version(again.ops[-1], 3)
    versions = {op.name: op.version for op in flatbuffer.parse(again.packed()).ops if op.name in ("MUL", "CONV_2D")}
    assert versions == {"MUL": 3, "CONV_2D": 1}
    assert [op.version for op in flatbuffer.parse(again.packed()).ops if op.name == "MUL"] == [1, 3]
    codes = len(again.model.operatorCodes)
    again.set_version(again.ops[-1], 3)
    assert len(again.model.operatorCodes) == codes  # used again


def test_an_operator_of_a_high_number():
    """Numbers above 127 are stored in a field of their own."""
    b = Builder()
    graph = b.finished(b.op("GELU", [b.inputs[0]]))
    assert small_graphs.names(graph.packed()) == ["GELU"]
    graph.rename(graph.ops[0], "RELU")
    assert small_graphs.names(graph.packed()) == ["RELU"]
    assert graph.ops[0].builtinOptions is None
    graph.rename(graph.ops[0], "RELU_0_TO_1")
    np.testing.assert_array_equal(small_graphs.run(graph.packed(), np.full((1, 6, 8, 3), 3, np.float32))[0], 1)


def test_the_place_of_an_added_operator():
    graph = network()
    x = graph.ops[0].outputs[0]
    negated = graph.add_activation("negated", x)
    graph.replace_uses(x, negated)
    graph.add_op(1, "NEG", [x], [negated])
    assert small_graphs.names(graph) == ["CONV_2D", "NEG", "CONV_2D", "CONV_2D", "LOGISTIC", "MUL", "ADD", "CONV_2D"]
    (image,) = small_graphs.images(1)
    values = all_values(graph, image)
    assert values[negated].min() < 0
    np.testing.assert_array_equal(values[negated], -values[x])
    assert graph.producers()[negated] is graph.ops[1]
    assert graph.readers()[negated] == [graph.ops[2], graph.ops[6]]
    assert graph.readers()[graph.graph.outputs[0]] == [None]


def test_unused_operators_tensors_and_values_are_removed():
    graph = network()
    size = len(graph.packed())
    big = graph.add_constant("big", np.ones((64, 64), np.float32))
    assert len(graph.packed()) == pytest.approx(size, abs=16)  # nothing reads it

    graph = network()
    x = graph.ops[0].outputs[0]
    for name in ("first", "second"):
        graph.add_activation(name, x)
    first, second = len(graph.graph.tensors) - 2, len(graph.graph.tensors) - 1
    big = graph.add_constant("big", np.ones((6, 8, 64), np.float32))
    narrow = graph.add_constant("narrow", np.ones((1, 6, 8, 1), np.float32))
    graph.add_op(1, "ADD", [narrow, big], [first], graph._schema.AddOptionsT())
    graph.add_op(2, "NEG", [first], [second])
    assert len(FloatGraph(flatbuffer.pack(graph.model)).ops) == 9
    graph.remove_unused()  # the second one, then the first
    assert len(graph.ops) == 7
    data = graph.packed()
    assert len(data) == pytest.approx(size, abs=600)  # empty entries remain
    again = FloatGraph(data)
    assert {again.tensor_name(tensor) for tensor in range(len(again.graph.tensors))}.isdisjoint({"first", "second", "big"})
    (image,) = small_graphs.images(1)
    np.testing.assert_array_equal(small_graphs.run(data, image)[0], small_graphs.run(network(), image)[0])


def test_two_operators_get_constants_of_their_own():
    b = Builder()
    weights, bias, axes = b.constant(b.weights((3, 1, 1, 3))), b.constant(np.ones(3)), b.ints([1])
    x = b.op("CONV_2D", [b.inputs[0], weights, bias], strideH=1, strideW=1)
    y = b.op("CONV_2D", [x, weights, bias], strideH=1, strideW=1)
    rows = b.op("MEAN", [y, axes], keepDims=True)
    data = b.finished(b.op("ADD", [b.op("MEAN", [y, axes], keepDims=True), rows])).packed()
    (image,) = small_graphs.images(1)
    before = small_graphs.run(data, image)[0]
    graph = FloatGraph(data)
    first, second = graph.ops[:2]
    assert set(first.inputs).isdisjoint(second.inputs[1:])
    assert graph.ops[2].inputs[1] == graph.ops[3].inputs[1]  # an int
    for position in (1, 2):
        np.testing.assert_array_equal(graph.constant(first.inputs[position]), graph.constant(second.inputs[position]))
    np.testing.assert_array_equal(small_graphs.run(graph.packed(), image)[0], before)
    first, second = graph.ops[:2]
    graph.set_constant(first.inputs[2], np.zeros(3, np.float32))
    np.testing.assert_array_equal(graph.constant(second.inputs[2]), 1)


def test_float16_weights_are_unpacked():
    graph = network()
    for op in graph.ops:
        if graph.name(op) == "CONV_2D":
            for tensor in op.inputs[1:]:
                graph.set_constant(tensor, graph.constant(tensor).astype(np.float16).astype(np.float32))
    plain = graph.packed()
    weight_storage.as_float16(graph)
    data = graph.packed()
    assert small_graphs.names(data).count("DEQUANTIZE") == 8
    values = sum(graph.constant(op.inputs[0]).size for op in graph.ops if graph.name(op) == "DEQUANTIZE")
    assert len(data) < len(plain) - 2 * values + 2000  # 8 more operators and tensors
    unpacked = FloatGraph(data)
    assert small_graphs.names(unpacked) == small_graphs.names(plain)
    (image,) = small_graphs.images(1)
    np.testing.assert_array_equal(small_graphs.run(unpacked.packed(), image)[0], small_graphs.run(plain, image)[0])


@pytest.mark.parametrize("max_bytes", [2**30, 5000, 1])
@pytest.mark.parametrize("shapes", [[(1, 6, 8, 3)], [(1, 6, 8, 3), (1, 5, 4, 3), (1, 5, 4, 3)]], ids=["static", "dynamic"])
def test_visit_gives_the_values_of_an_interpreter_that_keeps_all(shapes, max_bytes, monkeypatch):
    monkeypatch.setattr(float_graph, "_MAX_RUN_BYTES", max_bytes)
    runs, original = [], FloatGraph._run
    monkeypatch.setattr(
        FloatGraph, "_run", lambda graph, tensors, *args: runs.append(tensors) or original(graph, tensors, *args)
    )
    graph = network((1, 6, 8, 3) if len(shapes) == 1 else (1, -1, -1, 3))
    samples = [small_graphs.images(1, shape, seed)[0] for seed, shape in enumerate(shapes)]
    inner = [tensor for op in graph.ops for tensor in op.outputs]
    wanted, seen = [*inner, *graph.graph.inputs, inner[0]], []
    graph.visit(wanted, samples, lambda tensor, values: seen.append((tensor, values.copy())))
    assert len(seen) == len(samples) * (len(inner) + 1)
    for sample in samples:
        expected = {**all_values(graph, sample), graph.graph.inputs[0]: sample}
        for tensor, values in expected.items():
            matches = [found for other, found in seen if other == tensor and found.shape == values.shape]
            assert any(np.allclose(found, values, rtol=1e-5, atol=1e-6) for found in matches)
    if max_bytes == 2**30:
        assert runs == [inner]
    elif max_bytes == 1:
        assert runs == [[tensor] for tensor in inner]
    else:  # 8 channels of 6x8 float32 are 1,536 bytes
        assert [len(part) for part in runs] == [3, 3, 1]
    assert graph.graph.outputs == [inner[-1]]
    assert small_graphs.names(graph) == small_graphs.names(network())


def two_inputs(*shapes):
    b = Builder(*shapes)
    total = b.op("ADD", [b.op("MUL", [b.inputs[0], np.float32(2)]), b.inputs[1]])
    graph = b.finished(total)
    add_signature(graph, dict(zip("ab", b.inputs, strict=True)), {"y": total})
    return graph, total


def test_inputs_are_matched_by_rank_name_or_order():
    image, gain = small_graphs.images(1)[0], np.full((1, 3), 0.5, np.float32)
    graph, total = two_inputs((1, 3), (1, 6, 8, 3))  # the converter has exchanged them
    values = []
    for sample in ((image, gain), (gain, image), {"b": image, "a": gain}):
        assert {tensor: array.ndim for tensor, array in graph.by_tensor(sample).items()} == {0: 2, 1: 4}
        graph.visit([total, 0], [sample], lambda tensor, array: values.append((tensor, array.copy())))
    assert [tensor for tensor, _ in values] == [0, total] * 3
    for _, array in values[1::2]:
        np.testing.assert_allclose(array, image + 1, rtol=1e-6)

    graph, _ = two_inputs((1, 6, 8, 3), (1, 6, 8, 3))
    other = image + 1
    assert graph.by_tensor((image, other))[0] is image
    assert graph.by_tensor({"b": other, "a": image})[1] is other
    with pytest.raises(ValueError, match="shorter"):
        graph.by_tensor(image)


def test_replaced_tensors_in_outputs_and_signatures():
    graph = network()
    x, y = graph.ops[-2].outputs[0], graph.graph.outputs[0]
    add_signature(graph, {"image": graph.graph.inputs[0]}, {"sr": y})
    graph.ops.pop()
    graph.replace_uses(y, x)
    assert graph.graph.outputs == [x]
    parsed = flatbuffer.parse(graph.packed())
    assert parsed.outputs == list(parsed.output_names) == parsed.ops[-1].outputs
    assert parsed.output_names[parsed.outputs[0]] == "sr"
    assert parsed.input_names == {parsed.inputs[0]: "image"}


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        ("net_1/head_1/Relu;net_1/head_1/BiasAdd;x/y", "head"),
        ("net/block/conv_2/convolution", "conv_2"),
        ("PartitionedCall:0", "PartitionedCall:0"),
        ("", ""),
    ],
)
def test_layer_names(tensor, layer):
    graph = network()
    graph.graph.tensors[0].name = tensor.encode()
    assert graph.layer_name(0) == layer
    graph.graph.tensors[0].name = None
    assert graph.tensor_name(0) == ""


@pytest.mark.parametrize("shape", [(1, 6, 8, 3), (1, -1, -1, 3)], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"])
def test_a_bias_is_added(name, shape):
    """The runtime itself requires the bias of CONV_2D, and crashes without that of DEPTHWISE_CONV_2D."""
    if name == "TRANSPOSE_CONV" and -1 in shape:
        pytest.skip("its output has the size of a constant")
    b = Builder(shape)
    (x,) = b.inputs
    weights = b.constant(b.weights((6, 3, 3, 3)))
    if name == "TRANSPOSE_CONV":
        y = b.op(name, [b.ints([1, 12, 16, 6]), weights, x], strideH=2, strideW=2)
    elif name == "FULLY_CONNECTED":
        y = b.op(name, [x, b.weights((6, 3)), -1], keepNumDims=True)
    elif name == "CONV_2D":
        y = b.op(name, [x, weights], strideH=1, strideW=1)
    else:
        y = b.op(name, [x, b.weights((1, 3, 3, 6), 3)], strideH=1, strideW=1, depthMultiplier=2)
    graph = b.graph
    graph.graph.outputs, graph.graph.tensors[y].shapeSignature = [y], [1, -1, -1, -1]
    (image,) = small_graphs.images(1)
    without = small_graphs.run(graph, image)[0] if name in ("TRANSPOSE_CONV", "FULLY_CONNECTED") else None
    bias = graph.bias(graph.ops[0])
    np.testing.assert_array_equal(graph.constant(bias), np.zeros(6))
    assert graph.bias(graph.ops[0]) == bias  # the same one
    (zeros,) = small_graphs.run(graph, image)
    assert without is None or np.array_equal(zeros, without)
    values = np.arange(6, dtype=np.float32)
    graph.set_constant(bias, values)
    data = graph.packed()
    np.testing.assert_allclose(small_graphs.run(data, image)[0], zeros + values, rtol=1e-5, atol=1e-5)
    assert flatbuffer.parse(data).ops[0].version == (3 if name == "TRANSPOSE_CONV" else 1)
