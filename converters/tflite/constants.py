"""The constants of a .tflite file as real numbers: weights, biases, slopes. Needs no TensorFlow."""

import math

import numpy as np

from mobile_sr.converters.tflite.flatbuffer import TFLiteFileError

_DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in ("float16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
}
# Operators with a bias: places of their input, their weights and their bias.
BIASED = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}


class Constants:
    """The constant tensors of a file's first subgraph."""

    def __init__(self, data, graph):
        """`graph` is tflite_file.parse of the same bytes."""
        from ai_edge_litert import schema_py_generated as schema

        self._model = schema.Model.GetRootAs(data, 0)
        self._subgraph = self._model.Subgraphs(0)
        self._graph = graph
        self._sources = {  # what a float16 file unpacks before it calculates
            op.outputs[0]: op.inputs[0]
            for op in graph.ops
            if op.name == "DEQUANTIZE" and op.inputs[0] >= 0 and graph.tensors[op.inputs[0]].constant
        }

    def is_constant(self, index):
        """Whether a tensor is constant, be it unpacked by a DEQUANTIZE."""
        return index in self._sources or self._graph.tensors[index].constant

    def stored(self, index):
        """The values of a constant tensor as they are stored, in its shape. Raises: TFLiteFileError."""
        tensor = self._graph.tensors[index]
        buffer = self._model.Buffers(self._subgraph.Tensors(index).Buffer())
        raw = buffer.DataAsNumpy() if buffer.DataLength() else None
        if raw is None or (tensor.dtype not in _DTYPES and tensor.dtype != "int4"):
            raise TFLiteFileError(f"the constants of tensor {tensor.name} ({tensor.dtype}) cannot be read")
        count = math.prod(tensor.shape)
        if tensor.dtype == "int4":  # two to a byte, the first in the lower half
            halves = np.stack([raw & 15, raw >> 4], axis=-1).reshape(-1)[:count].astype(np.int8)
            values = np.where(halves > 7, halves - 16, halves)
        else:
            values = np.frombuffer(raw.tobytes(), _DTYPES[tensor.dtype])
        if len(values) != count:
            raise TFLiteFileError(f"damaged .tflite file (tensor {tensor.name} has {len(values)} of {count} values)")
        return values.reshape(tensor.shape)

    def quantized_axis(self, index):
        """The axis along which a tensor has one scale each (0 where it has one scale)."""
        quantization = self._subgraph.Tensors(index).Quantization()
        return quantization.QuantizedDimension() if quantization is not None else 0

    def real(self, index, scales=None):
        """The real values of a constant tensor, float64 in its shape.

        Args:
            scales: what to use for a tensor without own scales (old files leave them out at biases), None to refuse it.
        Raises: TFLiteFileError when it cannot be read.
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
            raise TFLiteFileError(f"damaged .tflite file ({len(scales)} scales for tensor {tensor.name} of {tensor.shape})")
        shape = [-1 if side == axis else 1 for side in range(values.ndim)]
        return (values - np.reshape(zero_points, shape)) * np.reshape(scales, shape).astype(np.float64)

    def operand(self, op, place):
        """The real values of an operator's constant operand; a bias without scales has input scale * weight scale.

        Returns: float64 array, None when the operand is no number to calculate with (a shape, an axis).
        Raises: TFLiteFileError when it cannot be read.
        """
        index = op.inputs[place]
        tensor = self._graph.tensors[self._sources.get(index, index)]
        if tensor.dtype.startswith("float") or len(tensor.scales):
            return self.real(index)
        source, weights, bias = BIASED.get(op.name, (None, None, None))
        if place != bias:
            return None
        ends = [self._graph.tensors[op.inputs[k]].scales for k in (source, weights)]
        if any(len(scales) == 0 for scales in ends):
            return None
        return self.real(index, ends[0][0].astype(np.float64) * ends[1])
