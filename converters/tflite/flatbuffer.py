"""Reads a .tflite file without running it: operators, tensors and quantization parameters. Needs no TensorFlow."""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr.converters.tflite import op_order, vetting

if TYPE_CHECKING:
    import os

    from ai_edge_litert import schema_py_generated as schema

# Exceptions that reading damaged bytes may raise.
_DAMAGE = (struct.error, IndexError, TypeError, ValueError, AttributeError, OverflowError, MemoryError, KeyError)
_SUBGRAPHS, _SIGNATURE_DEFS = 8, 18  # field numbers in the schema's table Model
_CALLS = {  # operator options that hold indices of subgraphs
    "WhileOptions": ("CondSubgraphIndex", "BodySubgraphIndex"),
    "IfOptions": ("ThenSubgraphIndex", "ElseSubgraphIndex"),
    "CallOptions": ("Subgraph",),
    "CallOnceOptions": ("InitSubgraphIndex",),
}


class TFLiteFileError(ValueError):
    """The bytes are not a usable .tflite model."""


@dataclasses.dataclass
class Tensor:
    """One tensor.

    Attributes:
        name: name in the file.
        dtype: type in lower case, such as 'int8'.
        shape: sides; -1 for a dynamic one.
        scales: scales; empty for a tensor that is not quantized.
        zero_points: zero points, as many as scales.
        constant: whether the file contains its values.
        variable: whether it keeps its values between runs.
    """

    name: str
    dtype: str
    shape: list[int]
    scales: np.ndarray
    zero_points: np.ndarray
    constant: bool
    variable: bool = False

    def describe(self) -> dict[str, Any]:
        """Return the JSON-able form of audits and sidecars: {"name", "dtype", "shape", "scale", "zero_point"}.

        Scale and zero point are None unless the tensor is quantized per tensor.
        """
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
    """One operator.

    Attributes:
        name: builtin name, or the custom code of a custom operator.
        inputs: tensor indices, -1 for an absent one.
        outputs: tensor indices.
        custom: whether it is a custom operator.
        version: version of the operator.
        options: name of the type of its options in the schema.
    """

    name: str
    inputs: list[int]
    outputs: list[int]
    custom: bool
    version: int = 1
    options: str = "NONE"


@dataclasses.dataclass
class Graph:
    """One subgraph of a file.

    Attributes:
        tensors: all tensors.
        ops: operators in the order of execution.
        inputs: tensor indices.
        outputs: tensor indices.
        subgraph: index of the subgraph.
        signatures: names of the file's signatures.
        signature: name of the signature of this subgraph, None for a file without signatures.
        input_names: {tensor index: name in the signature}; {} without a signature.
        output_names: {tensor index: name in the signature}; {} without a signature.
    """

    tensors: list[Tensor]
    ops: list[Op]
    inputs: list[int]
    outputs: list[int]
    subgraph: int = 0
    signatures: list[str] = dataclasses.field(default_factory=list)
    signature: str | None = None
    input_names: dict[int, str] = dataclasses.field(default_factory=dict)
    output_names: dict[int, str] = dataclasses.field(default_factory=dict)

    def image_inputs(self) -> list[int]:
        """Tensor indices of the inputs of four dimensions; other inputs are scalars."""
        return [index for index in self.inputs if len(self.tensors[index].shape) == 4]


def enum_names(enum: type) -> dict[int, str]:
    """Return {value: name} of an enumeration of the schema."""
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


def parse(data: bytes, signature: str | None = None) -> Graph:
    """Parse a .tflite file and check it for damage.

    Args:
        data: bytes of the file.
        signature: name of the signature that selects the subgraph. None selects the only signature, 'serving_default' among
            several, or the first subgraph of a file without signatures.

    Returns:
        The selected subgraph.

    Raises:
        TFLiteFileError: the bytes are not a model, are truncated or contain indices out of range; there is no such signature;
            or one of several signatures must be chosen.
    """
    if len(data) < 16 or bytes(data[4:8]) != b"TFL3":
        raise TFLiteFileError("not a .tflite file (the identifier TFL3 is missing)")
    from ai_edge_litert import schema_py_generated as schema

    try:
        return _parse(schema, data, signature)
    except TFLiteFileError:
        raise
    except _DAMAGE as error:
        raise TFLiteFileError(f"damaged .tflite file ({type(error).__name__}: {error})") from None


def _parse(schema: Any, data: bytes, wanted: str | None) -> Graph:
    model = schema.Model.GetRootAs(data, 0)
    if model.SubgraphsLength() < 1:
        raise TFLiteFileError("damaged .tflite file (it has no subgraph)")
    _check_buffers(model, len(data))
    _control_dependencies(model)
    op_names = enum_names(schema.BuiltinOperator)
    dtypes, kinds = enum_names(schema.TensorType), enum_names(schema.BuiltinOptions)
    codes = []
    for i in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(i)
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        custom = number == schema.BuiltinOperator.CUSTOM
        codes.append((code.CustomCode().decode() if custom else op_names[number], custom, code.Version()))
    index, signatures, signature, input_names, output_names = _choose(model, wanted)
    subgraph = model.Subgraphs(index)
    tensors = [_tensor(subgraph.Tensors(i), model, dtypes) for i in range(subgraph.TensorsLength())]

    def checked(values):
        for value in values:
            if not -1 <= value < len(tensors):
                raise TFLiteFileError(f"damaged .tflite file (index {value} of {len(tensors)} tensors)")
        return values

    ops = []
    for i in range(subgraph.OperatorsLength()):
        op = subgraph.Operators(i)
        name, custom, version = codes[op.OpcodeIndex()]
        inputs = checked([op.Inputs(k) for k in range(op.InputsLength())])
        outputs = checked([op.Outputs(k) for k in range(op.OutputsLength())])
        ops.append(Op(name, inputs, outputs, custom, version, kinds[op.BuiltinOptionsType()]))
    inputs = checked([subgraph.Inputs(i) for i in range(subgraph.InputsLength())])
    outputs = checked([subgraph.Outputs(i) for i in range(subgraph.OutputsLength())])
    graph = Graph(tensors, ops, inputs, outputs, index, signatures, signature, input_names, output_names)
    _check_flow(graph)
    _check_quantization(graph)
    problem = vetting.problem(graph)
    if problem:
        raise TFLiteFileError(f"damaged .tflite file ({problem})")
    return graph


def _choose(model: Any, wanted: str | None) -> tuple[int, list[str], str | None, dict[int, str], dict[int, str]]:
    """(subgraph index, signature names, the chosen signature, {tensor index: name} of its inputs and of its outputs)."""
    signatures: dict[str, Any] = {}
    for i in range(model.SignatureDefsLength()):
        signature = model.SignatureDefs(i)
        signatures[(signature.SignatureKey() or b"").decode()] = signature
    if wanted is None and signatures:
        wanted = next(iter(signatures)) if len(signatures) == 1 else "serving_default"
        if wanted not in signatures:
            raise TFLiteFileError(f"choose one of its signatures with @signature=NAME: {', '.join(signatures)}")
    if wanted is None:
        return 0, [], None, {}, {}
    if wanted not in signatures:
        raise TFLiteFileError(f"no signature '{wanted}'; it has {', '.join(signatures) or 'none'}")
    chosen = signatures[wanted]
    if chosen.SubgraphIndex() >= model.SubgraphsLength():
        raise TFLiteFileError(f"damaged .tflite file (index {chosen.SubgraphIndex()} of {model.SubgraphsLength()} subgraphs)")
    inputs, outputs = (
        {entry(i).TensorIndex(): (entry(i).Name() or b"").decode() for i in range(count)}
        for entry, count in ((chosen.Inputs, chosen.InputsLength()), (chosen.Outputs, chosen.OutputsLength()))
    )
    return chosen.SubgraphIndex(), list(signatures), wanted, inputs, outputs


def as_first_subgraph(data: bytes, graph: Graph) -> bytes:
    """Move a subgraph of a file to the first position, which makes every runtime run it.

    Signatures would then refer to the wrong subgraph and are removed. A file with one signature or none whose subgraph is
    already the first is returned unchanged.

    Args:
        data: bytes of the file.
        graph: the subgraph, as returned by `parse`.

    Returns:
        The bytes of the changed file.

    Raises:
        TFLiteFileError: control flow in the file uses one of the subgraphs that are exchanged.
    """
    if len(graph.signatures) < 2 and graph.subgraph == 0:
        return data
    from ai_edge_litert import schema_py_generated as schema

    patched = bytearray(data)
    model = schema.Model.GetRootAs(patched, 0)
    struct.pack_into("<I", patched, model._tab.Vector(model._tab.Offset(_SIGNATURE_DEFS)) - 4, 0)
    if graph.subgraph == 0:
        return bytes(patched)
    try:
        called = set(_called(schema, model))
    except _DAMAGE as error:
        raise TFLiteFileError(f"damaged .tflite file ({type(error).__name__}: {error})") from None
    if called & {0, graph.subgraph}:
        raise TFLiteFileError(f"not supported: an operator calls subgraph {graph.subgraph} or 0, which belong to signatures")
    # A vector of tables contains offsets, each from its own position to the table.
    first = model._tab.Vector(model._tab.Offset(_SUBGRAPHS))
    other = first + 4 * graph.subgraph
    to_first, to_other = (struct.unpack_from("<I", patched, position)[0] for position in (first, other))
    struct.pack_into("<I", patched, first, other + to_other - first)
    struct.pack_into("<I", patched, other, first + to_first - other)
    position, pairs = _control_dependencies(schema.Model.GetRootAs(data, 0))
    if position is not None and pairs:
        pairs[0], pairs[graph.subgraph] = pairs[graph.subgraph], pairs[0]
        encoded = op_order.encode(pairs)
        patched[position : position + len(encoded)] = encoded
    return bytes(patched)


def calls_subgraphs(graph: Graph) -> bool:
    """Whether operators of the graph, such as WHILE, call other subgraphs."""
    return any(op.options in _CALLS for op in graph.ops)


def _control_dependencies(model: Any) -> tuple[int | None, list[list[tuple[int, int]]]]:
    """(position in the file, pairs of operators of each subgraph) of the metadata op_order.METADATA, or (None, [])."""
    for entry in map(model.Metadata, range(model.MetadataLength())):
        if entry.Name() == op_order.METADATA:
            buffer = model.Buffers(entry.Buffer())
            encoded = buffer.DataAsNumpy().tobytes() if buffer.DataLength() else b""
            operators = [model.Subgraphs(i).OperatorsLength() for i in range(model.SubgraphsLength())]
            return buffer._tab.Vector(buffer._tab.Offset(4)), op_order.decode(encoded, operators)
    return None, []


def _called(schema: Any, model: Any) -> Iterator[int]:
    """Indices of the subgraphs that operators call."""
    kinds = enum_names(schema.BuiltinOptions)
    subgraphs = [model.Subgraphs(i) for i in range(model.SubgraphsLength())]
    for op in (subgraph.Operators(i) for subgraph in subgraphs for i in range(subgraph.OperatorsLength())):
        kind = kinds.get(op.BuiltinOptionsType())
        if kind in _CALLS:
            options = getattr(schema, kind)()
            options.Init(op.BuiltinOptions().Bytes, op.BuiltinOptions().Pos)
            yield from (getattr(options, field)() for field in _CALLS[kind])


_MAX_ELEMENTS = 2**28  # 64 channels of a whole 1920x1080 image are half of this

# {operator: index of its first input that may be absent (-1)}.
_OPTIONAL_FROM = {
    "CONV_2D": 2,
    "DEPTHWISE_CONV_2D": 2,
    "FULLY_CONNECTED": 2,
    "CONV_3D": 2,
    "CONV_3D_TRANSPOSE": 3,
    "TRANSPOSE_CONV": 3,
    "SVDF": 3,
    "LSTM": 1,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 1,
    "BIDIRECTIONAL_SEQUENCE_LSTM": 1,
    "BIDIRECTIONAL_SEQUENCE_RNN": 4,
}


def _check_flow(graph: Graph) -> None:
    """Check that operators read tensors that have values by then, and write tensors that have none.

    The runtime does not check this: other files crash it.
    """

    def require(valid, what, tensor):
        if not valid:
            raise TFLiteFileError(f"damaged .tflite file ({what} tensor {tensor})")

    written = {i for i, tensor in enumerate(graph.tensors) if tensor.constant}
    for tensor in graph.inputs:
        require(tensor >= 0 and tensor not in written, "its input is", tensor)
        written.add(tensor)
    # Variables and empty tensors have no bytes in the file.
    readable = {i for i, tensor in enumerate(graph.tensors) if tensor.variable or 0 in tensor.shape}
    for op in graph.ops:
        absent_from = 0 if op.custom else _OPTIONAL_FROM.get(op.name, len(op.inputs))
        for position, tensor in enumerate(op.inputs):
            valid = position >= absent_from if tensor < 0 else tensor in written or tensor in readable
            require(valid, f"{op.name} reads", tensor)
        for tensor in op.outputs:
            require(tensor >= 0 and tensor not in written, f"{op.name} writes", tensor)
            written.add(tensor)
    for tensor in graph.outputs:
        require(tensor in written, "its output is", tensor)


_ZERO_POINTS = {"int8": (-128, 127), "uint8": (0, 255)}


def _check_quantization(graph: Graph) -> None:
    """Check that scales and zero points are usable numbers, and that constants are unpacked to their own shape.

    The runtime divides by scales and reads as many values as the shape says: other files crash it.
    """
    for tensor in graph.tensors:
        scales, zero_points = tensor.scales, tensor.zero_points
        min_scale = 1e-30 if len(scales) == 1 else 0  # a channel of zeros may have the scale 0
        low, high = _ZERO_POINTS.get(tensor.dtype, (-(2**31), 2**31 - 1))
        valid = (scales >= min_scale) & (scales < 1e30) & (zero_points >= low) & (zero_points <= high)
        if not valid.all():
            raise TFLiteFileError(f"damaged .tflite file (scale or zero point of tensor {tensor.name})")
    for op in graph.ops:
        if op.name in ("DEQUANTIZE", "DENSIFY") and len(op.inputs) == len(op.outputs) == 1:
            source, target = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
            if source.constant and source.shape != target.shape:
                raise TFLiteFileError(f"damaged .tflite file ({op.name} turns {source.shape} into {target.shape})")


def _check_buffers(model: Any, size: int) -> None:
    """Check that all constant data are within the file: a truncated file often has an intact head."""
    for i in range(model.BuffersLength()):
        buffer = model.Buffers(i)
        length, start = buffer.DataLength(), buffer._tab.Offset(4)
        if length and buffer._tab.Vector(start) + length > size:
            raise TFLiteFileError("damaged .tflite file (it ends before its weights do)")
        if buffer.Offset() > 1 and buffer.Offset() + buffer.Size() > size:
            raise TFLiteFileError("damaged .tflite file (it ends before its weights do)")


def _tensor(tensor: Any, model: Any, dtypes: Mapping[int, str]) -> Tensor:
    allocated = [tensor.Shape(i) for i in range(tensor.ShapeLength())]
    if math.prod(allocated) > _MAX_ELEMENTS:
        raise TFLiteFileError(f"a tensor of shape {allocated} is too large ({_MAX_ELEMENTS:,} values are the limit)")
    signature = [tensor.ShapeSignature(i) for i in range(tensor.ShapeSignatureLength())]
    shape = signature or allocated
    quantization = tensor.Quantization()
    scales = zero_points = np.empty(0)
    if quantization is not None and quantization.ScaleLength():
        scales, zero_points = quantization.ScaleAsNumpy(), quantization.ZeroPointAsNumpy()
        if len(scales) != len(zero_points):
            raise TFLiteFileError("damaged .tflite file (the numbers of scales and zero points differ)")
    buffer = model.Buffers(tensor.Buffer())
    return Tensor(
        name=(tensor.Name() or b"").decode(),
        dtype=dtypes[tensor.Type()].lower(),
        shape=[int(side) for side in shape],
        scales=scales,
        zero_points=zero_points,
        constant=bool(buffer.DataLength() or buffer.Offset() > 1),
        variable=tensor.IsVariable(),
    )


def pack(model: schema.ModelT) -> bytes:
    """Serialize the schema's object tree (ModelT) to the bytes of a .tflite file."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def load(path: str | os.PathLike[str]) -> Graph:
    """Parse a file with `parse`.

    Args:
        path: path of the .tflite file.

    Raises:
        OSError: the file cannot be read.
        TFLiteFileError: as for `parse`.
    """
    return parse(Path(path).read_bytes())
