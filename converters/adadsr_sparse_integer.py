"""AdaDSR's sparse form in 8 bits: the dense uint8 file with its masked blocks exchanged for sparse ones.

TensorFlow's quantizer would measure the sparse graph's tensors anew and leave parts of its index arithmetic in float. Here the
blocks' operators come from a float conversion of converters/adadsr_sparse.py with marker weights, and every float tensor among
them gets type, scale and zero point of what it stands for in the dense file; gathers, paddings and zero rows keep those of
their source. Weights and biases are the dense file's own, so that both paths calculate the same integers.
"""

import copy
import dataclasses

import numpy as np

from mobile_sr.converters import adadsr_sparse
from mobile_sr.converters.quiet import quiet
from mobile_sr.converters.tflite import flatbuffer

# Operators whose result has the values of their first input.
_MOVES = {"RESHAPE", "GATHER", "PAD", "SLICE", "STRIDED_SLICE", "MAX_POOL_2D", "UNPACK"}
_WITH_INT8 = {"CONCATENATION": 2, "MUL": 2, "ADD": 2, "SUB": 2, "GREATER": 2, "PAD": 2, "MAX_POOL_2D": 2, "STRIDED_SLICE": 2,
              "UNPACK": 2, "CONV_2D": 3, "FULLY_CONNECTED": 4, "GATHER": 2, "MEAN": 2, "LOGISTIC": 2}  # fmt: skip


class NoSparseForm(ValueError):
    """The file's blocks are not as TensorFlow's quantizer writes them."""


@dataclasses.dataclass
class _Block:
    """The operators of a block in the dense file; squeeze, excite, gate and scale are None without channel attention."""

    x: int
    conv1: object
    conv2: object
    mask: object  # subtracts from the depth
    masked: object
    mean: object
    squeeze: object
    excite: object
    gate: object
    scaled: object
    add: object


def convert(data, model, threshold=None):
    """The dense uint8 or int8 file with sparse blocks.

    Args:
        data: to_tflite.convert's bytes for the form 'dense'. model: the Keras model, for its blocks' order and shapes.
        threshold: as for sparse.function; None for sparse.dense_above of integers.
    Returns: bytes with one subgraph and those of its branches.
    Raises: NoSparseForm.
    """
    return _Splice(data, model, threshold).run()


class _Splice:
    def __init__(self, data, model, threshold):
        from ai_edge_litert import schema_py_generated as schema

        self.schema, self.keras, self.threshold = schema, model, threshold
        self.kinds = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
        self.model = schema.ModelT.InitFromPackedBuf(data, 0)
        self.graph = self.model.subgraphs[0]

    def run(self):
        found, names = self._blocks(), list(adadsr_sparse.blocks(self.keras))
        if len(found) != len(names):
            raise NoSparseForm(f"{len(found)} masked blocks in the file, {len(names)} in the model")
        chain = []
        for name, block in zip(names, found, strict=True):
            if chain and chain[-1][1].add.outputs[0] != block.x:
                self._exchange(chain)
                chain = []
            chain.append((name, block))
        self._exchange(chain)
        self._drop_unused()
        return flatbuffer.pack(self.model)

    def _kind(self, op, model=None):
        return None if op is None else self.kinds[(model or self.model).operatorCodes[op.opcodeIndex].builtinCode]

    def _blocks(self):
        """The file's _Blocks in order."""
        makers = {int(tensor): op for op in self.graph.operators for tensor in op.outputs}

        def maker(tensor, kind):
            op = makers.get(int(tensor))
            return op if self._kind(op) == kind else None

        blocks = []
        for add in self.graph.operators:
            if self._kind(add) == "ADD":
                for x, y in (add.inputs, add.inputs[::-1]):
                    scaled = maker(y, "MUL")
                    gate = scaled and maker(scaled.inputs[1], "LOGISTIC")
                    excite = gate and maker(gate.inputs[0], "CONV_2D")
                    squeeze = excite and maker(excite.inputs[0], "CONV_2D")
                    mean = squeeze and maker(squeeze.inputs[0], "MEAN")
                    masked = maker(scaled.inputs[0], "MUL") if gate else scaled
                    conv2 = masked and maker(masked.inputs[0], "CONV_2D")
                    mask = masked and maker(masked.inputs[1], "SUB")
                    conv1 = conv2 and maker(conv2.inputs[0], "CONV_2D")
                    if conv1 and mask and int(conv1.inputs[0]) == int(x):
                        scaled = scaled if gate else None
                        blocks.append(_Block(int(x), conv1, conv2, mask, masked, mean, squeeze, excite, gate, scaled, add))
        return blocks

    def _exchange(self, chain):
        """Put the sparse form of blocks that follow each other, [(name, _Block)], where the last one ends."""
        slicer = next(op for op in self.graph.operators if chain[0][1].mask.inputs[0] in op.outputs)
        depth = int(slicer.inputs[0] if self._kind(slicer) in ("SLICE", "STRIDED_SLICE") else chain[0][1].mask.inputs[0])
        part, markers = _template(self.schema, self.keras, [name for name, _ in chain], self.threshold)
        ends = [int(i) for i in part.subgraphs[0].inputs], int(part.subgraphs[0].outputs[0])
        last = chain[-1][1]
        known = {ends[0][0]: (chain[0][1].x, None), ends[0][1]: (depth, None)}
        _Quantizer(self, part, [block for _, block in chain], markers, depth).quantize(part.subgraphs[0], known)
        first = len(self.model.subgraphs) - 1  # the part's first subgraph becomes operators of this file's
        buffers = self._take_buffers(part)
        codes = [self._code(code) for code in part.operatorCodes]
        for subgraph in part.subgraphs:
            for tensor in subgraph.tensors:
                tensor.buffer = buffers.get(tensor.buffer, tensor.buffer) if not hasattr(tensor, "own") else tensor.own
            for op in subgraph.operators:
                op.opcodeIndex = codes[op.opcodeIndex]
                for field in ("thenSubgraphIndex", "elseSubgraphIndex"):
                    if hasattr(op.builtinOptions, field):
                        setattr(op.builtinOptions, field, getattr(op.builtinOptions, field) + first)
        self.model.subgraphs += part.subgraphs[1:]
        offset = len(self.graph.tensors)
        self.graph.tensors += part.subgraphs[0].tensors
        places = {ends[0][0]: chain[0][1].x, ends[0][1]: depth, ends[1]: int(last.add.outputs[0])}

        def place(tensor):
            return -1 if tensor < 0 else places.get(int(tensor), int(tensor) + offset)

        for op in part.subgraphs[0].operators:
            op.inputs, op.outputs = [place(i) for i in op.inputs], [place(i) for i in op.outputs]
        operators = list(self.graph.operators)
        at = next(k for k, op in enumerate(operators) if op is last.add)
        self.graph.operators = operators[:at] + part.subgraphs[0].operators + operators[at + 1 :]

    def _take_buffers(self, part):
        """{index of a buffer in `part`: its index here}."""
        places = {0: 0}
        for subgraph in part.subgraphs:
            for tensor in subgraph.tensors:
                if tensor.buffer not in places and not hasattr(tensor, "own"):
                    places[tensor.buffer] = len(self.model.buffers)
                    self.model.buffers.append(part.buffers[tensor.buffer])
        return places

    def _code(self, code):
        name = self.kinds[code.builtinCode]
        code.version = max(code.version, _WITH_INT8.get(name, 1))
        for place, known in enumerate(self.model.operatorCodes):
            if known.builtinCode == code.builtinCode:
                known.version = max(known.version, code.version)
                return place
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def _drop_unused(self):
        """Without the operators and tensors that no output needs."""
        needed, kept = {int(i) for i in self.graph.outputs}, []
        for op in reversed(self.graph.operators):
            if needed & {int(i) for i in op.outputs}:
                needed |= {int(i) for i in op.inputs if i >= 0}
                kept.append(op)
        needed |= {int(i) for i in self.graph.inputs} | {int(i) for op in kept for i in op.outputs}
        places = {old: new for new, old in enumerate(sorted(needed))}
        places[-1] = -1
        self.graph.operators = kept[::-1]
        self.graph.tensors = [self.graph.tensors[i] for i in sorted(needed)]
        for ends in (*self.graph.operators, self.graph):
            ends.inputs, ends.outputs = ([places[int(i)] for i in part] for part in (ends.inputs, ends.outputs))
        for signature in self.model.signatureDefs or []:
            for end in (*signature.inputs, *signature.outputs):
                end.tensorIndex = places[int(end.tensorIndex)]


class _Quantizer:
    """Gives the float tensors of a converted chain of blocks the dense file's quantization.

    `known` maps a tensor to (the dense file's tensor whose values it has, the number of the block that made it or None).
    """

    def __init__(self, splice, part, blocks, markers, depth):
        self.splice, self.part, self.blocks, self.markers, self.depth = splice, part, blocks, markers, depth
        self.dense, self.schema, self.exchanged = splice.graph.tensors, splice.schema, {}

    def quantize(self, subgraph, known):
        """Quantize a subgraph whose inputs are `known`. Returns: the known tensors, its outputs among them."""
        tensors = subgraph.tensors
        for op in subgraph.operators:
            kind = self.splice._kind(op, self.part)
            op.inputs = [int(i) for i in op.inputs]
            if kind == "IF":
                options = op.builtinOptions
                for number in (options.thenSubgraphIndex, options.elseSubgraphIndex):
                    branch = self.part.subgraphs[number]
                    pairs = zip(branch.inputs, op.inputs[1:], strict=True)
                    inner = self.quantize(branch, {int(i): known[int(o)] for i, o in pairs if int(o) in known})
                    pairs = zip(branch.outputs, op.outputs, strict=True)
                    known |= {int(o): inner[int(i)] for i, o in pairs if int(i) in inner}
                continue
            floats = [int(i) for i in op.inputs if i >= 0 and tensors[i].type == self.schema.TensorType.FLOAT32]
            if floats:
                result = self._operator(op, kind, tensors, floats, known)
                if result is not None:
                    known |= {int(i): result for i in op.outputs}
        for index, (source, _) in known.items():
            self._like(tensors[index], self.dense[source])
        return known

    def _operator(self, op, kind, tensors, floats, known):
        """(dense tensor, block) of an operator's result, None where that is no real number; its constants are exchanged."""
        varying = [known[i] for i in floats if i in known]
        constants = [place for place, i in enumerate(op.inputs) if int(i) in floats and int(i) not in known]
        numbers = [number for _, number in varying if number is not None]
        if kind == "SHAPE":
            return None
        if kind in ("FULLY_CONNECTED", "CONV_2D"):
            number, name = self.markers[self._values(tensors[op.inputs[1]])[0]]
            twin = getattr(self.blocks[number], name)
            for place in (1, 2):
                self._exchange(op, place, tensors, self.dense[twin.inputs[place]])
            return int(twin.outputs[0]), number
        if kind in ("CONCATENATION", "GREATER", "GATHER"):
            source = varying[0][0] if varying else self.depth
            for place in constants:
                self._exchange_levels(op, place, tensors, self.dense[source])
            return None if kind == "GREATER" else (varying or [(self.depth, None)])[0]
        if kind in _MOVES:
            return varying[0]
        if kind == "SUB":
            number = round(float(self._values(tensors[op.inputs[constants[0]]])[0]) - 0.5)
            mask = self.blocks[number].mask
            self._exchange(op, constants[0], tensors, self.dense[mask.inputs[1]])
            return int(mask.outputs[0]), None
        if kind == "ADD" and constants:  # a block whose mask is 0 everywhere
            block = self.blocks[round(float(self._values(tensors[op.inputs[constants[0]]])[0]) - 0.5)]
            added = self.dense[(block.scaled or block.masked).outputs[0]]
            self._exchange_levels(op, constants[0], tensors, added, nothing=True)
            op.builtinOptions.fusedActivationFunction = self.schema.ActivationFunctionType.NONE
            return int(block.add.outputs[0]), None
        block = self.blocks[numbers[0]] if numbers else None
        if block is None or kind not in ("MUL", "ADD", "MEAN", "LOGISTIC"):
            raise NoSparseForm(f"no integer form of {kind} in the sparse blocks")
        if kind == "ADD":  # ends its block
            return int(block.add.outputs[0]), None
        if kind == "MUL":
            gated = block.gate is not None and any(source == int(block.gate.outputs[0]) for source, _ in varying)
            twin = block.scaled if gated else block.masked
        else:
            twin = block.mean if kind == "MEAN" else block.gate
        return int(twin.outputs[0]), numbers[0]

    def _values(self, tensor):
        return np.frombuffer(bytes(self.part.buffers[tensor.buffer].data), "<f4")

    def _like(self, tensor, source):
        tensor.type, tensor.quantization = source.type, copy.copy(source.quantization)

    def _exchange(self, op, place, tensors, source):
        """Give an operator the dense file's constant `source` in the shape of its own."""
        self._replace(op, place, tensors, source, lambda tensor: source.buffer)

    def _exchange_levels(self, op, place, tensors, source, nothing=False):
        """Give an operator its constant's values, or zeros, on the grid of `source`, rounded down.

        Rows are so many more than needed, by those whose mask rounds to 0, and never fewer.
        """

        def make(tensor):
            values = self._values(tensor) * (0 if nothing else 1)
            levels = np.floor(values / source.quantization.scale[0] + 1e-3) + source.quantization.zeroPoint[0]
            buffer = self.schema.BufferT()
            buffer.data = np.clip(levels, -128, 127).astype(np.int8).view(np.uint8)
            self.splice.model.buffers.append(buffer)
            return len(self.splice.model.buffers) - 1

        self._replace(op, place, tensors, source, make)

    def _replace(self, op, place, tensors, source, make):
        key = id(tensors), op.inputs[place], id(source)  # one constant of the float form may stand for several
        if key not in self.exchanged:
            tensor = copy.copy(tensors[op.inputs[place]])
            tensor.own = make(tensor)
            self._like(tensor, source)
            tensors.append(tensor)
            self.exchanged[key] = len(tensors) - 1
        op.inputs[place] = self.exchanged[key]


def _template(schema, model, names, threshold):
    """(ModelT of a float conversion of the blocks `names`, {marker: (number, name of the convolution in _Block)}).

    The weights of a convolution all are its marker.
    """
    import tensorflow as tf

    channels = adadsr_sparse.blocks(model)[names[0]].conv1.kernel.shape[-1]
    threshold = adadsr_sparse.dense_above(channels, integer=True) if threshold is None else threshold
    walk = _Template(model, adadsr_sparse.chunks_for(channels, integer=True), threshold)
    markers = {}
    for number, name in enumerate(names):
        block = walk.blocks[name]
        for part in ("conv1", "conv2", "squeeze", "excite"):
            layer = getattr(block, part)
            if layer is not None:
                marker = np.float32(len(markers) + 1)
                markers[marker] = number, part
                walk.arrays[layer.name] = [np.full(w.shape, marker, np.float32) for w in walk.arrays[layer.name]]
    first = walk.blocks[names[0]]
    specs = [tf.TensorSpec((1, None, None, end.shape[-1])) for end in (first.conv1.input, first.mask.input)]
    traced = tf.function(lambda x, depth: walk.run_blocks(names, x, depth), specs, autograph=False)
    with quiet():
        data = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()]).convert()
    return schema.ModelT.InitFromPackedBuf(data, 0), markers


class _Template(adadsr_sparse.Walk):
    """The sparse form in operators that have one of the dense file's as a twin."""

    def run_blocks(self, names, x, depth):
        self.numbers = {id(self.blocks[name]): number for number, name in enumerate(names)}
        return super().run_blocks(names, x, depth)

    def _mask(self, block, depth):
        """One subtraction, which ends at 0 and 1 by its quantization; the half keeps block 0's from vanishing."""
        which = block.mask.depth_map
        return depth[..., which : which + 1] - (self.numbers[id(block)] + 0.5)

    def _pass(self, part, x):
        """Zeros are added: the dense blocks change the scale even where they change no value.

        The constants are markers; without a ReLU between, the converter would make one addition of all.
        """
        for block in part:
            x = self.tf.nn.relu(x + (self.numbers[id(block)] + 0.5))
        return x

    def _mean_of_rows(self, y, places, rows, live):
        """Of the whole picture, as the dense file has it; of one pixel where the block has no rows."""
        tf = self.tf
        numbers = tf.scatter_nd(
            tf.reshape(rows.pixels, (-1, 1)), tf.range(1, tf.size(rows.pixels) + 1), tf.reshape(self.area, (1,))
        )
        numbers = numbers[: 1 + (self.area - 1) * live] * live
        picture = tf.gather(y, tf.gather(places, numbers))
        shape = (1, 1 + (self.height - 1) * live, 1 + (self.width - 1) * live, y.shape[-1])
        return self._mean(tf.reshape(picture, shape))

    def _mean(self, y):
        return self.tf.reduce_mean(y, axis=(1, 2), keepdims=True)

    def _attention(self, block, mean):
        tf = self.tf
        for layer in (block.squeeze, block.excite):
            kernel, bias = self.arrays[layer.name]
            mean = layer.activation(tf.nn.conv2d(mean, kernel, 1, "VALID") + bias)
        return tf.reshape(mean, (1, -1))
