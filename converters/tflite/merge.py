"""Several .tflite files as the signatures of one, whose equal constants are stored once. Needs no TensorFlow."""

from mobile_sr.converters.tflite import flatbuffer, op_order

# Fields of operators' options that name subgraphs.
_CALLS = ("thenSubgraphIndex", "elseSubgraphIndex", "condSubgraphIndex", "bodySubgraphIndex", "initSubgraphIndex", "subgraph")


def merge(parts, outputs):
    """One file with a signature for each of several.

    A constant is stored once whatever its shape: the [C, 3, 3, C] kernel of a convolution and the same as the [C, 9 * C] one of
    a FULLY_CONNECTED are the same bytes. Inner tensors of all but the first part lose their names, which take much room.

    Args:
        parts: {name of the signature: bytes of a .tflite}; its first subgraph and those that this calls are taken.
        outputs: names of the outputs, in their order. Inputs keep their names.
    Returns: bytes.
    """
    from ai_edge_litert import schema_py_generated as schema

    whole = schema.ModelT()
    whole.version, whole.description = 3, "mobile-sr"
    whole.operatorCodes, whole.subgraphs, whole.signatureDefs = [], [], []
    whole.buffers, places = [schema.BufferT()], {b"": 0}
    for name, data in parts.items():
        part = schema.ModelT.InitFromPackedBuf(data, 0)
        buffers = {}
        for subgraph in part.subgraphs:
            used = {int(i) for op in subgraph.operators for i in op.inputs}
            for index, tensor in enumerate(subgraph.tensors):
                data = part.buffers[tensor.buffer].data if index in used else None
                key = b"" if data is None else bytes(data)
                if key not in places:
                    places[key] = len(whole.buffers)
                    whole.buffers.append(part.buffers[tensor.buffer])
                buffers[id(tensor)] = places[key]
        codes = [_code(whole, code) for code in part.operatorCodes]
        first = len(whole.subgraphs)
        for subgraph in part.subgraphs:
            ends = {int(i) for i in (*subgraph.inputs, *subgraph.outputs)}
            for index, tensor in enumerate(subgraph.tensors):
                tensor.buffer = buffers[id(tensor)]
                if whole.signatureDefs and index not in ends:
                    tensor.name = None
            for op in subgraph.operators:
                op.opcodeIndex = codes[op.opcodeIndex]
                for field in _CALLS:
                    if hasattr(op.builtinOptions, field):
                        setattr(op.builtinOptions, field, getattr(op.builtinOptions, field) + first)
            subgraph.name = f"{name}_{(subgraph.name or b'').decode()}"
        whole.subgraphs += part.subgraphs
        whole.signatureDefs.append(_signature(schema, name, first, part, outputs))
    op_order.order(whole)
    return flatbuffer.pack(whole)


def constant_bytes(data):
    """How many bytes of a .tflite are constants: weights, shapes, indices."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(data, 0)
    return sum(model.Buffers(i).DataLength() for i in range(model.BuffersLength()))


def _code(whole, code):
    """The place of an operator code in `whole`, added where it is not there yet."""

    def key(code):
        return code.builtinCode, code.deprecatedBuiltinCode, code.customCode, code.version

    known = [key(other) for other in whole.operatorCodes]
    if key(code) not in known:
        whole.operatorCodes.append(code)
        known.append(key(code))
    return known.index(key(code))


def _signature(schema, name, index, part, outputs):
    subgraph, ordered = part.subgraphs[0], [int(i) for i in part.subgraphs[0].outputs]
    if part.signatureDefs:  # Keras calls them output_0, output_1
        ordered = [int(end.tensorIndex) for end in sorted(part.signatureDefs[0].outputs, key=lambda end: end.name)]

    def end(tensor, name):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, int(tensor)
        return entry

    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = name, index
    names = [subgraph.tensors[i].name.decode().removeprefix("serving_default_").removesuffix(":0") for i in subgraph.inputs]
    signature.inputs = [end(*pair) for pair in zip(subgraph.inputs, names, strict=True)]
    signature.outputs = [end(*pair) for pair in zip(ordered, outputs, strict=True)]
    return signature
