"""Control dependencies that fix the order in which the parts of a split product run. Needs no TensorFlow.

A runtime runs all operators that are ready and that the delegate does not support before those of the delegate. The gathers of
all parts of a convolution (mobile_sr/adadsr/sparse_form.py) would run first, and each product would read its input from memory
after it has left the cache.

Control dependencies in a file's metadata prevent this: pairs of operators of a subgraph, of which the second waits for the
first. The format is that of TensorFlow Lite's metadata_util.h: varints of a version, the number of subgraphs and, for each
subgraph, the number of pairs and the doubled operator numbers. Runtimes that do not know the metadata ignore it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

METADATA = b"model_control_dependencies"
VERSION = 1


def order(model: schema.ModelT) -> None:
    """Add control dependencies to a model: the gather of each part of a product waits for the product of the previous part.

    Parts are FULLY_CONNECTED operators that have the same weights and read a GATHER of the same tensor through a RESHAPE.

    Args:
        model: the ModelT, which is changed.
    """
    from ai_edge_litert import schema_py_generated as schema

    pairs = [_pairs(schema, model, subgraph) for subgraph in model.subgraphs]
    if any(pairs):
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = list(encode(pairs))
        entry.name, entry.buffer = METADATA, len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [*(model.metadata or []), entry]


def forget(model: schema.ModelT) -> None:
    """Remove the control dependencies from a ModelT, before its operators are renumbered."""
    model.metadata = [entry for entry in model.metadata or [] if entry.name != METADATA]


def _pairs(schema: Any, model: Any, subgraph: Any) -> list[tuple[int, int]]:
    """[(number of a product, number of the gather that waits for it)]."""
    kinds = [model.operatorCodes[op.opcodeIndex].builtinCode for op in subgraph.operators]
    makers = {int(tensor): number for number, op in enumerate(subgraph.operators) for tensor in op.outputs}
    pairs: list[tuple[int, int]] = []
    previous: dict[tuple[int, int], int] = {}  # product of the part before, by weights and gathered tensor
    for number, op in enumerate(subgraph.operators):
        reshape = makers.get(int(op.inputs[0])) if kinds[number] == schema.BuiltinOperator.FULLY_CONNECTED else None
        if reshape is not None and kinds[reshape] == schema.BuiltinOperator.RESHAPE:
            gather = makers.get(int(subgraph.operators[reshape].inputs[0]))
            if gather is not None and kinds[gather] == schema.BuiltinOperator.GATHER:
                key = int(op.inputs[1]), int(subgraph.operators[gather].inputs[0])
                if key in previous:
                    pairs.append((previous[key], gather))
                previous[key] = number
    return pairs


def encode(pairs: Sequence[Sequence[tuple[int, int]]]) -> bytes:
    """Return the bytes of the metadata.

    Args:
        pairs: for each subgraph, the (first operator, operator that waits for it) pairs.
    """
    numbers = [VERSION, len(pairs)]
    for subgraph_pairs in pairs:
        numbers += [len(subgraph_pairs), *(2 * number for pair in subgraph_pairs for number in pair)]
    encoded = bytearray()
    for number in numbers:
        while number > 127:
            encoded.append(number % 128 + 128)
            number //= 128
        encoded.append(number)
    return bytes(encoded)


def decode(encoded: bytes, operators: Sequence[int]) -> list[list[tuple[int, int]]]:
    """Return the pairs that were given to `encode`.

    Args:
        encoded: bytes of the metadata.
        operators: number of operators of each subgraph.

    Raises:
        ValueError: the bytes are damaged or belong to another file.
    """
    numbers, shift = [0], 0
    for byte in encoded:
        numbers[-1] |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(0)
            shift = 0
    if shift or numbers[:2] != [VERSION, len(operators)]:
        raise ValueError("control dependencies are of another version or another file")
    result, at = [], 2
    for count in operators:
        length = numbers[at] if at < len(numbers) - 1 else 0
        flat = numbers[at + 1 : at + 1 + 2 * length]
        pairs = list(zip(flat[::2], flat[1::2], strict=False))
        if any(a % 2 or b % 2 or not a < b < 2 * count for a, b in pairs):
            raise ValueError("control dependencies name operators that do not exist")
        result.append([(a // 2, b // 2) for a, b in pairs])
        at += 1 + 2 * length
    if at != len(numbers) - 1:
        raise ValueError("control dependencies are too short or too long")
    return result
