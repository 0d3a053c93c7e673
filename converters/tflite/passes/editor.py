"""Editing of a float .tflite file as the schema's object tree: readers, makers, constants, and removal of unused parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from mobile_sr.converters.tflite import flatbuffer

_DTYPES = {"FLOAT32": np.float32, "INT32": np.int32, "INT64": np.int64}


class Editor:
    """The only subgraph of a .tflite file.

    Attributes:
        schema: the module of the schema's classes.
        model: the ModelT.
        graph: its SubGraphT.
    """

    def __init__(self, data: bytes) -> None:
        """Unpack a file that flatbuffer.parse accepts.

        Raises:
            ValueError: it has several subgraphs, or its constants are behind the flatbuffer.
        """
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.model = schema.ModelT.InitFromPackedBuf(data, 0)
        if len(self.model.subgraphs) != 1:
            raise ValueError(f"{len(self.model.subgraphs)} subgraphs; expected one")
        (self.graph,) = self.model.subgraphs
        if any((buffer.offset or 0) > 1 for buffer in self.model.buffers):
            raise ValueError("constants outside of the flatbuffer")
        self._names = flatbuffer.enum_names(schema.BuiltinOperator)
        self._dtypes = flatbuffer.enum_names(schema.TensorType)

    def kind(self, op: Any) -> str:
        """Return the name of an operator, such as 'CONV_2D'."""
        code = self.model.operatorCodes[op.opcodeIndex]
        return self._names[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def has_activation(self, op: Any) -> bool:
        """Whether an activation is part of an operator."""
        return bool(getattr(op.builtinOptions, "fusedActivationFunction", 0))

    def makers(self) -> dict[int, Any]:
        """Return {tensor: the operator that writes it}."""
        return {int(tensor): op for op in self.graph.operators for tensor in op.outputs}

    def readers(self, tensor: int) -> list[Any]:
        """Return the operators that read a tensor; an operator that reads it twice is there twice."""
        return [op for op in self.graph.operators for other in op.inputs if int(other) == tensor]

    def is_end(self, tensor: int) -> bool:
        """Whether a tensor is an input or output of the network."""
        return tensor in [int(other) for other in (*self.graph.inputs, *self.graph.outputs)]

    def name(self, tensor: int) -> str:
        """Return the name of a tensor."""
        return (self.graph.tensors[tensor].name or b"").decode()

    def shape(self, tensor: int) -> list[int]:
        """Return the sides of a tensor; -1 for a dynamic one."""
        entry = self.graph.tensors[tensor]
        signature = entry.shapeSignature
        shape = entry.shape if signature is None or not len(signature) else signature
        return [] if shape is None else [int(side) for side in shape]

    def is_constant(self, tensor: int) -> bool:
        """Whether the file contains a tensor's values."""
        data = self.model.buffers[self.graph.tensors[tensor].buffer].data
        return data is not None and len(data) > 0

    def constant(self, tensor: int) -> np.ndarray | None:
        """Return the values of a constant tensor, None for another one or another type than float32, int32 and int64."""
        entry = self.graph.tensors[tensor] if tensor >= 0 else None
        data = None if entry is None else self.model.buffers[entry.buffer].data
        if entry is None or data is None or not len(data) or self._dtypes[entry.type] not in _DTYPES:
            return None
        return np.frombuffer(bytes(data), _DTYPES[self._dtypes[entry.type]]).reshape(self.shape(tensor))

    def add_constant(self, values: np.ndarray, name: str) -> int:
        """Add a constant tensor of float32 or int32 and return its index."""
        dtype = self.schema.TensorType.FLOAT32 if values.dtype == np.float32 else self.schema.TensorType.INT32
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        index = self.add_tensor(list(values.shape), name, dtype)
        self.graph.tensors[index].buffer = len(self.model.buffers) - 1
        return index

    def add_tensor(self, shape: list[int], name: str, dtype: int | None = None) -> int:
        """Add a tensor without values, float32 unless a type of the schema is given; -1 is a dynamic side."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.type = name.encode(), self.schema.TensorType.FLOAT32 if dtype is None else dtype
        tensor.buffer, tensor.isVariable = 0, False
        tensor.shape = [max(1, side) for side in shape]
        tensor.shapeSignature = list(shape) if -1 in shape else None
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def replace_constant(self, op: Any, position: int, values: np.ndarray) -> None:
        """Give an operator a constant of its own in place of one of its inputs."""
        name = self.name(int(op.inputs[position]))
        op.inputs = [int(i) for i in op.inputs]
        op.inputs[position] = self.add_constant(np.ascontiguousarray(values), name)

    def set_shape(self, tensor: int, shape: list[int]) -> None:
        """Change the sides of a tensor; -1 is a dynamic one."""
        entry = self.graph.tensors[tensor]
        entry.shape = [max(1, side) for side in shape]
        entry.shapeSignature = list(shape) if -1 in shape else None

    def make_op(self, kind: str, inputs: list[int], outputs: list[int], options: Any = None, version: int | None = None) -> Any:
        """Return a new operator, which is not in the graph yet.

        Args:
            kind: name of the operator.
            inputs, outputs: its tensors.
            options: an object of the schema such as GatherOptionsT.
            version: of the operator; None is that of the file's other operators of this kind, or 1.
        """
        op = self.schema.OperatorT()
        op.opcodeIndex = self._code(kind, version)
        op.inputs, op.outputs = inputs, outputs
        if options is not None:
            op.builtinOptions = options
            op.builtinOptionsType = getattr(self.schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        return op

    def _code(self, kind: str, version: int | None = None) -> int:
        number = getattr(self.schema.BuiltinOperator, kind)
        for index, code in enumerate(self.model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == number and version in (None, code.version):
                return index
        code = self.schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version or 1
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def insert_before(self, position: Any, *ops: Any) -> None:
        """Insert operators before another one, which is compared by identity."""
        index = next(k for k, op in enumerate(self.graph.operators) if op is position)
        self.graph.operators[index:index] = ops

    def remove(self, *ops: Any) -> None:
        """Remove operators, which are compared by identity."""
        self.graph.operators = [op for op in self.graph.operators if not any(op is other for other in ops)]

    def redirect(self, old: int, new: int) -> None:
        """Let everything that reads the tensor `old` read `new`; a network's output of this number changes, too."""
        for op in self.graph.operators:
            op.inputs = [new if int(i) == old else int(i) for i in op.inputs]
        self.graph.outputs = [new if int(i) == old else int(i) for i in self.graph.outputs]
        self._rename_end(old, new, "outputs")

    def replace_input(self, old: int, new: int) -> None:
        """Make the tensor `new` the network's input instead of `old`."""
        self.graph.inputs = [new if int(i) == old else int(i) for i in self.graph.inputs]
        self._rename_end(old, new, "inputs")

    def replace_output(self, old: int, new: int) -> None:
        """Make the tensor `new` the network's output instead of `old`."""
        self.graph.outputs = [new if int(i) == old else int(i) for i in self.graph.outputs]
        self._rename_end(old, new, "outputs")

    def bypass(self, op: Any) -> None:
        """Remove an operator of one input; what reads its result reads its input. A network's output keeps its tensor."""
        source, target = int(op.inputs[0]), int(op.outputs[0])
        self.remove(op)
        if target not in [int(i) for i in self.graph.outputs]:
            self.redirect(target, source)
        elif self.is_end(source):  # input and output of an empty network
            self.graph.operators.append(op)
        else:
            for other in self.graph.operators:
                other.outputs = [target if int(i) == source else int(i) for i in other.outputs]
                other.inputs = [target if int(i) == source else int(i) for i in other.inputs]

    def live_operators(self) -> list[Any]:
        """Return the operators that the outputs need, in their order; the others are removed."""
        used = {int(i) for i in self.graph.outputs}
        live = []
        for op in reversed(self.graph.operators):
            if used & {int(i) for i in op.outputs}:
                used |= {int(i) for i in op.inputs}
                live.append(op)
        self.graph.operators = live[::-1]
        return list(self.graph.operators)

    def _rename_end(self, old: int, new: int, ends: str) -> None:
        for signature in self.model.signatureDefs or []:
            for entry in getattr(signature, ends) or []:
                if int(entry.tensorIndex) == old:
                    entry.tensorIndex = new

    def pack(self) -> bytes:
        """Remove what nothing uses (operators, tensors, constants, operator codes) and return the bytes of the file."""
        graph, model = self.graph, self.model
        kept = {int(i) for op in self.live_operators() for i in (*op.inputs, *op.outputs)}
        kept |= {int(i) for i in (*graph.inputs, *graph.outputs)}
        numbers = {-1: -1, **{old: new for new, old in enumerate(sorted(kept - {-1}))}}
        graph.tensors = [graph.tensors[old] for old in sorted(kept - {-1})]
        for owner in (graph, *graph.operators):
            owner.inputs = [numbers[int(i)] for i in owner.inputs]
            owner.outputs = [numbers[int(i)] for i in owner.outputs]
        for signature in model.signatureDefs or []:
            for entry in (*(signature.inputs or []), *(signature.outputs or [])):
                entry.tensorIndex = numbers[int(entry.tensorIndex)]
        codes = sorted({op.opcodeIndex for op in graph.operators})
        model.operatorCodes = [model.operatorCodes[old] for old in codes]
        for op in graph.operators:
            op.opcodeIndex = codes.index(op.opcodeIndex)
        buffers = sorted({0, *(tensor.buffer for tensor in graph.tensors), *(m.buffer for m in model.metadata or [])})
        model.buffers = [model.buffers[old] for old in buffers]
        for owner in (*graph.tensors, *(model.metadata or [])):
            owner.buffer = buffers.index(owner.buffer)
        return flatbuffer.pack(model)
