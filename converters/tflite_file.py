"""Reading a .tflite file without running it: its operators, tensors and quantization. Needs no TensorFlow."""

import dataclasses
import struct
from pathlib import Path

import numpy as np


class TFLiteFileError(ValueError):
    """The bytes are no usable .tflite model."""


@dataclasses.dataclass
class Tensor:
    """One tensor: `shape` has -1 for a dynamic side; `scales` is empty when the tensor is not quantized."""

    name: str
    dtype: str
    shape: list
    scales: np.ndarray
    zero_points: np.ndarray
    constant: bool

    def describe(self):
        """The JSON-able form used by audits and sidecars: scale and zero_point are None when not quantized per tensor."""
        per_tensor = len(self.scales) == 1
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": self.shape,
            "scale": float(self.scales[0]) if per_tensor else None,
            "zero_point": int(self.zero_points[0]) if per_tensor else None,
        }


@dataclasses.dataclass
class Op:
    """One operator: builtin name (or custom code), tensor indices (-1: absent)."""

    name: str
    inputs: list
    outputs: list
    custom: bool


@dataclasses.dataclass
class Graph:
    """The first subgraph of a file."""

    tensors: list
    ops: list
    inputs: list
    outputs: list


def _enum_names(enum):
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


def parse(data):
    """Graph of the first subgraph of a .tflite file's bytes.

    Raises: TFLiteFileError when the bytes are no model, are truncated, or index outside themselves.
    """
    if len(data) < 16 or bytes(data[4:8]) != b"TFL3":
        raise TFLiteFileError("not a .tflite file (the TFL3 mark is missing)")
    from ai_edge_litert import schema_py_generated as schema

    try:
        return _parse(schema, data)
    except TFLiteFileError:
        raise
    except (struct.error, IndexError, TypeError, ValueError, AttributeError, OverflowError, MemoryError, KeyError) as error:
        raise TFLiteFileError(f"damaged .tflite file ({type(error).__name__}: {error})") from None


def _parse(schema, data):
    model = schema.Model.GetRootAs(data, 0)
    if model.SubgraphsLength() < 1:
        raise TFLiteFileError("damaged .tflite file (no subgraph)")
    _check_buffers(model, len(data))
    op_names = _enum_names(schema.BuiltinOperator)
    dtypes = _enum_names(schema.TensorType)
    codes = []
    for i in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(i)
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        custom = number == schema.BuiltinOperator.CUSTOM
        codes.append((code.CustomCode().decode() if custom else op_names[number], custom))
    subgraph = model.Subgraphs(0)
    tensors = [_tensor(subgraph.Tensors(i), model, dtypes) for i in range(subgraph.TensorsLength())]

    def indices(values):
        for value in values:
            if not -1 <= value < len(tensors):
                raise TFLiteFileError(f"damaged .tflite file (tensor {value} of {len(tensors)})")
        return values

    ops = []
    for i in range(subgraph.OperatorsLength()):
        op = subgraph.Operators(i)
        name, custom = codes[op.OpcodeIndex()]
        inputs = indices([op.Inputs(k) for k in range(op.InputsLength())])
        ops.append(Op(name, inputs, indices([op.Outputs(k) for k in range(op.OutputsLength())]), custom))
    inputs = indices([subgraph.Inputs(i) for i in range(subgraph.InputsLength())])
    outputs = indices([subgraph.Outputs(i) for i in range(subgraph.OutputsLength())])
    return Graph(tensors, ops, inputs, outputs)


def _check_buffers(model, size):
    """A truncated file often has an intact head: constant data must lie inside it."""
    for i in range(model.BuffersLength()):
        buffer = model.Buffers(i)
        length, start = buffer.DataLength(), buffer._tab.Offset(4)
        if length and buffer._tab.Vector(start) + length > size:
            raise TFLiteFileError("damaged .tflite file (it ends before its weights do)")
        if buffer.Offset() > 1 and buffer.Offset() + buffer.Size() > size:
            raise TFLiteFileError("damaged .tflite file (it ends before its weights do)")


def _tensor(tensor, model, dtypes):
    signature = [tensor.ShapeSignature(i) for i in range(tensor.ShapeSignatureLength())]
    shape = signature or [tensor.Shape(i) for i in range(tensor.ShapeLength())]
    quantization = tensor.Quantization()
    scales = zero_points = np.empty(0)
    if quantization is not None and quantization.ScaleLength():
        scales, zero_points = quantization.ScaleAsNumpy(), quantization.ZeroPointAsNumpy()
        if len(scales) != len(zero_points):
            raise TFLiteFileError("damaged .tflite file (scales and zero points differ in number)")
    buffer = model.Buffers(tensor.Buffer())
    return Tensor(
        name=(tensor.Name() or b"").decode(),
        dtype=dtypes[tensor.Type()].lower(),
        shape=[int(side) for side in shape],
        scales=scales,
        zero_points=zero_points,
        constant=bool(buffer.DataLength() or buffer.Offset() > 1),
    )


def load(path):
    """`parse` of a file. Raises: OSError, TFLiteFileError."""
    return parse(Path(path).read_bytes())
