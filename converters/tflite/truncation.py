"""Truncates a .tflite graph: after each of its operators, to time layers without a profiler, or to a part of its outputs."""

from __future__ import annotations

from collections.abc import Iterator

from mobile_sr.converters.tflite import flatbuffer, op_order


def prefixes(data: bytes) -> Iterator[tuple[int, flatbuffer.Op, bytes]]:
    """Yield the prefixes of a .tflite file's first subgraph, shortest first. The last one computes the file's own outputs.

    The outputs of a prefix are all tensors that later operators or the whole graph still need. A delegate therefore finds no
    dead code to remove. Operators that read only constants (the DEQUANTIZE of float16 weights) do not end a prefix.

    Args:
        data: bytes that `flatbuffer.parse` accepts.

    Yields:
        (index of the last operator, that operator, bytes of the .tflite file that ends after it).
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = flatbuffer.parse(data)
    varying = set(graph.inputs)
    for index, op in enumerate(graph.ops):
        if varying.isdisjoint(op.inputs):
            continue
        varying |= set(op.outputs)
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        model.signatureDefs = None  # they name the outputs of the whole graph
        subgraph = model.subgraphs[0]
        subgraph.operators = subgraph.operators[: index + 1]
        subgraph.outputs = _outputs(graph, index + 1, varying)
        op_order.forget(model)
        yield index, op, flatbuffer.pack(model)


def ending_at(data: bytes, tensor: int) -> bytes:
    """Returns the .tflite file that computes only one tensor of a file's first subgraph, with the same tensor numbers.

    Args:
        data: bytes that `flatbuffer.parse` accepts.
        tensor: number of the tensor, its only output.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    model.signatureDefs = None  # they name the outputs of the whole graph
    subgraph = model.subgraphs[0]
    needed, kept = {tensor}, []
    for op in reversed(subgraph.operators):
        if needed & {int(i) for i in op.outputs}:
            needed |= {int(i) for i in op.inputs}
            kept.append(op)
    subgraph.operators, subgraph.outputs = kept[::-1], [tensor]
    op_order.forget(model)
    return flatbuffer.pack(model)


def _outputs(graph: flatbuffer.Graph, count: int, varying: set[int]) -> list[int]:
    if count == len(graph.ops):
        return list(graph.outputs)
    computed = [tensor for op in graph.ops[:count] for tensor in op.outputs]
    needed = {tensor for op in graph.ops[count:] for tensor in op.inputs} | set(graph.outputs)
    return [tensor for tensor in computed if tensor in needed & varying]
