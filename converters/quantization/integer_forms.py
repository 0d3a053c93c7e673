"""Replaces operators that the quantizer leaves in float by others that it supports in 8 bits. Normalizations contain them."""

from __future__ import annotations

import numpy as np

from mobile_sr.converters.quantization.float_graph import FloatGraph


def rewrite(graph: FloatGraph) -> int:
    """Replace NEG by a product with -1, and SQUARE by a product with itself, in place. Returns how many were replaced.

    Those of integers, in the arithmetic of dynamic sizes, stay.
    """
    from ai_edge_litert import schema_py_generated as schema

    replaced = [op for op in graph.ops if graph.name(op) in ("NEG", "SQUARE") and graph.is_float(op.inputs[0])]
    for op in replaced:
        x, y = op.inputs[0], op.outputs[0]
        other = x if graph.name(op) == "SQUARE" else graph.add_constant(f"{graph.tensor_name(y)}/minus_1", _MINUS_ONE)
        position = next(k for k, candidate in enumerate(graph.ops) if candidate is op)
        graph.ops.remove(op)
        graph.add_op(position, "MUL", [x, other], [y], schema.MulOptionsT())
    return len(replaced)


_MINUS_ONE = np.array([-1], np.float32)
