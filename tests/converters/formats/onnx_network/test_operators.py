"""The operator table: each form emitted in TensorFlow gives ONNX Runtime's values, at two sizes. No conversion to .tflite."""

import numpy as np
import pytest

from mobile_sr.converters.formats.float_model import FormatError
from mobile_sr.converters.formats.onnx_network import graph as graphs
from mobile_sr.converters.formats.onnx_network import rewrites
from mobile_sr.converters.formats.verification import sample
from tests.converters.formats.onnx_nets import floats, ints, node, save


def check(tmp_path, nodes, constants=None, shape=(1, 3, None, None), opset=18, sizes=((16, 24), (24, 40), (12, 20))):
    """Compare the output y, an NCHW image, of nodes that read x; returns the operator types after the rewrites."""
    import tensorflow as tf

    from mobile_sr.converters.formats.onnx_network.emitter import Emitter
    from mobile_sr.converters.formats.onnx_network.operators import OPERATORS

    graph = graphs.read(save(tmp_path / "n.onnx", nodes, constants or {}, shape, opset), None)
    rewrites.rewrite(graph)
    needed = rewrites.needed(graph, "y")
    for height, width in sizes:
        lr = 2 * sample(height, width, 3) - 1
        (expected,) = graph.run(lr.transpose(0, 3, 1, 2))
        result = Emitter(graph, tf).run(needed, OPERATORS, tf.constant(lr), "y", "NCHW")
        np.testing.assert_allclose(np.asarray(result), expected.transpose(0, 2, 3, 1), rtol=1e-5, atol=2e-6)
    return [n.op for n in needed]


PLAIN = ("Relu", "Sigmoid", "Tanh", "Erf", "Abs", "Neg", "Exp", "Elu", "HardSwish", "HardSigmoid", "Mish", "Softplus")
UNARY = {**{name: {} for name in PLAIN}, "LeakyRelu": {"alpha": 0.2}, "Identity": {}}


@pytest.mark.parametrize("name", UNARY)
def test_activations(name, tmp_path):
    check(tmp_path, [node(name, ["x"], ["y"], **UNARY[name])])


def test_hard_sigmoid_of_pytorch(tmp_path):
    check(tmp_path, [node("HardSigmoid", ["x"], ["y"], alpha=1 / 6, beta=0.5)])


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.5), (0.0, 6.0), (-0.3, None), (None, 0.3)])
def test_clip(low, high, tmp_path):
    limits = {"lo": low, "hi": high}
    constants = {name: np.float32(value) for name, value in limits.items() if value is not None}
    check(tmp_path, [node("Clip", ["x", *(name if name in constants else "" for name in limits)], ["y"])], constants)


def test_clip_of_old_operator_sets(tmp_path):
    check(tmp_path, [node("Clip", ["x"], ["y"], min=0.1, max=0.4)], opset=9)


@pytest.mark.parametrize("slope", [(3, 1, 1), (1,)])
def test_prelu(slope, tmp_path):
    check(tmp_path, [node("PRelu", ["x", "s"], ["y"])], {"s": floats(*slope)})


@pytest.mark.parametrize("name", ["Add", "Sub", "Mul", "Div", "Max", "Min"])
def test_arithmetic(name, tmp_path):
    nodes = [node("Sigmoid", ["x"], ["s"]), node(name, ["x", "c"], ["z"]), node(name, ["z", "s"], ["y"])]
    check(tmp_path, nodes, {"c": 1 + np.abs(floats(3, 1, 1))})


def test_sum_of_three(tmp_path):
    check(tmp_path, [node("Sum", ["x", "x", "one"], ["y"])], {"one": np.float32(1)})


@pytest.mark.parametrize("approximate", [False, True])
def test_gelu_in_parts(approximate, tmp_path):
    """Its nodes become one; a factor of another size stays an Erf."""
    factor = 2.0 if approximate else 2**0.5
    nodes = [
        node("Div", ["x", "r"], ["a"]),
        node("Erf", ["a"], ["b"]),
        node("Add", ["one", "b"], ["c"]),
        node("Mul", ["half", "c"], ["d"]),
        node("Mul", ["x", "d"], ["y"]),
    ]
    constants = {"r": np.float32(factor), "one": np.float32(1), "half": np.float32(0.5)}
    assert (check(tmp_path, nodes, constants) == ["Gelu"]) is not approximate


def test_channel_attention(tmp_path):
    """Pooled vectors through Flatten, Gemm and Unsqueeze, back to the image."""
    nodes = [
        node("GlobalAveragePool", ["x"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "w", "b"], ["e"], transB=1, alpha=0.5),
        node("MatMul", ["e", "m"], ["k"]),
        node("Unsqueeze", ["k", "axes"], ["u"]),
        node("Mul", ["x", "u"], ["y"]),
    ]
    check(tmp_path, nodes, {"w": floats(4, 3), "b": floats(4), "m": floats(4, 3, seed=1), "axes": ints(2, 3)})


def test_normalizations(tmp_path):
    nodes = [
        node("BatchNormalization", ["x", "s", "b", "m", "v"], ["n"], epsilon=1e-3),
        node("InstanceNormalization", ["n", "s", "b"], ["i"]),
        node("Transpose", ["i"], ["t"], perm=[0, 2, 3, 1]),
        node("LayerNormalization", ["t", "s", "b"], ["l"], axis=-1),
        node("Transpose", ["l"], ["y"], perm=[0, 3, 1, 2]),
    ]
    constants = {"s": floats(3), "b": floats(3, seed=1), "m": floats(3, seed=2), "v": np.abs(floats(3, seed=3)) + 0.1}
    check(tmp_path, nodes, constants)


def test_reductions_and_softmax(tmp_path):
    nodes = [
        node("ReduceMean", ["x", "spatial"], ["a"]),
        node("ReduceMax", ["x", "channels"], ["b"]),
        node("ReduceSum", ["x", "channels"], ["k"], keepdims=0),
        node("Unsqueeze", ["k", "one"], ["c"]),
        node("Softmax", ["x"], ["d"], axis=1),
        node("Mul", ["a", "b"], ["e"]),
        node("Sub", ["d", "e"], ["y"]),
    ]
    check(tmp_path, [n for n in nodes if n.output[0] not in "kc"], {"spatial": ints(2, 3), "channels": ints(1)})


def test_concat_split_and_slice(tmp_path):
    nodes = [
        node("Concat", ["x", "x"], ["c"], axis=1),
        node("Split", ["c", "sizes"], ["a", "b"], axis=1),
        node("Slice", ["b", "starts", "ends", "axes", "steps"], ["s"]),
        node("Slice", ["x", "starts", "far", "axes", "ones"], ["t"]),
        node("Slice", ["t", "zero", "minus", "last"], ["y"]),
    ]
    constants = {"sizes": ints(2, 4), "starts": ints(1, 2), "ends": ints(3, 2**40), "axes": ints(1, -2), "steps": ints(1, 2)}
    constants |= {"far": ints(2**40, -1), "ones": ints(1, 1), "zero": ints(0), "minus": ints(-3), "last": ints(3)}
    check(tmp_path, nodes, constants)
    check(tmp_path, [*nodes[:3], node("Identity", ["s"], ["y"])], constants)


def test_crop_to_a_size_that_is_computed(tmp_path):
    """x[:, :, :H - 2], with H from Shape; and a Pad of the same form."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "two"], ["height"]),
        node("Sub", ["height", "cut"], ["end"]),
        node("Slice", ["x", "zero", "end", "axis"], ["y"]),
    ]
    check(tmp_path, nodes, {"two": ints(2), "cut": ints(2), "zero": ints(0), "axis": ints(2)})


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode, tmp_path):
    nodes = [
        node("Concat", ["x"] * 4, ["c"], axis=1),
        node("Mul", ["c", "k"], ["m"]),
        node("DepthToSpace", ["m"], ["y"], blocksize=2, mode=mode),
    ]
    check(tmp_path, nodes, {"k": floats(12, 1, 1)})


def test_space_to_depth(tmp_path):
    check(tmp_path, [node("SpaceToDepth", ["x"], ["y"], blocksize=2)])


def _shapes_from_size(*nodes):
    """Nodes that compute `hw` = (H, W) of x, followed by others."""
    return [node("Shape", ["x"], ["shape"]), node("Slice", ["shape", "two", "four"], ["hw"]), *nodes]


def test_pixel_shuffle_of_computed_shapes(tmp_path):
    """torch.nn.PixelShuffle of dynamic size: Reshape, Transpose, Reshape, with shapes from Shape."""
    nodes = _shapes_from_size(
        node("Concat", ["x"] * 4, ["c"], axis=1),
        node("Mul", ["c", "k"], ["m"]),
        node("Concat", ["head", "hw"], ["inner"], axis=0),
        node("Mul", ["hw", "scale"], ["hw2"]),
        node("Concat", ["image", "hw2"], ["outer"], axis=0),
        node("Reshape", ["m", "inner"], ["six"]),
        node("Transpose", ["six"], ["moved"], perm=[0, 1, 4, 2, 5, 3]),
        node("Reshape", ["moved", "outer"], ["y"]),
    )
    constants = {"k": floats(12, 1, 1), "two": ints(2), "four": ints(4), "scale": ints(2)}
    constants |= {"head": ints(1, 3, 2, 2), "image": ints(1, 3)}
    assert "Shuffle" in check(tmp_path, nodes, constants)


@pytest.mark.parametrize(
    ("inner", "permutation", "outer"),
    [
        ([1, 3, 8, 2, 12, 2], [0, 1, 3, 5, 2, 4], [1, 12, 8, 12]),  # torch.nn.PixelUnshuffle
        ([1, 3, 8, 2, 12, 2], [0, 3, 5, 1, 2, 4], [1, 12, 8, 12]),  # tf.nn.space_to_depth
        ([1, 1, 3, 16, 24], [0, 2, 1, 3, 4], [1, 3, 16, 24]),  # moves nothing
    ],
)
def test_other_shuffles(inner, permutation, outer, tmp_path):
    nodes = [
        node("Reshape", ["x", "inner"], ["a"]),
        node("Transpose", ["a"], ["b"], perm=permutation),
        node("Reshape", ["b", "outer"], ["y"]),
    ]
    ops = check(tmp_path, nodes, {"inner": ints(*inner), "outer": ints(*outer)}, (1, 3, 16, 24), sizes=[(16, 24)])
    assert ops == ["Shuffle"]


def test_channel_shuffle_and_repeated_channels(tmp_path):
    """torch.repeat_interleave as Unsqueeze, Expand and Reshape is one selection of channels."""
    nodes = [
        node("Unsqueeze", ["x", "two"], ["u"]),
        node("Expand", ["u", "five"], ["e"]),
        node("Reshape", ["e", "outer"], ["y"]),
    ]
    constants = {"two": ints(2), "five": ints(1, 3, 4, 16, 24), "outer": ints(1, 12, 16, 24)}
    assert check(tmp_path, nodes, constants, (1, 3, 16, 24), sizes=[(16, 24)]) == ["Shuffle"]


def test_tile(tmp_path):
    check(tmp_path, [node("Sigmoid", ["x"], ["s"]), node("Tile", ["s", "n"], ["y"])], {"n": ints(1, 1, 2, 2)})


def test_what_depends_on_the_remainder_of_the_size(tmp_path):
    """Padding to a multiple of 8: nothing at the sizes that are multiples."""
    nodes = _shapes_from_size(
        node("Mod", ["hw", "eight"], ["rest"]),
        node("Concat", ["zeros", "rest"], ["pads"], axis=0),
        node("Pad", ["x", "pads"], ["y"], name="here"),
    )
    constants = {"two": ints(2), "four": ints(4), "eight": ints(8), "zeros": ints(0, 0, 0, 0, 0, 0)}
    with pytest.raises(FormatError, match="operator Pad .node here. depends on the image size"):
        check(tmp_path, nodes, constants)


def test_names_what_depends_on_the_size(tmp_path):
    nodes = _shapes_from_size(node("Concat", ["flat", "hw"], ["s"], axis=0), node("Reshape", ["x", "s"], ["y"], name="here"))
    with pytest.raises(FormatError, match="operator Reshape .node here. depends on the image size; give a fixed size with --h"):
        check(tmp_path, nodes, {"two": ints(2), "four": ints(4), "flat": ints(3)})


def test_names_an_unknown_operator(tmp_path):
    with pytest.raises(FormatError, match="operator ThresholdedRelu .node here. is not supported; export the network as .tfl"):
        check(tmp_path, [node("ThresholdedRelu", ["x"], ["y"], name="here")])
