"""Grouped convolutions of a .tflite as ordinary ones. Needs no TensorFlow.

A grouped CONV_2D has version 6, and with it every CONV_2D of its file, because one operator code serves them all. NNAPI's
delegate takes versions up to 5 and then refuses every convolution. With zeros between the groups the values are the same,
in 8 bits the same bytes, for more multiply-adds.
"""

import numpy as np

from mobile_sr.converters.tflite import flatbuffer

_DTYPES = {"FLOAT32": np.float32, "FLOAT16": np.float16, "INT8": np.int8}
# Versions of a CONV_2D without groups by the types of input and kernel; 1 for the others.
_PLAIN_VERSIONS = {("INT8", "INT8"): 3, ("INT16", "INT8"): 4, ("FLOAT32", "INT8"): 5}


def make_dense(data):
    """The bytes of a .tflite with the kernels [C_out, k, k, C_in / groups] of its CONV_2Ds as [C_out, k, k, C_in].

    Raises: ValueError when a kernel is of a type that no export of this project has.
    """
    from ai_edge_litert import schema_py_generated as schema

    names = flatbuffer.enum_names(schema.TensorType)
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    codes, done = {}, set()
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
            if int(op.inputs[1]) in makers:  # float16 kernels stand behind a DEQUANTIZE
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


def _dtype(name):
    if name not in _DTYPES:
        raise ValueError(f"a grouped convolution with a kernel of type {name}")
    return _DTYPES[name]


def _dense(kernel, channels):
    """[C_out, k, k, C_in / groups] -> [C_out, k, k, C_in], zeros between the groups (8-bit kernels have zero point 0)."""
    filters, *size, width = kernel.shape
    groups = channels // width
    dense = np.zeros((filters, *size, channels), kernel.dtype)
    for group in range(groups):
        rows = slice(group * filters // groups, (group + 1) * filters // groups)
        dense[rows, ..., group * width : (group + 1) * width] = kernel[rows]
    return dense
