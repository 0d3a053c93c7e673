"""Reduces a .tflite to the form that compilers and accelerators accept: one subgraph with an image input of fixed shape."""

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


def first_subgraph_only(data: bytes) -> bytes:
    """Returns a copy of a .tflite with its first subgraph only, and without signatures.

    A file whose first subgraph calls others, such as AdaDSR's sparse form, is returned unchanged.

    Args:
        data: bytes that `flatbuffer.parse` accepts.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    if len(model.subgraphs) == 1 or flatbuffer.calls_subgraphs(flatbuffer.parse(data)):
        return data
    del model.subgraphs[1:]
    model.signatureDefs = model.metadata = None  # both refer to the other subgraphs, too
    return flatbuffer.pack(model)
