"""The weights that .tflite files store: integers of 8-bit files, and the nearest ones of float files."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

POSITIONS = {schema.BuiltinOperator.CONV_2D: 1, schema.BuiltinOperator.TRANSPOSE_CONV: 1}  # input with the kernel


def kernels(data):
    """The kernels [C_out, k, k, C_in / groups] of the convolutions of all subgraphs, in their order; they may repeat."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    for graph in model.subgraphs:
        for op in graph.operators:
            position = POSITIONS.get(model.operatorCodes[op.opcodeIndex].builtinCode)
            tensor = None if position is None else graph.tensors[op.inputs[position]]
            values = None if tensor is None else model.buffers[tensor.buffer].data
            if values is not None:
                kind = np.int8 if tensor.type == schema.TensorType.INT8 else np.float32
                yield np.asarray(values, np.uint8).view(kind).reshape(tensor.shape)


def nearest(kernel, per_tensor=False):
    """(the nearest integers, distance of the weights from them), in steps of each output channel or of the whole kernel."""
    steps = np.abs(kernel).max(axis=None if per_tensor else (1, 2, 3), keepdims=True) / 127
    exact = kernel / np.maximum(steps, 1e-30)
    found = np.round(exact)
    return found.astype(np.int8), np.abs(exact - found)


def differing(float_data, integer_data, per_tensor=False):
    """How many different kernels of a float file are, rounded to nearest, none of those of an integer file."""
    stored = {kernel.tobytes() for kernel in kernels(integer_data)}
    return len({nearest(kernel, per_tensor)[0].tobytes() for kernel in kernels(float_data)} - stored)
