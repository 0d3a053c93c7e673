"""An editable float .tflite: its operators, constants and activations. Equalization, GPTQ and the quantizer work on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr.converters.quiet import quiet
from mobile_sr.converters.tflite import flatbuffer, runtime
from mobile_sr.converters.tflite.constants import BIASED

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

Sample = np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray] | Mapping[int, np.ndarray]
_MAX_RUN_BYTES = 2**30  # of activations in one run; larger networks are measured in several runs


class FloatGraph:
    """The main subgraph of a float .tflite, as objects that can be changed and packed again.

    Weights stored as float16 are unpacked, and every operator gets constants of its own, so that changing the weights of one
    operator does not change another's.

    Attributes:
        model: the file as the schema's object tree.
        graph: its first subgraph.
        ops: operators of the subgraph in the order of execution.
    """

    def __init__(self, data: bytes) -> None:
        """Open a file.

        Args:
            data: bytes of a float .tflite file with one subgraph; a further one is possible only if no operator is changed.
        """
        from ai_edge_litert import schema_py_generated as schema

        self._schema = schema
        self._op_names = flatbuffer.enum_names(schema.BuiltinOperator)
        self.model: schema.ModelT = schema.ModelT.InitFromPackedBuf(bytes(data), 0)
        self.graph: Any = self.model.subgraphs[0]
        for op in self.graph.operators:
            op.inputs, op.outputs = [int(i) for i in op.inputs], [int(i) for i in op.outputs]
        self.graph.inputs, self.graph.outputs = ([int(i) for i in part] for part in (self.graph.inputs, self.graph.outputs))
        self._unpack_float16()
        self._separate_constants()

    @property
    def ops(self) -> list[Any]:
        """The operators, in the order of execution."""
        return self.graph.operators

    def name(self, op: Any) -> str:
        """Return the name of an operator, such as 'CONV_2D'."""
        code = self.model.operatorCodes[op.opcodeIndex]
        return self._op_names[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def activation(self, op: Any) -> str:
        """Return the name of an operator's fused activation, such as 'RELU'; 'NONE' without one."""
        number = getattr(op.builtinOptions, "fusedActivationFunction", 0)
        return flatbuffer.enum_names(self._schema.ActivationFunctionType)[number]

    def set_activation(self, op: Any, name: str) -> None:
        """Set an operator's fused activation by name."""
        op.builtinOptions.fusedActivationFunction = getattr(self._schema.ActivationFunctionType, name)

    def shape(self, tensor: int) -> list[int]:
        """Return the sides of a tensor; -1 for a dynamic one."""
        entry = self.graph.tensors[tensor]
        sides = entry.shape if entry.shapeSignature is None else entry.shapeSignature
        return [] if sides is None else [int(side) for side in sides]

    def is_float(self, tensor: int) -> bool:
        """Whether a tensor is float32."""
        return bool(self.graph.tensors[tensor].type == self._schema.TensorType.FLOAT32)

    def constant(self, tensor: int) -> np.ndarray | None:
        """Return a copy of a constant's values in its shape, or None for an activation, -1 or a type that is not a number."""
        if tensor < 0:
            return None
        entry = self.graph.tensors[tensor]
        data = self.model.buffers[entry.buffer].data
        dtype = {number: dtype for dtype, number in self._types().items()}.get(entry.type)
        if data is None or len(data) == 0 or dtype is None:
            return None
        return np.frombuffer(np.asarray(data, np.uint8).tobytes(), dtype).reshape(self.shape(tensor)).copy()

    def set_constant(self, tensor: int, values: np.ndarray) -> None:
        """Replace a constant's values, and its shape and type by theirs: float32, float16, int8, int32 or int64."""
        entry = self.graph.tensors[tensor]
        entry.buffer, entry.type = self._new_buffer(values), self._types()[self._dtype(values)]
        entry.shape, entry.shapeSignature = list(values.shape), None

    def add_constant(self, name: str, values: np.ndarray) -> int:
        """Add a constant of float32, float16, int8, int32 or int64; returns its index."""
        return self._add_tensor(name, list(values.shape), self._types()[self._dtype(values)], self._new_buffer(values))

    def tensor_name(self, tensor: int) -> str:
        """Return the name of a tensor."""
        return (self.graph.tensors[tensor].name or b"").decode()

    def add_activation(self, name: str, like: int) -> int:
        """Add a tensor with the shape of another one; returns its index."""
        entry = self.graph.tensors[like]
        tensor = self._add_tensor(name, list(entry.shape), entry.type, 0)
        self.graph.tensors[tensor].shapeSignature = entry.shapeSignature
        return tensor

    def set_shape(self, tensor: int, like: int) -> None:
        """Give a tensor the shape of another one."""
        entry, other = self.graph.tensors[tensor], self.graph.tensors[like]
        entry.shape, entry.shapeSignature = list(other.shape), other.shapeSignature

    def layer_name(self, tensor: int) -> str:
        """Return the name of the layer that made a tensor: 'head' for 'net_1/head_1/Relu;net_1/...' as Keras names it."""
        parts = self.tensor_name(tensor).split(";")[0].split("/")
        return parts[-2].removesuffix("_1") if len(parts) > 1 else parts[0]

    def add_op(
        self, position: int, name: str, inputs: Sequence[int], outputs: Sequence[int], options: Any = None, version: int = 1
    ) -> Any:
        """Insert an operator before position `position`; `options` is an object of the schema, such as AddOptionsT()."""
        op = self._schema.OperatorT()
        op.opcodeIndex = self._opcode(name, version)
        op.inputs, op.outputs = list(inputs), list(outputs)
        if options is not None:
            op.builtinOptions = options
            op.builtinOptionsType = getattr(self._schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.ops.insert(position, op)
        return op

    def set_version(self, op: Any, version: int) -> None:
        """Set the version of an operator."""
        op.opcodeIndex = self._opcode(self.name(op), version)

    def rename(self, op: Any, name: str) -> None:
        """Turn an operator into another kind without options, such as RELU."""
        op.opcodeIndex = self._opcode(name)
        op.builtinOptions, op.builtinOptionsType = None, self._schema.BuiltinOptions.NONE

    def producers(self) -> dict[int, Any]:
        """Return {tensor: operator that writes it}."""
        return {tensor: op for op in self.ops for tensor in op.outputs}

    def readers(self) -> dict[int, list[Any]]:
        """Return {tensor: operators that read it}; an output of the graph has None among its readers."""
        result: dict[int, list[Any]] = {tensor: [None] for tensor in self.graph.outputs}
        for op in self.ops:
            for tensor in dict.fromkeys(op.inputs):
                result.setdefault(tensor, []).append(op)
        return result

    def replace_uses(self, old: int, new: int) -> None:
        """Let every operator, output and signature that refers to tensor `old` refer to `new`."""
        for op in self.ops:
            op.inputs = [new if tensor == old else tensor for tensor in op.inputs]
        self.replace_outputs(old, new)

    def replace_outputs(self, old: int, new: int) -> None:
        """Let every output and signature that refers to tensor `old` refer to `new`."""
        self.graph.outputs = [new if tensor == old else tensor for tensor in self.graph.outputs]
        for definition in self.model.signatureDefs or []:
            for entry in definition.outputs or []:
                if entry.tensorIndex == old:
                    entry.tensorIndex = new

    def remove_unused(self) -> None:
        """Remove operators whose results nothing reads."""
        while True:
            readers = self.readers()
            used = [op for op in self.ops if any(tensor in readers for tensor in op.outputs)]
            if len(used) == len(self.ops):
                return
            self.graph.operators = used

    def has_constant_weights(self, op: Any) -> bool:
        """Whether an operator is a convolution or matrix product with constant weights and a constant bias, if any."""
        name = self.name(op)
        if name not in BIASED or self.constant(op.inputs[BIASED[name][1]]) is None:
            return False
        bias = op.inputs[BIASED[name][2]] if len(op.inputs) > BIASED[name][2] else -1
        return bias < 0 or self.constant(bias) is not None

    def bias(self, op: Any) -> int:
        """Return the index of the bias of a convolution or matrix product; adds one of zeros where there is none."""
        position = BIASED[self.name(op)][2]
        if len(op.inputs) <= position or op.inputs[position] < 0:
            # The shape of the weights is constant, that of the output may be dynamic.
            channels = self.shape(op.inputs[BIASED[self.name(op)][1]])[-1 if self.name(op) == "DEPTHWISE_CONV_2D" else 0]
            zeros = self.add_constant("bias", np.zeros(channels, np.float32))
            op.inputs = [*op.inputs, *[-1] * (position + 1 - len(op.inputs))]
            op.inputs[position] = zeros
            if self.name(op) == "TRANSPOSE_CONV":
                self.set_version(op, 3)
        return int(op.inputs[position])

    def packed(self) -> bytes:
        """Return the bytes of the file, without tensors and constants that nothing uses. Tensors get new numbers."""
        self._remove_unused_tensors()
        self._remove_unused_opcodes()
        return flatbuffer.pack(self.model)

    def by_tensor(self, sample: Sample) -> dict[int, np.ndarray]:
        """Return {input tensor: array} of a sample: an array, arrays, or a dict by the names of the signature or by tensor.

        Several arrays belong to the inputs with as many axes, because converters reorder inputs.
        """
        if isinstance(sample, Mapping):
            entries = self.model.signatureDefs[0].inputs if self.model.signatureDefs else []
            indices = {entry.name.decode(): entry.tensorIndex for entry in entries}
            return {key if isinstance(key, int) else indices[key]: np.asarray(array) for key, array in sample.items()}
        arrays = [np.asarray(array) for array in ([sample] if isinstance(sample, np.ndarray) else sample)]
        inputs = list(self.graph.inputs)
        axes = [len(self.shape(tensor)) for tensor in inputs]
        if sorted(axes) == sorted(array.ndim for array in arrays) and len(set(axes)) == len(axes):
            return {inputs[axes.index(array.ndim)]: array for array in arrays}
        return dict(zip(inputs, arrays, strict=True))

    def visit(self, tensors: Iterable[int], samples: Iterable[Sample], visitor: Callable[[int, np.ndarray], object]) -> None:
        """Run the graph on samples and call `visitor(tensor, values)` for each of the tensors and each sample.

        Args:
            tensors: activations, or inputs of the graph.
            samples: values of the inputs, see `by_tensor`.
            visitor: called with a view of the runtime's memory; it must copy what it keeps.
        """
        wanted = list(dict.fromkeys(tensors))
        by_tensor = [self.by_tensor(sample) for sample in samples]
        for sample in by_tensor:
            for tensor in wanted:
                if tensor in sample:
                    visitor(tensor, sample[tensor])
        inner = [tensor for tensor in wanted if tensor not in self.graph.inputs]
        for part in self._parts(inner, by_tensor):
            self._run(part, by_tensor, visitor)

    def sampling_step(self, samples: Sequence[Sample], positions: int) -> int:
        """Return k so that every k-th row and column of all samples are about `positions` image positions together."""
        pixels = sum(max(math.prod(array.shape[1:-1]) for array in self.by_tensor(sample).values()) for sample in samples)
        return max(1, round((pixels / positions) ** 0.5))

    def _parts(self, tensors: Sequence[int], samples: Sequence[Mapping[int, np.ndarray]]) -> list[list[int]]:
        """Split tensors into runs of at most _MAX_RUN_BYTES, by static shapes; dynamic sides count as the largest image's."""
        pixels = max((math.prod(a.shape[1:3]) for sample in samples for a in sample.values() if a.ndim == 4), default=1)
        parts: list[list[int]] = []
        remaining = 0
        for tensor in tensors:
            shape = self.shape(tensor)
            size = 4 * math.prod(side for side in shape if side > 0) * (pixels if -1 in shape[1:] else 1)
            if size > remaining or not parts:
                parts.append([])
                remaining = _MAX_RUN_BYTES
            parts[-1].append(tensor)
            remaining -= size
        return parts

    def _run(
        self,
        tensors: list[int],
        samples: Sequence[Mapping[int, np.ndarray]],
        visitor: Callable[[int, np.ndarray], object],
    ) -> None:
        original = self.graph.outputs, self.model.signatureDefs, self.graph.operators
        self.graph.outputs, self.model.signatureDefs, self.graph.operators = tensors, [], self._before(tensors)
        try:
            interpreter = runtime.create_interpreter(flatbuffer.pack(self.model))
        finally:
            self.graph.outputs, self.model.signatureDefs, self.graph.operators = original
        shapes = None
        for sample in samples:
            if shapes != (shapes := {tensor: array.shape for tensor, array in sample.items()}):
                for tensor, shape in shapes.items():
                    interpreter.resize_tensor_input(tensor, shape)
                with quiet():  # the runtime prints that it created its delegate
                    interpreter.allocate_tensors()
            for tensor, array in sample.items():
                interpreter.set_tensor(tensor, array)
            interpreter.invoke()
            for tensor in tensors:
                values = interpreter.tensor(tensor)()
                visitor(tensor, values)
                del values  # a view; the interpreter refuses to run while one exists

    def _before(self, tensors: Iterable[int]) -> list[Any]:
        """The operators on which tensors depend."""
        wanted, result = set(tensors), []
        for op in reversed(self.ops):
            if wanted.intersection(op.outputs):
                wanted.update(op.inputs)
                result.append(op)
        return result[::-1]

    def _new_buffer(self, values: np.ndarray) -> int:
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values, self._dtype(values)).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def _add_tensor(self, name: str, shape: list[int], kind: int, buffer: int) -> int:
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), shape, kind, buffer
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _types(self) -> dict[str, int]:
        types = self._schema.TensorType
        return {
            "<f4": types.FLOAT32,
            "<f2": types.FLOAT16,
            "|i1": types.INT8,
            "<i4": types.INT32,
            "<i8": types.INT64,
            "|b1": types.BOOL,
        }

    def _dtype(self, values: np.ndarray) -> str:
        return values.dtype.newbyteorder("<").str

    def _opcode(self, name: str, version: int = 1) -> int:
        number = getattr(self._schema.BuiltinOperator, name)
        for index, code in enumerate(self.model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == number and code.version == version:
                return index
        code = self._schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def _unpack_float16(self) -> None:
        """Replace DEQUANTIZE of a float16 constant by a float32 constant."""
        kept = []
        for op in self.ops:
            values = self.constant(op.inputs[0]) if self.name(op) == "DEQUANTIZE" else None
            if values is None or values.dtype != np.float16:
                kept.append(op)
            else:
                self.set_constant(op.outputs[0], values.astype(np.float32))
        self.graph.operators = kept

    def _remove_unused_opcodes(self) -> None:
        """Remove kinds of operators without an operator: the runtime refuses a file if it does not know one of them."""
        ops = [op for graph in self.model.subgraphs for op in graph.operators or []]
        used = sorted({op.opcodeIndex for op in ops})
        number = {index: position for position, index in enumerate(used)}
        self.model.operatorCodes = [self.model.operatorCodes[index] for index in used]
        for op in ops:
            op.opcodeIndex = number[op.opcodeIndex]

    def _remove_unused_tensors(self) -> None:
        ends = [*self.graph.inputs, *self.graph.outputs]
        used = {tensor for op in self.ops for tensor in (*op.inputs, *op.outputs) if tensor >= 0} | set(ends)
        number = {tensor: index for index, tensor in enumerate(sorted(used))}
        number[-1] = -1
        self.graph.tensors = [tensor for index, tensor in enumerate(self.graph.tensors) if index in used]
        for part in (self.graph, *self.ops):
            part.inputs, part.outputs = ([number[i] for i in tensors] for tensors in (part.inputs, part.outputs))
        for definition in self.model.signatureDefs or []:
            if definition.subgraphIndex == 0:
                for entry in (*(definition.inputs or []), *(definition.outputs or [])):
                    entry.tensorIndex = number[entry.tensorIndex]
        kept = {tensor.buffer for graph in self.model.subgraphs for tensor in graph.tensors}
        kept |= {entry.buffer for entry in self.model.metadata or []} | set(self.model.metadataBuffer or [])
        for index, buffer in enumerate(self.model.buffers):
            if index not in kept:
                buffer.data = None

    def _separate_constants(self) -> None:
        """Give an operator a copy of each float constant that another operator reads, too."""
        used: set[int] = set()
        for op in self.ops:
            for position, tensor in enumerate(op.inputs):
                if tensor < 0 or not self.is_float(tensor) or (values := self.constant(tensor)) is None:
                    continue
                if tensor in used:
                    op.inputs[position] = self.add_constant(self.tensor_name(tensor), values)
                used.add(op.inputs[position])
