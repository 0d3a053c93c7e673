"""Reading a .tflite file without running it: its operators, tensors and quantization. Needs no TensorFlow."""

import dataclasses
import math
import struct
from pathlib import Path

import numpy as np

from mobile_sr.converters.tflite import op_order, vetting

# What reading damaged bytes raises.
_DAMAGE = (struct.error, IndexError, TypeError, ValueError, AttributeError, OverflowError, MemoryError, KeyError)
_SUBGRAPHS, _SIGNATURE_DEFS = 8, 18  # places in the schema's vtable of Model
_CALLS = {  # operators' options that name subgraphs
    "WhileOptions": ("CondSubgraphIndex", "BodySubgraphIndex"),
    "IfOptions": ("ThenSubgraphIndex", "ElseSubgraphIndex"),
    "CallOptions": ("Subgraph",),
    "CallOnceOptions": ("InitSubgraphIndex",),
}


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
    variable: bool = False

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
    """One operator: builtin name (or custom code), tensor indices (-1: absent), version, schema name of the options."""

    name: str
    inputs: list
    outputs: list
    custom: bool
    version: int = 1
    options: str = "NONE"


@dataclasses.dataclass
class Graph:
    """One subgraph of a file.

    Attributes:
        subgraph: its index. signatures: the names of the file's signatures. signature: the one this is, None without any.
        input_names, output_names: {tensor index: name}, as the signature calls them; {} without a signature.
    """

    tensors: list
    ops: list
    inputs: list
    outputs: list
    subgraph: int = 0
    signatures: list = dataclasses.field(default_factory=list)
    signature: str = None
    input_names: dict = dataclasses.field(default_factory=dict)
    output_names: dict = dataclasses.field(default_factory=dict)


def enum_names(enum):
    """{value: name} of one of the schema's enumerations."""
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


def parse(data, signature=None):
    """Graph of a .tflite file's bytes: the subgraph of a signature.

    Args:
        signature: its name; None means the only one, 'serving_default' among several, the first subgraph without any.
    Raises: TFLiteFileError when the bytes are no model, are truncated, or index outside themselves, when there is no such
        signature, or when one of several must be chosen.
    """
    if len(data) < 16 or bytes(data[4:8]) != b"TFL3":
        raise TFLiteFileError("not a .tflite file (the TFL3 mark is missing)")
    from ai_edge_litert import schema_py_generated as schema

    try:
        return _parse(schema, data, signature)
    except TFLiteFileError:
        raise
    except _DAMAGE as error:
        raise TFLiteFileError(f"damaged .tflite file ({type(error).__name__}: {error})") from None


def _parse(schema, data, wanted):
    model = schema.Model.GetRootAs(data, 0)
    if model.SubgraphsLength() < 1:
        raise TFLiteFileError("damaged .tflite file (no subgraph)")
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
    index, *chosen = _choose(model, wanted)
    subgraph = model.Subgraphs(index)
    tensors = [_tensor(subgraph.Tensors(i), model, dtypes) for i in range(subgraph.TensorsLength())]

    def indices(values):
        for value in values:
            if not -1 <= value < len(tensors):
                raise TFLiteFileError(f"damaged .tflite file (tensor {value} of {len(tensors)})")
        return values

    ops = []
    for i in range(subgraph.OperatorsLength()):
        op = subgraph.Operators(i)
        name, custom, version = codes[op.OpcodeIndex()]
        inputs = indices([op.Inputs(k) for k in range(op.InputsLength())])
        outputs = indices([op.Outputs(k) for k in range(op.OutputsLength())])
        ops.append(Op(name, inputs, outputs, custom, version, kinds[op.BuiltinOptionsType()]))
    inputs = indices([subgraph.Inputs(i) for i in range(subgraph.InputsLength())])
    outputs = indices([subgraph.Outputs(i) for i in range(subgraph.OutputsLength())])
    graph = Graph(tensors, ops, inputs, outputs, index, *chosen)
    _check_flow(graph)
    _check_quantization(graph)
    found = vetting.problem(graph)
    if found:
        raise TFLiteFileError(f"damaged .tflite file ({found})")
    return graph


def _choose(model, wanted):
    """(subgraph index, names of the signatures, the chosen one, names of its inputs and of its outputs by tensor index)."""
    found = {}
    for i in range(model.SignatureDefsLength()):
        signature = model.SignatureDefs(i)
        found[(signature.SignatureKey() or b"").decode()] = signature
    if wanted is None and found:
        wanted = next(iter(found)) if len(found) == 1 else "serving_default"
        if wanted not in found:
            raise TFLiteFileError(f"choose one of its signatures with @signature=NAME: {', '.join(found)}")
    if wanted is None:
        return 0, [], None, {}, {}
    if wanted not in found:
        raise TFLiteFileError(f"no signature '{wanted}'; it has {', '.join(found) or 'none'}")
    chosen = found[wanted]
    if chosen.SubgraphIndex() >= model.SubgraphsLength():
        raise TFLiteFileError(f"damaged .tflite file (subgraph {chosen.SubgraphIndex()} of {model.SubgraphsLength()})")
    ends = [(chosen.Inputs, chosen.InputsLength()), (chosen.Outputs, chosen.OutputsLength())]
    names = [{end(i).TensorIndex(): (end(i).Name() or b"").decode() for i in range(count)} for end, count in ends]
    return chosen.SubgraphIndex(), list(found), wanted, *names


def as_first_subgraph(data, graph):
    """The file's bytes with `graph`, one of its subgraphs, as the first, so that whatever runs the file runs it.

    Signatures, which would then name the wrong subgraph, are dropped; the bytes of a file without a choice stay as they are.
    Raises: TFLiteFileError when control flow in the file uses one of the subgraphs that trade places.
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
        raise TFLiteFileError(f"an operator calls subgraph {graph.subgraph} or 0, which belong to signatures: not supported")
    # A vector of tables holds distances, each from its own place to the table.
    first = model._tab.Vector(model._tab.Offset(_SUBGRAPHS))
    other = first + 4 * graph.subgraph
    to_first, to_other = (struct.unpack_from("<I", patched, place)[0] for place in (first, other))
    struct.pack_into("<I", patched, first, other + to_other - first)
    struct.pack_into("<I", patched, other, first + to_first - other)
    place, pairs = _control_dependencies(schema.Model.GetRootAs(data, 0))
    if pairs:
        pairs[0], pairs[graph.subgraph] = pairs[graph.subgraph], pairs[0]
        encoded = op_order.encode(pairs)
        patched[place : place + len(encoded)] = encoded
    return bytes(patched)


def _control_dependencies(model):
    """(place in the file, pairs of operators for each subgraph) of the metadata tflite_order.METADATA; (None, []) without."""
    for entry in map(model.Metadata, range(model.MetadataLength())):
        if entry.Name() == op_order.METADATA:
            buffer = model.Buffers(entry.Buffer())
            encoded = buffer.DataAsNumpy().tobytes() if buffer.DataLength() else b""
            operators = [model.Subgraphs(i).OperatorsLength() for i in range(model.SubgraphsLength())]
            return buffer._tab.Vector(buffer._tab.Offset(4)), op_order.decode(encoded, operators)
    return None, []


def _called(schema, model):
    """The indices of the subgraphs that operators call."""
    kinds = enum_names(schema.BuiltinOptions)
    subgraphs = [model.Subgraphs(i) for i in range(model.SubgraphsLength())]
    for op in (subgraph.Operators(i) for subgraph in subgraphs for i in range(subgraph.OperatorsLength())):
        kind = kinds.get(op.BuiltinOptionsType())
        if kind in _CALLS:
            options = getattr(schema, kind)()
            options.Init(op.BuiltinOptions().Bytes, op.BuiltinOptions().Pos)
            yield from (getattr(options, field)() for field in _CALLS[kind])


_MAX_ELEMENTS = 2**28  # 64 float channels of a whole 1920x1080 image are half of that

# Operators whose last inputs may be absent (-1), and the first place where that is so.
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


def _check_flow(graph):
    """Operators must read what is there by then, and write what is neither constant nor written already.

    The runtime takes that for granted: files that break it crash it.
    """

    def require(fine, what, tensor):
        if not fine:
            raise TFLiteFileError(f"damaged .tflite file ({what} tensor {tensor})")

    written = {i for i, tensor in enumerate(graph.tensors) if tensor.constant}
    for tensor in graph.inputs:
        require(tensor >= 0 and tensor not in written, "its input is", tensor)
        written.add(tensor)
    given = {i for i, tensor in enumerate(graph.tensors) if tensor.variable or 0 in tensor.shape}  # those hold no bytes
    for op in graph.ops:
        absent_from = 0 if op.custom else _OPTIONAL_FROM.get(op.name, len(op.inputs))
        for place, tensor in enumerate(op.inputs):
            require(place >= absent_from if tensor < 0 else tensor in written or tensor in given, f"{op.name} reads", tensor)
        for tensor in op.outputs:
            require(tensor >= 0 and tensor not in written, f"{op.name} writes", tensor)
            written.add(tensor)
    for tensor in graph.outputs:
        require(tensor in written, "its output is", tensor)


_ZERO_POINTS = {"int8": (-128, 127), "uint8": (0, 255)}


def _check_quantization(graph):
    """Scales and zero points must be numbers to calculate with, and constants be unpacked in their own shape.

    The runtime divides by the one and reads as much as the other says: files that break it crash it.
    """
    for tensor in graph.tensors:
        scales, zero_points = tensor.scales, tensor.zero_points
        least = 1e-30 if len(scales) == 1 else 0  # a channel of zeros may have the scale 0
        low, high = _ZERO_POINTS.get(tensor.dtype, (-(2**31), 2**31 - 1))
        fine = (scales >= least) & (scales < 1e30) & (zero_points >= low) & (zero_points <= high)
        if not fine.all():
            raise TFLiteFileError(f"damaged .tflite file (scale or zero point of tensor {tensor.name})")
    for op in graph.ops:
        if op.name in ("DEQUANTIZE", "DENSIFY") and len(op.inputs) == len(op.outputs) == 1:
            source, target = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
            if source.constant and source.shape != target.shape:
                raise TFLiteFileError(f"damaged .tflite file ({op.name} turns {source.shape} into {target.shape})")


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
    allocated = [tensor.Shape(i) for i in range(tensor.ShapeLength())]
    if math.prod(allocated) > _MAX_ELEMENTS:
        raise TFLiteFileError(f"a tensor of shape {allocated} is too large (more than {_MAX_ELEMENTS:,} values)")
    signature = [tensor.ShapeSignature(i) for i in range(tensor.ShapeSignatureLength())]
    shape = signature or allocated
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
        variable=tensor.IsVariable(),
    )


def pack(model):
    """The bytes of a .tflite from the schema's object tree (ModelT), as the modules that edit files hold it."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def load(path):
    """`parse` of a file. Raises: OSError, TFLiteFileError."""
    return parse(Path(path).read_bytes())
