"""The order in which the parts of a cut product run. Needs no TensorFlow.

A runtime gives all operators that a delegate does not take and that are ready their turn before the delegate's: the gathers of
all parts of a convolution (converters/adadsr_sparse.py) would run first, and each product would read from memory what had
long left the cache. A file's metadata may hold control dependencies: pairs of operators of a subgraph, of which the second
waits for the first. The format is that of TensorFlow Lite's metadata_util.h: varints of a version, the number of subgraphs and
for each the number of pairs and their doubled numbers. Runtimes that do not know it run the file as well.
"""

METADATA = b"model_control_dependencies"
VERSION = 1


def order(model):
    """Add the metadata to a ModelT: the gather of each part of a product waits for the product of the part before.

    Parts are FULLY_CONNECTED operators with the same weights, which read a GATHER of the same tensor through a RESHAPE.
    """
    from ai_edge_litert import schema_py_generated as schema

    pairs = [_pairs(schema, model, subgraph) for subgraph in model.subgraphs]
    if any(pairs):
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = list(encode(pairs))
        entry.name, entry.buffer = METADATA, len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [*(model.metadata or []), entry]


def forget(model):
    """Take the metadata out of a ModelT whose operators are about to get other numbers."""
    model.metadata = [entry for entry in model.metadata or [] if entry.name != METADATA]


def _pairs(schema, model, subgraph):
    """[(number of a product, number of the gather that waits for it)]"""
    kinds = [model.operatorCodes[op.opcodeIndex].builtinCode for op in subgraph.operators]
    makers = {int(tensor): number for number, op in enumerate(subgraph.operators) for tensor in op.outputs}
    pairs, before = [], {}
    for number, op in enumerate(subgraph.operators):
        reshape = makers.get(int(op.inputs[0])) if kinds[number] == schema.BuiltinOperator.FULLY_CONNECTED else None
        if reshape is not None and kinds[reshape] == schema.BuiltinOperator.RESHAPE:
            gather = makers.get(int(subgraph.operators[reshape].inputs[0]))
            if gather is not None and kinds[gather] == schema.BuiltinOperator.GATHER:
                key = int(op.inputs[1]), int(subgraph.operators[gather].inputs[0])
                if key in before:
                    pairs.append((before[key], gather))
                before[key] = number
    return pairs


def encode(pairs):
    """The metadata's bytes from [[(first, second), for each pair] for each subgraph]."""
    numbers = [VERSION, len(pairs)]
    for of_subgraph in pairs:
        numbers += [len(of_subgraph), *(2 * number for pair in of_subgraph for number in pair)]
    encoded = bytearray()
    for number in numbers:
        while number > 127:
            encoded.append(number % 128 + 128)
            number //= 128
        encoded.append(number)
    return bytes(encoded)


def decode(encoded, operators):
    """The pairs that `encode` was given, for subgraphs with so many `operators` each. Raises: ValueError when damaged."""
    numbers, shift = [0], 0
    for byte in encoded:
        numbers[-1] |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(0)
            shift = 0
    if shift or numbers[:2] != [VERSION, len(operators)]:
        raise ValueError("control dependencies of another version or another file")
    found, at = [], 2
    for count in operators:
        length = numbers[at] if at < len(numbers) - 1 else 0
        flat = numbers[at + 1 : at + 1 + 2 * length]
        pairs = list(zip(flat[::2], flat[1::2], strict=False))
        if any(a % 2 or b % 2 or not a < b < 2 * count for a, b in pairs):
            raise ValueError("control dependencies between operators that are not there")
        found.append([(a // 2, b // 2) for a, b in pairs])
        at += 1 + 2 * length
    if at != len(numbers) - 1:
        raise ValueError("control dependencies that end too early or too late")
    return found
