"""Gives the image input of a .tflite a fixed shape, for compilers and accelerators that do not resize."""

from __future__ import annotations

from collections.abc import Sequence

from mobile_sr.converters.tflite import flatbuffer


def with_input_shape(data: bytes, index: int, shape: Sequence[int]) -> bytes:
    """Returns a copy of a .tflite whose first subgraph has one fixed input shape. Its signatures are removed.

    Shapes of other tensors stay as they are; runtimes infer them from the input when they allocate.

    Args:
        data: bytes that `flatbuffer.parse` accepts.
        index: tensor index of the input.
        shape: the shape.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    tensor = model.subgraphs[0].tensors[index]
    tensor.shape, tensor.shapeSignature = list(shape), None
    model.signatureDefs = None  # of other subgraphs, too
    return flatbuffer.pack(model)
