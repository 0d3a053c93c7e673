"""Replaces grouped convolutions of a .tflite file by ordinary ones. Needs no TensorFlow.

A grouped CONV_2D has version 6. All CONV_2D operators of the file then have this version, because they share one operator
code. The NNAPI delegate supports versions up to 5 and therefore refuses every convolution of such a file. With zeros between
the groups the values are the same (in 8 bits the same bytes), at the cost of more multiply-adds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mobile_sr.converters.tflite import flatbuffer

_DTYPES = {"FLOAT32": np.float32, "FLOAT16": np.float16, "INT8": np.int8}
# Versions of a CONV_2D without groups by (input type, kernel type); 1 for all others.
_PLAIN_VERSIONS = {("INT8", "INT8"): 3, ("INT16", "INT8"): 4, ("FLOAT32", "INT8"): 5}


def has_groups(data: bytes) -> bool:
    """Whether a .tflite file has a grouped CONV_2D."""
    graph = flatbuffer.parse(data)
    return any(
        op.name == "CONV_2D" and graph.tensors[op.inputs[1]].shape[-1] != graph.tensors[op.inputs[0]].shape[-1]
        for op in graph.ops
    )


def make_dense(data: bytes) -> bytes:
    """Expand the kernels of all grouped CONV_2D from [C_out, k, k, C_in / groups] to [C_out, k, k, C_in].

    Args:
        data: bytes of a .tflite file.

    Returns:
        The bytes of the changed file.

    Raises:
        ValueError: a kernel is neither float32, float16 nor int8.
    """
    from ai_edge_litert import schema_py_generated as schema

    names = flatbuffer.enum_names(schema.TensorType)
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    codes: dict[int, set[int]] = {}
    done: set[int] = set()
    for subgraph in model.subgraphs:
        makers = {int(tensor): op for op in subgraph.operators for tensor in op.outputs}
        for op in subgraph.operators:
            if model.operatorCodes[op.opcodeIndex].builtinCode != schema.BuiltinOperator.CONV_2D:
                continue
            image, kernel = (subgraph.tensors[i] for i in op.inputs[:2])
            codes.setdefault(op.opcodeIndex, set()).add(_PLAIN_VERSIONS.get((names[image.type], names[kernel.type]), 1))
            channels = int(image.shape[-1])
            if int(kernel.shape[-1]) == channels:
                continue
            stored = kernel
            if int(op.inputs[1]) in makers:  # float16 kernels are read through a DEQUANTIZE
                stored = subgraph.tensors[makers[int(op.inputs[1])].inputs[0]]
            buffer = model.buffers[stored.buffer]
            if stored.buffer not in done:
                done.add(stored.buffer)
                values = np.frombuffer(bytes(buffer.data), _dtype(names[stored.type])).reshape(stored.shape)
                buffer.data = np.frombuffer(_dense(values, channels).tobytes(), np.uint8)
            for tensor in (kernel, stored):
                tensor.shape = [*map(int, tensor.shape[:-1]), channels]
    for index, versions in codes.items():
        model.operatorCodes[index].version = max(versions)
    return flatbuffer.pack(model)


def _dtype(name: str) -> Any:
    if name not in _DTYPES:
        raise ValueError(f"grouped convolution with a kernel of type {name}; supported are {', '.join(_DTYPES)}")
    return _DTYPES[name]


def _dense(kernel: np.ndarray, channels: int) -> np.ndarray:
    """[C_out, k, k, C_in / groups] -> [C_out, k, k, C_in], zeros between the groups (8-bit kernels have zero point 0)."""
    filters, *size, width = kernel.shape
    groups = channels // width
    dense = np.zeros((filters, *size, channels), kernel.dtype)
    for group in range(groups):
        rows = slice(group * filters // groups, (group + 1) * filters // groups)
        dense[rows, ..., group * width : (group + 1) * width] = kernel[rows]
    return dense
