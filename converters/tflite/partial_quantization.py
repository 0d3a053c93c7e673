"""Applies chosen parts of an integer .tflite file's quantization to the float file, to measure the cost of each part.

Needs no TensorFlow.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr.converters.tflite import flatbuffer, op_order

if TYPE_CHECKING:
    from mobile_sr.converters.tflite.layer_matching import Match, QuantParams

_VERSIONS = {"QUANTIZE": 2, "DEQUANTIZE": 3}  # the first ones that support int16


def simulate(data: bytes, match: Match, weights: Iterable[int] = (), grids: Iterable[int] = ()) -> bytes:
    """Give some layers of a float file the weights and roundings of the integer file.

    A rounding is a QUANTIZE and a DEQUANTIZE after a result, with the scale and zero point of the integer file. Inputs and
    outputs keep their tensor indices.

    Args:
        data: bytes of the float file.
        match: its match with the integer file.
        weights: indices into match.layers of the layers that get the integer file's weights.
        grids: indices into match.layers of the layers whose results are rounded.

    Returns:
        The bytes of the changed file.
    """
    return _Rewriter(data, match).simulate(set(weights), set(grids))


def with_quantized_copies(data: bytes, match: Match) -> tuple[bytes, dict[int, int]]:
    """Add a second copy, with the integer file's weights, of every layer that has quantized weights to a float file.

    A copy reads the same float tensors as the original. The two differ only by the weights of this one layer.

    Args:
        data: bytes of the float file.
        match: its match with the integer file.

    Returns:
        The bytes of the changed file, and {layer index: tensor of the copy's result}. These tensors and the float results of
        all layers are outputs of the file.
    """
    return _Rewriter(data, match).with_quantized_copies()


def expose(data: bytes, tensors: Iterable[int]) -> bytes:
    """Add outputs to a .tflite file, which makes the runtime keep these tensors.

    Args:
        data: bytes of the file.
        tensors: indices of the tensors.

    Returns:
        The bytes of the changed file.
    """
    rewriter = _Rewriter(data, None)
    rewriter.add_outputs(tensors)
    return rewriter.packed()


class _Rewriter:
    """Edits the first subgraph of a file through the schema's object API."""

    def __init__(self, data: bytes, match: Match | None) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema: Any = schema
        self.match: Any = match
        self.model = schema.ModelT.InitFromPackedBuf(data, 0)
        self.model.signatureDefs = None  # they name the original tensors
        self.graph = self.model.subgraphs[0]
        self.operators = list(self.graph.operators)
        for op in self.operators:
            op.inputs, op.outputs = [int(i) for i in op.inputs], [int(i) for i in op.outputs]
        self.outputs = [int(i) for i in self.graph.outputs]
        self.makers = {tensor: k for k, op in enumerate(self.operators) for tensor in op.outputs}
        self.added: list[tuple[int, Any]] = []  # (index of the operator that it follows, operator)
        self.codes: dict[str, int] = {}

    def simulate(self, weights: set[int], grids: set[int]) -> bytes:
        for number in weights:
            layer = self.match.layers[number]
            if layer.weights:
                self._put_weights(self.operators[layer.float_op], layer.weights)
        layers = [self.match.layers[k] for k in grids]
        self.quant_params: dict[int, QuantParams] = {layer.integer: layer.quant_params for layer in layers}
        self.results: dict[int, int] = {}
        for (number, operand), tensor in self.match.reads.items():
            self.operators[number].inputs[operand] = self._result(tensor)
        outputs = {output: self._result(tensor) for output, tensor in self.match.outputs.items()}
        return self.packed(self._swaps(outputs))

    def with_quantized_copies(self) -> tuple[bytes, dict[int, int]]:
        copies = {}
        for number, layer in enumerate(self.match.layers):
            if not layer.weights:
                continue
            source = self.operators[layer.float_op]
            op = self._copied(source, layer.float_op)
            self._put_weights(op, layer.weights)
            result = op.outputs[0]
            for index in layer.clips:
                clip = self._copied(self.operators[index], layer.clips[-1])
                before = source.outputs[0]
                clip.inputs = [result if i == before else i for i in clip.inputs]
                source, result = self.operators[index], clip.outputs[0]
            copies[number] = result
        self.add_outputs([*copies.values(), *(layer.float for layer in self.match.layers)])
        return self.packed(), copies

    def add_outputs(self, tensors: Iterable[int]) -> None:
        inputs = {int(i) for i in self.graph.inputs}  # the runtime keeps inputs anyway
        self.outputs += [i for i in dict.fromkeys(tensors) if i not in self.outputs and i not in inputs]

    def packed(self, swaps: Mapping[int, int] | None = None) -> bytes:
        """The bytes of the file, with the tensor indices swapped as in {index: index} `swaps`."""
        swaps = swaps or {}
        keyed = [(index, 0, op) for index, op in enumerate(self.operators)]
        keyed += [(index, order, op) for order, (index, op) in enumerate(self.added, 1)]
        self.graph.operators = [op for *_, op in sorted(keyed, key=lambda entry: entry[:2])]
        for op in self.graph.operators:
            op.inputs = [swaps.get(i, i) for i in op.inputs]
            op.outputs = [swaps.get(i, i) for i in op.outputs]
        tensors = list(self.graph.tensors)
        for old, new in swaps.items():
            self.graph.tensors[new] = tensors[old]
        self.graph.outputs = self.outputs
        op_order.forget(self.model)
        return flatbuffer.pack(self.model)

    @staticmethod
    def _swaps(outputs: Mapping[int, int]) -> dict[int, int]:
        """{index: index} that gives the new results the indices of the outputs."""
        swaps: dict[int, int] = {}
        for output, result in outputs.items():
            if output != result:
                swaps |= {output: result, result: output}
        return swaps

    def _result(self, tensor: int) -> int:
        """The float tensor that now corresponds to an integer tensor, with the chosen roundings applied before it."""
        if tensor not in self.results:
            source = self.match.sources.get(tensor)
            before = self.match.stands_for[tensor] if source is None else self._result(source)
            quant_params = self.quant_params.get(tensor)
            maker = self.makers.get(self.match.stands_for[tensor], -1)
            self.results[tensor] = before if quant_params is None else self._round(before, quant_params, maker)
        return self.results[tensor]

    def _round(self, source: int, quant_params: QuantParams, maker: int) -> int:
        scale, zero_point, dtype = quant_params
        quantization = self.schema.QuantizationParametersT()
        quantization.scale, quantization.zeroPoint = [scale], [zero_point]
        kind = getattr(self.schema.TensorType, dtype.upper())
        stored = self._tensor_like(source, "levels", type=kind, quantization=quantization)
        result = self._tensor_like(source, "rounded")
        self._add("QUANTIZE", source, stored, maker)
        self._add("DEQUANTIZE", stored, result, maker)
        return result

    def _tensor_like(self, index: int, label: str, **changes: Any) -> int:
        tensor = copy.copy(self.graph.tensors[index])
        tensor.buffer = 0  # always empty in this format
        name = tensor.name.decode() if isinstance(tensor.name, bytes) else (tensor.name or "")
        tensor.name = f"{name.split(';')[0]}/{label}{len(self.graph.tensors)}"
        for key, value in changes.items():
            setattr(tensor, key, value)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _add(self, name: str, source: int, result: int, after: int) -> None:
        op = self.schema.OperatorT()
        op.opcodeIndex = self._code(name)
        op.inputs, op.outputs = [source], [result]
        self.added.append((after, op))

    def _code(self, name: str) -> int:
        if name not in self.codes:
            code = self.schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = getattr(self.schema.BuiltinOperator, name)
            code.version = _VERSIONS[name]
            self.model.operatorCodes.append(code)
            self.codes[name] = len(self.model.operatorCodes) - 1
        return self.codes[name]

    def _copied(self, op: Any, after: int) -> Any:
        """A copy of an operator that follows operator `after` and writes its own tensors."""
        duplicate = copy.copy(op)
        duplicate.inputs = list(op.inputs)
        duplicate.outputs = [self._tensor_like(i, "copy") for i in op.outputs]
        self.added.append((after, duplicate))
        return duplicate

    def _put_weights(self, op: Any, weights: Mapping[int, np.ndarray]) -> None:
        """Give an operator its own copies of constants, because layers of a float file share equal ones."""
        for operand, values in weights.items():
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor = self.schema.TensorT()
            tensor.name = f"weights{len(self.graph.tensors)}"
            tensor.type = self.schema.TensorType.FLOAT32
            tensor.shape = list(values.shape)
            tensor.hasRank = True
            tensor.buffer = len(self.model.buffers) - 1
            self.graph.tensors.append(tensor)
            op.inputs += [-1] * (operand + 1 - len(op.inputs))
            op.inputs[operand] = len(self.graph.tensors) - 1
