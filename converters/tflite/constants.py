"""Reads the constants of a .tflite file as real numbers: weights, biases, slopes. Needs no TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mobile_sr.converters.tflite.flatbuffer import Graph, Op, TFLiteFileError

_DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in ("float16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
}
# {operator with a bias: indices of its input, its weights and its bias}.
BIASED = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}


class Constants:
    """The constant tensors of a file's first subgraph."""

    def __init__(self, data: bytes, graph: Graph) -> None:
        """Open a file.

        Args:
            data: bytes of the .tflite file.
            graph: `flatbuffer.parse` of the same bytes.
        """
        from ai_edge_litert import schema_py_generated as schema

        self._model = schema.Model.GetRootAs(data, 0)
        self._subgraph = self._model.Subgraphs(0)
        self._graph = graph
        self._sources = {  # weights that a float16 file unpacks before use
            op.outputs[0]: op.inputs[0]
            for op in graph.ops
            if op.name == "DEQUANTIZE" and op.inputs[0] >= 0 and graph.tensors[op.inputs[0]].constant
        }

    def is_constant(self, index: int) -> bool:
        """Whether a tensor is constant, or a constant unpacked by a DEQUANTIZE."""
        return index in self._sources or self._graph.tensors[index].constant

    def stored(self, index: int) -> np.ndarray:
        """Return the values of a constant tensor as they are stored, in its shape.

        Raises:
            TFLiteFileError: the values cannot be read.
        """
        tensor = self._graph.tensors[index]
        buffer = self._model.Buffers(self._subgraph.Tensors(index).Buffer())
        raw = buffer.DataAsNumpy() if buffer.DataLength() else None
        if raw is None or (tensor.dtype not in _DTYPES and tensor.dtype != "int4"):
            raise TFLiteFileError(f"cannot read the values of tensor {tensor.name} ({tensor.dtype})")
        count = math.prod(tensor.shape)
        if tensor.dtype == "int4":  # two per byte, the first in the lower half
            halves = np.stack([raw & 15, raw >> 4], axis=-1).reshape(-1)[:count].astype(np.int8)
            values = np.where(halves > 7, halves - 16, halves)
        else:
            values = np.frombuffer(raw.tobytes(), _DTYPES[tensor.dtype])
        if len(values) != count:
            raise TFLiteFileError(f"damaged .tflite file (tensor {tensor.name} has {len(values)} of {count} values)")
        return values.reshape(tensor.shape)

    def quantized_axis(self, index: int) -> int:
        """Return the axis of a tensor's scales; 0 for a single scale."""
        quantization = self._subgraph.Tensors(index).Quantization()
        return quantization.QuantizedDimension() if quantization is not None else 0

    def real(self, index: int, scales: Sequence[float] | np.ndarray | None = None) -> np.ndarray:
        """Return the real values of a constant tensor.

        Args:
            index: index of the tensor.
            scales: scales for a tensor without its own (old files omit them at biases). None returns the stored integers.

        Returns:
            float64 array in the tensor's shape.

        Raises:
            TFLiteFileError: the values cannot be read.
        """
        index = self._sources.get(index, index)
        tensor, values = self._graph.tensors[index], self.stored(index).astype(np.float64)
        if tensor.dtype.startswith("float"):
            return values
        zero_points, axis = tensor.zero_points, self.quantized_axis(index)
        if len(tensor.scales):
            scales = tensor.scales
        elif scales is not None:
            zero_points = np.zeros(len(scales))
        else:
            return values
        if len(scales) == 1:
            return (values - zero_points[0]) * np.float64(scales[0])
        if axis >= values.ndim or len(scales) != values.shape[axis]:
            raise TFLiteFileError(
                f"damaged .tflite file (tensor {tensor.name} of shape {tensor.shape} has {len(scales)} scales)"
            )
        shape = [-1 if side == axis else 1 for side in range(values.ndim)]
        return (values - np.reshape(zero_points, shape)) * np.reshape(scales, shape).astype(np.float64)

    def operand(self, op: Op, position: int) -> np.ndarray | None:
        """Return the real values of a constant operand. A bias without scales has the scale input scale * weight scale.

        Args:
            op: the operator.
            position: index of the operand among the operator's inputs.

        Returns:
            float64 array, or None for an operand that is not a quantity (a shape, an axis).

        Raises:
            TFLiteFileError: the values cannot be read.
        """
        index = op.inputs[position]
        tensor = self._graph.tensors[self._sources.get(index, index)]
        if tensor.dtype.startswith("float") or len(tensor.scales):
            return self.real(index)
        if op.name not in BIASED or position != BIASED[op.name][2]:
            return None
        source, weights, _ = BIASED[op.name]
        input_scales, weight_scales = (self._graph.tensors[op.inputs[k]].scales for k in (source, weights))
        if len(input_scales) == 0 or len(weight_scales) == 0:
            return None
        return self.real(index, input_scales[0].astype(np.float64) * weight_scales)
