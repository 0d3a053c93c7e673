"""Merges several .tflite files into one with a signature for each, storing equal constants once. Needs no TensorFlow."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mobile_sr.converters.tflite import flatbuffer, op_order

DEFAULT = "serving_default"  # signature that runtimes and apps run unless another one is chosen

# Fields of operator options that hold the index of a subgraph.
_CALLS = ("thenSubgraphIndex", "elseSubgraphIndex", "condSubgraphIndex", "bodySubgraphIndex", "initSubgraphIndex", "subgraph")


def merge(parts: Mapping[str, bytes], outputs: Sequence[str], has_default: bool = False) -> bytes:
    """Merge several .tflite files into one file with a signature for each.

    A constant is stored once, whatever its shape: the [C, 3, 3, C] kernel of a convolution and the [C, 9 * C] kernel of the
    corresponding FULLY_CONNECTED are the same bytes. Inner tensors of all parts but the first lose their names, which would
    take much space.

    Args:
        parts: {name of the signature: bytes of a .tflite file}. The signature refers to the first subgraph of the part.
        outputs: names of the outputs, in their order. Inputs keep their names.
        has_default: whether the first part is also the signature DEFAULT, which then comes before all others.

    Returns:
        The bytes of the merged file.
    """
    from ai_edge_litert import schema_py_generated as schema

    merged = schema.ModelT()
    merged.version, merged.description = 3, "mobile-sr"
    merged.operatorCodes, merged.subgraphs, merged.signatureDefs = [], [], []
    merged.buffers = [schema.BufferT()]
    buffer_of = {b"": 0}  # index of the buffer with these bytes
    for name, data in parts.items():
        part = schema.ModelT.InitFromPackedBuf(data, 0)
        buffers = {}
        for subgraph in part.subgraphs:
            used = {int(i) for op in subgraph.operators for i in op.inputs}
            for index, tensor in enumerate(subgraph.tensors):
                constant = part.buffers[tensor.buffer].data if index in used else None
                key = b"" if constant is None else bytes(constant)
                if key not in buffer_of:
                    buffer_of[key] = len(merged.buffers)
                    merged.buffers.append(part.buffers[tensor.buffer])
                buffers[id(tensor)] = buffer_of[key]
        codes = [_code(merged, code) for code in part.operatorCodes]
        first = len(merged.subgraphs)
        for subgraph in part.subgraphs:
            inputs_and_outputs = {int(i) for i in (*subgraph.inputs, *subgraph.outputs)}
            for index, tensor in enumerate(subgraph.tensors):
                tensor.buffer = buffers[id(tensor)]
                if merged.signatureDefs and index not in inputs_and_outputs:
                    tensor.name = None
            for op in subgraph.operators:
                op.opcodeIndex = codes[op.opcodeIndex]
                for field in _CALLS:
                    if hasattr(op.builtinOptions, field):
                        setattr(op.builtinOptions, field, getattr(op.builtinOptions, field) + first)
            subgraph.name = f"{name}_{(subgraph.name or b'').decode()}"
        merged.subgraphs += part.subgraphs
        merged.signatureDefs.append(_signature(schema, name, first, part, outputs))
    if has_default:
        default = copy.copy(merged.signatureDefs[0])
        default.signatureKey = DEFAULT
        merged.signatureDefs.insert(0, default)
    op_order.order(merged)
    return flatbuffer.pack(merged)


def constant_bytes(data: bytes) -> int:
    """Count the bytes of a .tflite file that are constants: weights, shapes, indices."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(data, 0)
    return sum(model.Buffers(i).DataLength() for i in range(model.BuffersLength()))


def kernels(data: bytes) -> int:
    """Count the different kernels of convolutions that a .tflite file stores, in all of its subgraphs together."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    return len(
        {
            subgraph.tensors[op.inputs[1]].buffer
            for subgraph in model.subgraphs
            for op in subgraph.operators
            if codes[op.opcodeIndex] == schema.BuiltinOperator.CONV_2D
        }
    )


def _code(merged: Any, code: Any) -> int:
    """Index of an operator code in `merged`, to which it is added if missing."""

    def key(code):
        return code.builtinCode, code.deprecatedBuiltinCode, code.customCode, code.version

    known = [key(other) for other in merged.operatorCodes]
    if key(code) not in known:
        merged.operatorCodes.append(code)
        known.append(key(code))
    return known.index(key(code))


def _signature(schema: Any, name: str, index: int, part: Any, outputs: Sequence[str]) -> Any:
    subgraph, ordered = part.subgraphs[0], [int(i) for i in part.subgraphs[0].outputs]
    if part.signatureDefs:  # Keras names them output_0, output_1
        ordered = [int(entry.tensorIndex) for entry in sorted(part.signatureDefs[0].outputs, key=lambda entry: entry.name)]

    def tensor_map(tensor, name):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, int(tensor)
        return entry

    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = name, index
    names = [subgraph.tensors[i].name.decode().removeprefix("serving_default_").removesuffix(":0") for i in subgraph.inputs]
    signature.inputs = [tensor_map(*pair) for pair in zip(subgraph.inputs, names, strict=True)]
    signature.outputs = [tensor_map(*pair) for pair in zip(ordered, outputs, strict=True)]
    return signature
