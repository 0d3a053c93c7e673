"""Cutting a .tflite graph after each of its operators, to time layers where the runtime has no profiler."""

from mobile_sr.converters.tflite import flatbuffer, op_order


def prefixes(data):
    """The prefixes of a .tflite file's first subgraph, shortest first; the last one computes the file's own outputs.

    A prefix has as outputs all tensors that later operators or the whole graph still need, so that nothing in it is dead
    code that a delegate could leave out. Operators on constants alone (the DEQUANTIZE of float16 weights) end no prefix.

    Args:
        data: bytes that `tflite_file.parse` accepts.
    Yields: (index of the last operator, its tflite_file.Op, bytes of the .tflite that ends after it).
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = flatbuffer.parse(data)
    varying = set(graph.inputs)
    for index, op in enumerate(graph.ops):
        if varying.isdisjoint(op.inputs):
            continue
        varying |= set(op.outputs)
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        model.signatureDefs = None  # they name the whole graph's outputs
        subgraph = model.subgraphs[0]
        subgraph.operators = subgraph.operators[: index + 1]
        subgraph.outputs = _outputs(graph, index + 1, varying)
        op_order.forget(model)
        yield index, op, flatbuffer.pack(model)


def _outputs(graph, count, varying):
    if count == len(graph.ops):
        return list(graph.outputs)
    made = [tensor for op in graph.ops[:count] for tensor in op.outputs]
    needed = {tensor for op in graph.ops[count:] for tensor in op.inputs} | set(graph.outputs)
    return [tensor for tensor in made if tensor in needed & varying]
