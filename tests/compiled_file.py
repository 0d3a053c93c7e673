"""Makes files that look as if they were compiled for a chip."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mobile_sr.converters.tflite import flatbuffer


def compiled(data, chip, size=None):
    """A .tflite as LiteRT's compiler leaves it, without code for the chip: one operator, and the stamp.

    Args:
        data: bytes of an ordinary file with one graph.
        chip: such as 'SM8650'.
        size: (height, width) of its image input, None to leave it.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    [graph] = model.subgraphs
    for tensor in graph.tensors if size else ():
        tensor.shapeSignature = None
    if size:
        graph.tensors[graph.inputs[0]].shape = [1, *size, 3]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = b"DISPATCH_OP"
    model.operatorCodes = [code]
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, graph.inputs, graph.outputs
    graph.operators = [operator]
    stamp, buffer = schema.MetadataT(), schema.BufferT()
    stamp.name, stamp.buffer = b"LiteRtStamp", len(model.buffers)
    buffer.data = np.frombuffer(b"Qualcomm".ljust(125, b"\0") + chip.encode().ljust(125, b"\0"), np.uint8)
    model.buffers.append(buffer)
    model.metadata = [stamp]
    return flatbuffer.pack(model)
