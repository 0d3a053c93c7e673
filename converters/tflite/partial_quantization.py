"""A float .tflite with chosen parts of its integer twin's quantization, to see what each part costs. Needs no TensorFlow."""

import copy

import numpy as np

from mobile_sr.converters.tflite import flatbuffer, op_order

_VERSIONS = {"QUANTIZE": 2, "DEQUANTIZE": 3}  # the first that know int16


def simulate(data, match, weights=(), grids=()):
    """The float file with some layers' weights and roundings taken from the integer file.

    A rounding is a QUANTIZE and a DEQUANTIZE, with the integer file's scale and zero point, behind a result. Inputs and
    outputs keep their tensor indices.

    Args:
        data: bytes of the float file. match: tflite_match.Match of it.
        weights, grids: indices into match.layers.
    Returns: bytes.
    """
    return _Rewriter(data, match).simulate(set(weights), set(grids))


def beside(data, match):
    """The float file with a second copy of every layer that has quantized weights, which has the integer file's.

    The copies read the same float tensors as the originals, so that the two differ by this one layer's weights alone.
    Returns: (bytes, {layer index: tensor of the copy's result}); those and all layers' float results are outputs.
    """
    return _Rewriter(data, match).beside()


def expose(data, tensors):
    """The file with further tensors as outputs, so that the runtime keeps them."""
    rewriter = _Rewriter(data, None)
    rewriter.add_outputs(tensors)
    return rewriter.packed()


class _Rewriter:
    """Edits the first subgraph of a file through the schema's object API."""

    def __init__(self, data, match):
        from ai_edge_litert import schema_py_generated as schema

        self.schema, self.match = schema, match
        self.model = schema.ModelT.InitFromPackedBuf(data, 0)
        self.model.signatureDefs = None  # they name the original tensors
        self.graph = self.model.subgraphs[0]
        self.operators = list(self.graph.operators)
        for op in self.operators:
            op.inputs, op.outputs = [int(i) for i in op.inputs], [int(i) for i in op.outputs]
        self.outputs = [int(i) for i in self.graph.outputs]
        self.places = {tensor: k for k, op in enumerate(self.operators) for tensor in op.outputs}
        self.added = []  # (place of the operator after which it stands, operator)
        self.codes = {}

    def simulate(self, weights, grids):
        for number in weights:
            layer = self.match.layers[number]
            if layer.weights:
                self._put_weights(self.operators[layer.float_op], layer.weights)
        self.rounded = {self.match.layers[k].integer: self.match.layers[k].grid for k in grids}
        self.results = {}
        for (number, place), tensor in self.match.reads.items():
            self.operators[number].inputs[place] = self._result(tensor)
        moved = {wanted: self._result(tensor) for wanted, tensor in self.match.outputs.items()}
        return self.packed(self._trades(moved))

    def beside(self):
        copies = {}
        for number, layer in enumerate(self.match.layers):
            if not layer.weights:
                continue
            source = self.operators[layer.float_op]
            op = self._copied(source, layer.float_op)
            self._put_weights(op, layer.weights)
            result = op.outputs[0]
            for place in layer.clips:
                clip = self._copied(self.operators[place], layer.clips[-1])
                before = source.outputs[0]
                clip.inputs = [result if i == before else i for i in clip.inputs]
                source, result = self.operators[place], clip.outputs[0]
            copies[number] = result
        self.add_outputs([*copies.values(), *(layer.float for layer in self.match.layers)])
        return self.packed(), copies

    def add_outputs(self, tensors):
        inputs = {int(i) for i in self.graph.inputs}  # the runtime keeps them anyway
        self.outputs += [i for i in dict.fromkeys(tensors) if i not in self.outputs and i not in inputs]

    def packed(self, trades=None):
        """The file's bytes, tensors having traded their indices as `trades` says."""
        trades = trades or {}
        keyed = [(place, 0, op) for place, op in enumerate(self.operators)]
        keyed += [(place, order, op) for order, (place, op) in enumerate(self.added, 1)]
        self.graph.operators = [op for *_, op in sorted(keyed, key=lambda entry: entry[:2])]
        for op in self.graph.operators:
            op.inputs = [trades.get(i, i) for i in op.inputs]
            op.outputs = [trades.get(i, i) for i in op.outputs]
        tensors = list(self.graph.tensors)
        for old, new in trades.items():
            self.graph.tensors[new] = tensors[old]
        self.graph.outputs = self.outputs
        op_order.forget(self.model)
        return flatbuffer.pack(self.model)

    @staticmethod
    def _trades(moved):
        """{index: index} by which the new results get the outputs' own indices."""
        trades = {}
        for wanted, found in moved.items():
            if wanted != found:
                trades |= {wanted: found, found: wanted}
        return trades

    def _result(self, tensor):
        """The float tensor that now stands for an integer tensor, with the chosen roundings on the way to it."""
        if tensor not in self.results:
            source = self.match.sources.get(tensor)
            before = self.match.stands_for[tensor] if source is None else self._result(source)
            grid = self.rounded.get(tensor)
            place = self.places.get(self.match.stands_for[tensor], -1)
            self.results[tensor] = before if grid is None else self._round(before, grid, place)
        return self.results[tensor]

    def _round(self, source, grid, place):
        scale, zero_point, dtype = grid
        quantization = self.schema.QuantizationParametersT()
        quantization.scale, quantization.zeroPoint = [scale], [zero_point]
        kind = getattr(self.schema.TensorType, dtype.upper())
        stored = self._tensor_like(source, "levels", type=kind, quantization=quantization)
        result = self._tensor_like(source, "rounded")
        self._add("QUANTIZE", source, stored, place)
        self._add("DEQUANTIZE", stored, result, place)
        return result

    def _tensor_like(self, index, label, **changes):
        tensor = copy.copy(self.graph.tensors[index])
        tensor.buffer = 0  # the schema's empty one
        name = tensor.name.decode() if isinstance(tensor.name, bytes) else (tensor.name or "")
        tensor.name = f"{name.split(';')[0]}/{label}{len(self.graph.tensors)}"
        for key, value in changes.items():
            setattr(tensor, key, value)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _add(self, name, source, result, place):
        op = self.schema.OperatorT()
        op.opcodeIndex = self._code(name)
        op.inputs, op.outputs = [source], [result]
        self.added.append((place, op))

    def _code(self, name):
        if name not in self.codes:
            code = self.schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = getattr(self.schema.BuiltinOperator, name)
            code.version = _VERSIONS[name]
            self.model.operatorCodes.append(code)
            self.codes[name] = len(self.model.operatorCodes) - 1
        return self.codes[name]

    def _copied(self, op, place):
        """A copy of an operator that stands after operator `place` and writes tensors of its own."""
        twin = copy.copy(op)
        twin.inputs = list(op.inputs)
        twin.outputs = [self._tensor_like(i, "copy") for i in op.outputs]
        self.added.append((place, twin))
        return twin

    def _put_weights(self, op, weights):
        """Give an operator constants of its own: a float file shares equal ones between layers."""
        for place, values in weights.items():
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
            op.inputs += [-1] * (place + 1 - len(op.inputs))
            op.inputs[place] = len(self.graph.tensors) - 1
