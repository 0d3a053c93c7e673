"""The ONNX form of every supported TFLite operator."""

from __future__ import annotations

from mobile_sr.converters.qdq import elementwise, layers, moving
from mobile_sr.converters.qdq.static_graph import StaticOp
from mobile_sr.converters.qdq.writer import UnsupportedError, Writer

_OPERATORS = {**layers.OPERATORS, **elementwise.OPERATORS, **moving.OPERATORS}


def emit(writer: Writer, op: StaticOp) -> None:
    """Add the nodes of an operator.

    Raises:
        UnsupportedError: there is no ONNX form of the operator; the message names it.
    """
    if op.name not in _OPERATORS:
        raise UnsupportedError(f"operator {op.label} has no QDQ form in mobile-sr")
    _OPERATORS[op.name](writer, op)
