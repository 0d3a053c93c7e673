"""AdaDSR's sparse form in 8 bits: the dense uint8 or int8 file with its masked blocks replaced by sparse ones.

TensorFlow's quantizer would measure the tensors of the sparse graph again and leave parts of its index arithmetic in float.
Instead, the operators of the blocks come from a float conversion of sparse_form.py with marker weights. Each of its float
tensors gets the type, scale and zero point of the corresponding tensor of the dense file. Gathers, paddings and zero rows keep
those of their source. Weights and biases are those of the dense file, and both paths compute the same integers.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr.adadsr import sparse_form
from mobile_sr.converters.quiet import quiet
from mobile_sr.converters.tflite import flatbuffer

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    Known = dict[int, tuple[int, int | None]]

# Operators that move the values of their first input.
_MOVES = {"RESHAPE", "GATHER", "PAD", "SLICE", "STRIDED_SLICE", "MAX_POOL_2D", "UNPACK"}
# {operator: first version that supports int8}.
_INT8_VERSIONS = {
    **dict.fromkeys(("CONCATENATION", "MUL", "ADD", "SUB", "GREATER", "PAD", "MAX_POOL_2D", "STRIDED_SLICE", "UNPACK"), 2),
    **dict.fromkeys(("GATHER", "MEAN", "LOGISTIC"), 2),
    "CONV_2D": 3,
    "FULLY_CONNECTED": 4,
}


class NoSparseForm(ValueError):
    """The blocks in the file do not have the form that TensorFlow's quantizer writes."""


@dataclasses.dataclass
class _Block:
    """The operators of a block in the dense file; mean, squeeze, excite, gate and scaled are None without channel attention.

    Attributes:
        x: tensor that the block reads.
        conv1: first convolution.
        conv2: second convolution.
        mask: subtraction that makes the mask from the depth.
        masked: product of conv2 and the mask.
        mean: mean over the pixels.
        squeeze: first convolution of the channel attention.
        excite: second convolution of the channel attention.
        gate: sigmoid of the channel attention.
        scaled: product of `masked` and the gate.
        add: addition that ends the block.
    """

    x: int
    conv1: Any
    conv2: Any
    mask: Any
    masked: Any
    mean: Any
    squeeze: Any
    excite: Any
    gate: Any
    scaled: Any
    add: Any


def convert(data: bytes, model: keras.Model, threshold: float | None = None) -> bytes:
    """Replace the masked blocks of a dense uint8 or int8 file by sparse ones.

    Args:
        data: bytes of to_tflite.convert in the form 'dense'.
        model: the Keras model, from which the order and shapes of its blocks are read.
        threshold: as for sparse_form.function; None for sparse_form.dense_above of integers.

    Returns:
        The bytes of a file with one subgraph and those of its branches.

    Raises:
        NoSparseForm: the blocks of the model were not found in the file.
    """
    return _Splice(data, model, threshold).run()


class _Splice:
    """Finds the chains of blocks in a dense file and replaces them."""

    def __init__(self, data: bytes, model: keras.Model, threshold: float | None) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema: Any = schema
        self.keras_model, self.threshold = model, threshold
        self.kinds = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
        self.model = schema.ModelT.InitFromPackedBuf(data, 0)
        self.graph = self.model.subgraphs[0]

    def run(self) -> bytes:
        in_file, names = self._blocks(), list(sparse_form.blocks(self.keras_model))
        if len(in_file) != len(names):
            raise NoSparseForm(f"the file has {len(in_file)} masked blocks, the model {len(names)}")
        chain: list[tuple[str, _Block]] = []
        for name, block in zip(names, in_file, strict=True):
            if chain and chain[-1][1].add.outputs[0] != block.x:
                self._replace(chain)
                chain = []
            chain.append((name, block))
        self._replace(chain)
        self._drop_unused()
        return flatbuffer.pack(self.model)

    def _kind(self, op: Any, model: Any = None) -> str | None:
        return None if op is None else self.kinds[(model or self.model).operatorCodes[op.opcodeIndex].builtinCode]

    def _blocks(self) -> list[_Block]:
        """The blocks of the file in order."""
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

    def _replace(self, chain: Sequence[tuple[str, _Block]]) -> None:
        """Replace consecutive blocks, [(name, _Block)], by their sparse form, at the position of the last one's end."""
        slicer = next(op for op in self.graph.operators if chain[0][1].mask.inputs[0] in op.outputs)
        depth = int(slicer.inputs[0] if self._kind(slicer) in ("SLICE", "STRIDED_SLICE") else chain[0][1].mask.inputs[0])
        part, markers = _template(self.schema, self.keras_model, [name for name, _ in chain], self.threshold)
        part_x, part_depth = (int(i) for i in part.subgraphs[0].inputs)
        part_output = int(part.subgraphs[0].outputs[0])
        last = chain[-1][1]
        known: Known = {part_x: (chain[0][1].x, None), part_depth: (depth, None)}
        _Quantizer(self, part, [block for _, block in chain], markers, depth).quantize(part.subgraphs[0], known)
        first = len(self.model.subgraphs) - 1  # the operators of the part's first subgraph move into that of this file
        buffers = self._copy_buffers(part)
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
        replaced = {part_x: chain[0][1].x, part_depth: depth, part_output: int(last.add.outputs[0])}

        def index(tensor):
            return -1 if tensor < 0 else replaced.get(int(tensor), int(tensor) + offset)

        for op in part.subgraphs[0].operators:
            op.inputs, op.outputs = [index(i) for i in op.inputs], [index(i) for i in op.outputs]
        operators = list(self.graph.operators)
        at = next(k for k, op in enumerate(operators) if op is last.add)
        self.graph.operators = operators[:at] + part.subgraphs[0].operators + operators[at + 1 :]

    def _copy_buffers(self, part: Any) -> dict[int, int]:
        """Copy the buffers of `part`: {index of a buffer in `part`: its index in this file}."""
        indices = {0: 0}
        for subgraph in part.subgraphs:
            for tensor in subgraph.tensors:
                if tensor.buffer not in indices and not hasattr(tensor, "own"):
                    indices[tensor.buffer] = len(self.model.buffers)
                    self.model.buffers.append(part.buffers[tensor.buffer])
        return indices

    def _code(self, code: Any) -> int:
        """Index of an operator code in this file, to which it is added if missing."""
        name = self.kinds[code.builtinCode]
        code.version = max(code.version, _INT8_VERSIONS.get(name, 1))
        for index, known in enumerate(self.model.operatorCodes):
            if known.builtinCode == code.builtinCode:
                known.version = max(known.version, code.version)
                return index
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def _drop_unused(self) -> None:
        """Remove the operators and tensors that no output needs."""
        needed, kept = {int(i) for i in self.graph.outputs}, []
        for op in reversed(self.graph.operators):
            if needed & {int(i) for i in op.outputs}:
                needed |= {int(i) for i in op.inputs if i >= 0}
                kept.append(op)
        needed |= {int(i) for i in self.graph.inputs} | {int(i) for op in kept for i in op.outputs}
        new_index = {old: new for new, old in enumerate(sorted(needed))}
        new_index[-1] = -1
        self.graph.operators = kept[::-1]
        self.graph.tensors = [self.graph.tensors[i] for i in sorted(needed)]
        for owner in (*self.graph.operators, self.graph):
            owner.inputs, owner.outputs = ([new_index[int(i)] for i in part] for part in (owner.inputs, owner.outputs))
        for signature in self.model.signatureDefs or []:
            for entry in (*signature.inputs, *signature.outputs):
                entry.tensorIndex = new_index[int(entry.tensorIndex)]


class _Quantizer:
    """Gives the float tensors of a converted chain of blocks the quantization of the dense file.

    `known` maps a tensor to (the tensor of the dense file with the same values, the number of the block that computes it or
    None).
    """

    def __init__(
        self,
        splice: _Splice,
        part: Any,
        blocks: Sequence[_Block],
        markers: Mapping[np.float32, tuple[int, str]],
        depth: int,
    ) -> None:
        self.splice, self.part, self.blocks, self.markers, self.depth = splice, part, blocks, markers, depth
        self.dense, self.schema = splice.graph.tensors, splice.schema
        self.replaced: dict[tuple[int, int, int], int] = {}

    def quantize(self, subgraph: Any, known: Known) -> Known:
        """Quantize a subgraph whose inputs are `known`. Returns the known tensors, including its outputs."""
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
            self._copy_quantization(tensors[index], self.dense[source])
        return known

    def _operator(
        self, op: Any, kind: str | None, tensors: Any, floats: Sequence[int], known: Known
    ) -> tuple[int, int | None] | None:
        """Replace an operator's constants. Returns (dense tensor, block) of its result, None if that is not a real number."""
        varying = [known[i] for i in floats if i in known]
        constants = [index for index, i in enumerate(op.inputs) if int(i) in floats and int(i) not in known]
        numbers = [number for _, number in varying if number is not None]
        if kind == "SHAPE":
            return None
        if kind in ("FULLY_CONNECTED", "CONV_2D"):
            number, name = self.markers[self._values(tensors[op.inputs[1]])[0]]
            counterpart = getattr(self.blocks[number], name)
            for index in (1, 2):
                self._set_constant(op, index, tensors, self.dense[counterpart.inputs[index]])
            return int(counterpart.outputs[0]), number
        if kind in ("CONCATENATION", "GREATER", "GATHER"):
            source = varying[0][0] if varying else self.depth
            for index in constants:
                self._requantize_constant(op, index, tensors, self.dense[source])
            return None if kind == "GREATER" else (varying or [(self.depth, None)])[0]
        if kind in _MOVES:
            return varying[0]
        if kind == "SUB":
            number = round(float(self._values(tensors[op.inputs[constants[0]]])[0]) - 0.5)
            mask = self.blocks[number].mask
            self._set_constant(op, constants[0], tensors, self.dense[mask.inputs[1]])
            return int(mask.outputs[0]), None
        if kind == "ADD" and constants:  # a block whose mask is 0 everywhere
            skipped = self.blocks[round(float(self._values(tensors[op.inputs[constants[0]]])[0]) - 0.5)]
            added = self.dense[(skipped.scaled or skipped.masked).outputs[0]]
            self._requantize_constant(op, constants[0], tensors, added, zeros=True)
            op.builtinOptions.fusedActivationFunction = self.schema.ActivationFunctionType.NONE
            return int(skipped.add.outputs[0]), None
        block = self.blocks[numbers[0]] if numbers else None
        if block is None or kind not in ("MUL", "ADD", "MEAN", "LOGISTIC"):
            raise NoSparseForm(f"the sparse blocks contain {kind}, which has no integer form")
        if kind == "ADD":  # ends its block
            return int(block.add.outputs[0]), None
        if kind == "MUL":
            gated = block.gate is not None and any(source == int(block.gate.outputs[0]) for source, _ in varying)
            counterpart = block.scaled if gated else block.masked
        else:
            counterpart = block.mean if kind == "MEAN" else block.gate
        return int(counterpart.outputs[0]), numbers[0]

    def _values(self, tensor: Any) -> np.ndarray:
        return np.frombuffer(bytes(self.part.buffers[tensor.buffer].data), "<f4")

    def _copy_quantization(self, tensor: Any, source: Any) -> None:
        tensor.type, tensor.quantization = source.type, copy.copy(source.quantization)

    def _set_constant(self, op: Any, index: int, tensors: Any, source: Any) -> None:
        """Replace a constant operand by the dense file's constant `source`, keeping the shape of the operand."""
        self._replace(op, index, tensors, source, lambda tensor: source.buffer)

    def _requantize_constant(self, op: Any, index: int, tensors: Any, source: Any, zeros: bool = False) -> None:
        """Quantize a constant operand, or zeros, with the scale and zero point of `source`, rounding down.

        Too many rows are computed in this way, those with a mask that rounds to 0, but never too few.
        """

        def make(tensor: Any) -> int:
            values = self._values(tensor) * (0 if zeros else 1)
            levels = np.floor(values / source.quantization.scale[0] + 1e-3) + source.quantization.zeroPoint[0]
            buffer = self.schema.BufferT()
            buffer.data = np.clip(levels, -128, 127).astype(np.int8).view(np.uint8)
            self.splice.model.buffers.append(buffer)
            return len(self.splice.model.buffers) - 1

        self._replace(op, index, tensors, source, make)

    def _replace(self, op: Any, index: int, tensors: Any, source: Any, make: Callable[[Any], int]) -> None:
        key = id(tensors), op.inputs[index], id(source)  # several operators may share one constant of the float form
        if key not in self.replaced:
            tensor = copy.copy(tensors[op.inputs[index]])
            tensor.own = make(tensor)
            self._copy_quantization(tensor, source)
            tensors.append(tensor)
            self.replaced[key] = len(tensors) - 1
        op.inputs[index] = self.replaced[key]


def _template(
    schema: Any, model: keras.Model, names: Sequence[str], threshold: float | None
) -> tuple[Any, dict[np.float32, tuple[int, str]]]:
    """(ModelT of a float conversion of the blocks `names`, {marker: (block number, name of the convolution in _Block)}).

    All weights of a convolution are equal to its marker.
    """
    import tensorflow as tf

    channels = sparse_form.blocks(model)[names[0]].conv1.kernel.shape[-1]
    threshold = sparse_form.dense_above(channels, integer=True) if threshold is None else threshold
    walk = _Template(model, sparse_form.chunks_for(channels, integer=True), threshold)
    markers: dict[np.float32, tuple[int, str]] = {}
    for number, name in enumerate(names):
        block = walk.blocks[name]
        for part in ("conv1", "conv2", "squeeze", "excite"):
            layer = getattr(block, part)
            if layer is not None:
                marker = np.float32(len(markers) + 1)
                markers[marker] = number, part
                walk.arrays[layer.name] = [np.full(w.shape, marker, np.float32) for w in walk.arrays[layer.name]]
    first = walk.blocks[names[0]]
    specs = [tf.TensorSpec((1, None, None, tensor.shape[-1])) for tensor in (first.conv1.input, first.mask.input)]
    traced = tf.function(lambda x, depth: walk.run_blocks(names, x, depth), specs, autograph=False)
    with quiet():
        data = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()]).convert()
    return schema.ModelT.InitFromPackedBuf(data, 0), markers


class _Template(sparse_form.Walk):
    """The sparse form, written with operators that each correspond to one of the dense file."""

    def run_blocks(self, names: Sequence[str], x: tf.Tensor, depth: tf.Tensor) -> tf.Tensor:
        self.numbers = {id(self.blocks[name]): number for number, name in enumerate(names)}
        return super().run_blocks(names, x, depth)

    def _mask(self, block: sparse_form.Block, depth: tf.Tensor) -> tf.Tensor:
        """One subtraction, limited to 0..1 by its quantization. The 0.5 prevents the removal of block 0's subtraction."""
        map_index = block.mask.depth_map
        return depth[..., map_index : map_index + 1] - (self.numbers[id(block)] + 0.5)

    def _skipped(self, part: Sequence[sparse_form.Block], x: tf.Tensor) -> tf.Tensor:
        """Add zeros, because dense blocks change the scale even where they change no value.

        The constants are markers. Without a ReLU in between, the converter would merge the additions.
        """
        for block in part:
            x = self.tf.nn.relu(x + (self.numbers[id(block)] + 0.5))
        return x

    def _mean_of_rows(self, y: tf.Tensor, numbers: tf.Tensor, rows: sparse_form._Rows, active: Any) -> tf.Tensor:
        """The mean over the whole image, as in the dense file; over one pixel if the block is not computed sparsely."""
        tf = self.tf
        row_of_pixel = tf.scatter_nd(
            tf.reshape(rows.pixels, (-1, 1)), tf.range(1, tf.size(rows.pixels) + 1), tf.reshape(self.area, (1,))
        )
        row_of_pixel = row_of_pixel[: 1 + (self.area - 1) * active] * active
        image = tf.gather(y, tf.gather(numbers, row_of_pixel))
        shape = (1, 1 + (self.height - 1) * active, 1 + (self.width - 1) * active, y.shape[-1])
        return self._mean(tf.reshape(image, shape))

    def _mean(self, y: tf.Tensor) -> tf.Tensor:
        return self.tf.reduce_mean(y, axis=(1, 2), keepdims=True)

    def _attention(self, block: sparse_form.Block, mean: tf.Tensor) -> tf.Tensor:
        tf = self.tf
        for layer in (block.squeeze, block.excite):
            assert layer is not None
            kernel, bias = self.arrays[layer.name]
            mean = layer.activation(tf.nn.conv2d(mean, kernel, 1, "VALID") + bias)
        return tf.reshape(mean, (1, -1))
