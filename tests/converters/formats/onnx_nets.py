"""Small ONNX networks for tests."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

node = helper.make_node


def floats(*shape, seed=0):
    """Random float32 numbers of this shape."""
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


def ints(*values):
    """A vector of int64."""
    return np.array(values, np.int64)


def save(path, nodes, constants, shape, opset=18, outputs=("y",)):
    """Write a network with the input x of this shape, None for a dynamic side; returns the path."""
    ends = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)]
    results = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "net", ends, results, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


def two_convolutions(*after, constants=None):
    """Nodes and constants of conv-relu-conv from x (3 channels) to c (12 channels), and of what follows."""
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r"]),
        node("Conv", ["r", "w2", "b2"], ["c"], pads=[1, 1, 1, 1]),
    ]
    weights = {"w1": floats(8, 3, 3, 3), "b1": floats(8), "w2": floats(12, 8, 3, 3, seed=1), "b2": floats(12, seed=2)}
    return [*nodes, *after], weights | (constants or {})
