"""Converts an integer .tflite file to a QDQ ONNX file with the same scales, zero points and integer weights.

tf2onnx keeps the scales, but drops the DequantizeLinear and QuantizeLinear around operators that move values. An NPU then
leaves those to the CPU.
"""

from __future__ import annotations

from mobile_sr.converters.qdq import operators
from mobile_sr.converters.qdq.static_graph import StaticGraph
from mobile_sr.converters.qdq.writer import UnsupportedError, Writer
from mobile_sr.converters.tflite.flatbuffer import Graph, TFLiteFileError


def convert(data: bytes, shape: tuple[int, ...]) -> bytes:
    """Convert a uint8 or int8 .tflite file.

    Inputs and outputs have the order, the shapes (NHWC) and the integers of the .tflite. Signed ones become unsigned: their
    values and zero points are 128 more. The names are those of `end_names`.

    Args:
        data: bytes of the file, of which the first subgraph is converted.
        shape: shape of the image at which the file is fixed.

    Returns:
        The bytes of the ONNX file.

    Raises:
        ImportError: onnx is not installed.
        TFLiteFileError: the file is damaged.
        ValueError: an operator or type is not supported, which the message names, or the file does not run at this shape.
    """
    return convert_static(StaticGraph(data, shape))


def convert_static(static: StaticGraph) -> bytes:
    """Convert a file that was opened at its size. Returns and raises as `convert`."""
    writer = Writer(static)
    inputs, outputs = end_names(static.graph)
    for tensor, name in inputs.items():
        writer.add_input(tensor, name)
    for op in static.ops:
        try:
            operators.emit(writer, op)
        except TFLiteFileError as error:
            raise UnsupportedError(f"operator {op.label}: {error}") from None
    return writer.finish(inputs, outputs)


def end_names(graph: Graph) -> tuple[dict[int, str], dict[int, str]]:
    """Return ({input tensor: name}, {output tensor: name}) in the ONNX file of a .tflite.

    A single input is `lr`, a single output is `sr`. Several have the names of the file's signature, else numbers.
    """

    def names(tensors: list[int], own: dict[int, str], single: str, kind: str) -> dict[int, str]:
        if len(tensors) == 1:
            return {tensors[0]: single}
        return {tensor: own.get(tensor) or f"{kind}{k}" for k, tensor in enumerate(tensors)}

    inputs = names(graph.inputs, graph.input_names, "lr", "input")
    return inputs, names(graph.outputs, graph.output_names, "sr", "output")
