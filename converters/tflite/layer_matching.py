"""Matches the layers of an integer .tflite file with those of the float file of the same network. Needs no TensorFlow."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mobile_sr.converters.tflite.audit import CLIP_OPS
from mobile_sr.converters.tflite.constants import Constants

if TYPE_CHECKING:
    from mobile_sr.converters.tflite.flatbuffer import Graph, Op, Tensor

    QuantParams = tuple[float, int, str]  # scale, zero point, dtype

QUANTIZING = ("QUANTIZE", "DEQUANTIZE")
# Operators that only move or select values: with the scale and zero point of their inputs they round nothing.
MOVING = frozenset(
    (
        *CLIP_OPS,
        *("CONCATENATION", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SPLIT"),
        *("SPLIT_V", "SLICE", "STRIDED_SLICE", "GATHER", "GATHER_ND", "SCATTER_ND", "PAD", "PADV2", "MIRROR_PAD", "PACK"),
        *("UNPACK", "TILE", "BROADCAST_TO", "REVERSE_V2", "MAX_POOL_2D", "RESIZE_NEAREST_NEIGHBOR", "SELECT", "SELECT_V2"),
        *("BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND"),
    )
)
_CONTROL_FLOW = ("WHILE", "IF", "CALL", "CALL_ONCE")
_ACTIVATION_TYPES = ("int8", "uint8", "int16")
_WEIGHT_TYPES = ("int4", "int8", "uint8", "int16")


class MatchError(ValueError):
    """The two files are not the float and the integer file of one network; the message gives the reason."""


@dataclasses.dataclass
class Layer:
    """The result of one operator in both files. The input image is a layer, too, with the op 'INPUT'.

    Attributes:
        name: unique name for display.
        op: builtin name of the operator.
        integer: index of the result in the integer file.
        float: index of the result in the float file, after clips that only the float file has.
        integer_op: index of the operator in the integer file, None for INPUT.
        float_op: index of the operator in the float file, None for INPUT and for a requantization.
        clips: indices of those clip operators, in order.
        quant_params: (scale, zero point, dtype) to which the integer file rounds this result, None if it does not round here.
        weights: {operand: float64 array in the shape of the float operand}, the values in the integer file. Only the first
            result of an operator has them.
        reference_weights: the same operands' values in the float file.
        per_channel: whether any of the operands has one scale per channel.
        of_output: whether this is the rounding of the output: up to the output, values are only moved and keep their scale
            and zero point.
    """

    name: str
    op: str
    integer: int
    float: int
    integer_op: int | None = None
    float_op: int | None = None
    clips: list[int] = dataclasses.field(default_factory=list)
    quant_params: QuantParams | None = None
    weights: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)
    reference_weights: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)
    per_channel: bool = False
    of_output: bool = False

    @property
    def quantizes(self) -> bool:
        """Whether the integer file adds a quantization error in this layer."""
        return self.quant_params is not None or bool(self.weights)


@dataclasses.dataclass
class Match:
    """The matched layers of two files, in the order of the integer file.

    Attributes:
        layers: the layers.
        stands_for: {integer tensor: corresponding float tensor} of all results.
        sources: {integer tensor: integer tensor} through operators that the float file does not have.
        reads: {(float operator, operand): integer tensor that the integer file reads there}.
        outputs: {float tensor: integer tensor} of the graphs' outputs.
    """

    layers: list[Layer]
    stands_for: dict[int, int]
    sources: dict[int, int]
    reads: dict[tuple[int, int], int]
    outputs: dict[int, int]

    def partners(self, layer: Layer) -> list[str]:
        """Return the names of the layers that an operator such as CONCATENATION joins with `layer` under one scale."""
        layers = {other.integer: other for other in self.layers}
        names = []
        for op in {number for (number, _), tensor in self.reads.items() if tensor == layer.integer}:
            joined = [layers.get(tensor) for (number, _), tensor in self.reads.items() if number == op]
            others = [other for other in joined if other is not None and other is not layer and layer.quant_params is not None]
            names += [other.name for other in others if other.quant_params == layer.quant_params]
        return names


def quant_params_of(tensor: Tensor) -> QuantParams | None:
    """Return the (scale, zero point, dtype) of a tensor that is quantized per tensor, else None."""
    if tensor.dtype not in _ACTIVATION_TYPES or len(tensor.scales) != 1:
        return None
    return float(tensor.scales[0]), int(tensor.zero_points[0]), tensor.dtype


def same_quant_params(a: QuantParams | None, b: QuantParams | None) -> bool:
    """Whether two sets of quantization parameters represent the same real numbers; int8 and uint8 may differ by a shift."""
    if a is None or b is None:
        return False
    lows = [zero_point - np.iinfo(dtype).min for _, zero_point, dtype in (a, b)]
    sizes = [np.iinfo(dtype).bits for _, _, dtype in (a, b)]
    return lows[0] == lows[1] and sizes[0] == sizes[1] and abs(a[0] / b[0] - 1) < 1e-6


def match(reference_data: bytes, reference: Graph, model_data: bytes, model: Graph) -> Match:
    """Match the float and the integer file of one network by their data flow.

    Every operator of the integer file is paired with the float operator of the same name that reads the corresponding
    tensors and has constants of the same shapes. QUANTIZE, DEQUANTIZE and clips that only one file has are skipped: the
    saturation of an integer tensor can replace a clip.

    Args:
        reference_data: bytes of the float file.
        reference: `flatbuffer.parse` of the float file.
        model_data: bytes of the integer file.
        model: `flatbuffer.parse` of the integer file.

    Returns:
        The matched layers.

    Raises:
        MatchError: a file is of the wrong kind, or the networks differ.
        TFLiteFileError: constants cannot be read.
    """
    _check_kinds(reference, model)
    return _Matcher(reference_data, reference, model_data, model).run()


def _varying(graph: Graph) -> set[int]:
    """Indices of the tensors that depend on the graph's inputs."""
    varying = set(graph.inputs)
    for op in graph.ops:
        if not varying.isdisjoint(op.inputs):
            varying |= set(op.outputs)
    return varying


def _check_kinds(reference: Graph, model: Graph) -> None:
    for graph, what in ((reference, "the reference"), (model, "the model")):
        control_flow = sorted({op.name for op in graph.ops} & set(_CONTROL_FLOW))
        if control_flow:
            raise MatchError(f"{what} has control flow ({', '.join(control_flow)}), which is not supported")
    quantized = [i for i in _varying(reference) if quant_params_of(reference.tensors[i]) is not None]
    if quantized:
        name = reference.tensors[quantized[0]].name
        raise MatchError(f"the reference is not float: its tensor {name} is {reference.tensors[quantized[0]].dtype}")
    if not any(len(tensor.scales) and tensor.dtype in _WEIGHT_TYPES for tensor in model.tensors):
        raise MatchError("the model is not quantized: there is no quantization error to locate")


def _sides(shape: Iterable[int]) -> list[int]:
    return [side for side in shape if side != 1]


class _Matcher:
    def __init__(self, reference_data: bytes, reference: Graph, model_data: bytes, model: Graph) -> None:
        self.reference, self.model = reference, model
        self.float_constants = Constants(reference_data, reference)
        self.constants = Constants(model_data, model)
        self.varying = {"float": _varying(reference), "integer": _varying(model)}
        self.stands_for: dict[int, int] = {}
        self.sources: dict[int, int] = {}
        self.reads: dict[tuple[int, int], int] = {}
        self.layers: list[Layer] = []
        # Float operators that are not paired yet.
        self.free = [k for k, op in enumerate(reference.ops) if not self.varying["float"].isdisjoint(op.inputs)]
        self.makers = {tensor: k for k, op in enumerate(model.ops) for tensor in op.outputs}

    def run(self) -> Match:
        self._inputs()
        for number, op in enumerate(self.model.ops):
            if self.varying["integer"].isdisjoint(op.inputs):
                continue
            if op.name in QUANTIZING and len(op.inputs) == 1:
                self._requantization(number, op)
                continue
            partner = self._partner(op)
            if partner is not None:
                self._pair(number, op, *partner)
            elif op.name in CLIP_OPS:
                self._same(op.outputs[0], self._varying_inputs(op, "integer")[0])
            else:
                raise MatchError(self._no_partner(number, op))
        outputs = self._outputs()
        self._mark_output()
        self._name()
        return Match(self.layers, self.stands_for, self.sources, self.reads, outputs)

    def _inputs(self) -> None:
        inputs = []
        for graph in (self.reference, self.model):
            inputs.append([(i, graph.tensors[i]) for i in graph.inputs])
        if len(inputs[0]) != len(inputs[1]) or any(
            len(a.shape) != len(b.shape) or (len(a.shape) == 4 and a.shape[3] != b.shape[3])
            for (_, a), (_, b) in zip(*inputs, strict=False)
        ):
            shapes = [[tensor.shape for _, tensor in of_file] for of_file in inputs]
            raise MatchError(f"the inputs differ: {shapes[0]} in the reference, {shapes[1]} in the model")
        for (reference, _), (index, tensor) in zip(*inputs, strict=True):
            self.stands_for[index] = reference
            self.layers.append(Layer("input", "INPUT", index, reference, quant_params=quant_params_of(tensor)))

    def _varying_inputs(self, op: Op, kind: str) -> list[int]:
        return [i for i in op.inputs if i >= 0 and i in self.varying[kind]]

    def _same(self, result: int, source: int) -> None:
        self.stands_for[result], self.sources[result] = self.stands_for[source], source

    def _requantization(self, number: int, op: Op) -> None:
        """Handle a QUANTIZE or DEQUANTIZE: the same values again, possibly rounded to another scale and zero point."""
        source, result = op.inputs[0], op.outputs[0]
        self._same(result, source)
        quant_params = quant_params_of(self.model.tensors[result])
        if quant_params is not None and not same_quant_params(quant_params, quant_params_of(self.model.tensors[source])):
            self.layers.append(
                Layer("", op.name, result, self.stands_for[source], integer_op=number, quant_params=quant_params)
            )

    def _partner(self, op: Op) -> tuple[int, dict[int, list[int]]] | None:
        """(float operator, skipped clips by operand) of the candidate that skips the fewest clips, None without one."""
        best: tuple[int, dict[int, list[int]]] | None = None
        for number in self.free:
            skipped = self._compare(op, self.reference.ops[number])
            if skipped is not None and (best is None or len(skipped) < len(best[1])):
                best = (number, skipped)
        return best

    def _compare(self, op: Op, other: Op) -> dict[int, list[int]] | None:
        """{integer tensor: [float clips between its float tensor and the operand of `other`]}, None if the operators differ."""
        if op.name != other.name or len(op.outputs) != len(other.outputs) or len(other.inputs) > len(op.inputs):
            return None
        skipped = {}
        for operand, tensor in enumerate(op.inputs):
            partner = other.inputs[operand] if operand < len(other.inputs) else -1
            if tensor in self.varying["integer"]:
                clips = self._clips_between(self.stands_for[tensor], partner)
                if clips is None:
                    return None
                if clips:
                    skipped[tensor] = clips
            elif tensor < 0 or partner < 0:
                if partner >= 0:  # only an integer file may have a bias of zeros that the other file lacks
                    return None
            elif partner in self.varying["float"] or not self._same_shape(tensor, partner):
                return None
        return skipped

    def _same_shape(self, tensor: int, partner: int) -> bool:
        return _sides(self.model.tensors[tensor].shape) == _sides(self.reference.tensors[partner].shape)

    def _clips_between(self, start: int, end: int) -> list[int] | None:
        """The unpaired clip operators that lead from one float tensor to another, None if there are other operators."""
        clips: list[int] = []
        ops = self.reference.ops
        while start != end:
            following = [k for k in self.free if ops[k].name in CLIP_OPS and start in ops[k].inputs]
            readers = sum(start in op.inputs for op in ops)
            if not following or readers > 1:
                return None
            clips.append(following[0])
            start = ops[following[0]].outputs[0]
        return clips

    def _pair(self, number: int, op: Op, partner: int, skipped: dict[int, list[int]]) -> None:
        other = self.reference.ops[partner]
        for tensor, clips in skipped.items():
            self._move_past_clips(tensor, clips)
        self.free.remove(partner)
        for operand, tensor in enumerate(op.inputs):
            if tensor in self.varying["integer"]:
                self.reads[partner, operand] = tensor
        weights = self._weights(op, other)
        of_inputs = [quant_params_of(self.model.tensors[i]) for i in self._varying_inputs(op, "integer")]
        for k, (result, reference) in enumerate(zip(op.outputs, other.outputs, strict=True)):
            self.stands_for[result] = reference
            quant_params = quant_params_of(self.model.tensors[result])
            if op.name in MOVING and all(same_quant_params(quant_params, before) for before in of_inputs):
                quant_params = None
            layer = Layer("", op.name, result, reference, number, partner, quant_params=quant_params)
            if k == 0:
                layer.weights, layer.reference_weights, layer.per_channel = weights
            self.layers.append(layer)

    def _move_past_clips(self, tensor: int, clips: list[int]) -> None:
        """Match an integer tensor with the result of the float clips that its saturation replaces."""
        old = self.stands_for[tensor]
        new = self.reference.ops[clips[-1]].outputs[0]
        self.free = [k for k in self.free if k not in clips]
        for other, reference in self.stands_for.items():
            if reference == old:
                self.stands_for[other] = new
        for layer in self.layers:
            if layer.float == old:
                layer.float = new
                if layer.float_op is not None:
                    layer.clips += clips

    def _weights(self, op: Op, other: Op) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray], bool]:
        """({operand: values} of the integer file, the same of the float file, whether any has one scale per channel)."""
        weights: dict[int, np.ndarray] = {}
        reference_weights: dict[int, np.ndarray] = {}
        per_channel = False
        for operand, tensor in enumerate(op.inputs):
            if tensor < 0 or tensor in self.varying["integer"] or not self.constants.is_constant(tensor):
                continue
            values = self.constants.operand(op, operand)
            if values is None:
                continue
            partner = other.inputs[operand] if operand < len(other.inputs) else -1
            reference = np.zeros_like(values) if partner < 0 else self.float_constants.operand(other, operand)
            if reference is None:
                continue
            weights[operand], reference_weights[operand] = values.reshape(reference.shape), reference
            per_channel |= len(self.model.tensors[tensor].scales) > 1
        return weights, reference_weights, per_channel

    def _no_partner(self, number: int, op: Op) -> str:
        where = f"{op.name} (operator {number}, {self.model.tensors[op.outputs[0]].name.split(';')[0]}) of the model"
        same = [self.reference.ops[k] for k in self.free if self.reference.ops[k].name == op.name]
        if not same:
            return f"not the same network: the reference has no operator for {where}"
        constants = [k for k, i in enumerate(op.inputs) if i >= 0 and i not in self.varying["integer"]]
        for operand in constants:
            partner = same[0].inputs[operand] if operand < len(same[0].inputs) else -1
            if partner >= 0 and not self._same_shape(op.inputs[operand], partner):
                shapes = self.model.tensors[op.inputs[operand]].shape, self.reference.tensors[partner].shape
                return f"not the same network: {where} has a constant of shape {shapes[0]}, the reference has {shapes[1]}"
        return f"not the same network: {where} is wired differently in the reference"

    def _outputs(self) -> dict[int, int]:
        """{float: integer} outputs. Also checks that no float operators remain except clips that lead to them."""
        outputs = {}
        if len(self.reference.outputs) != len(self.model.outputs):
            raise MatchError("not the same network: the number of outputs differs")
        remaining = list(self.reference.outputs)
        for tensor in self.model.outputs:
            for candidate in remaining:
                clips = self._clips_between(self.stands_for[tensor], candidate)
                if clips is not None:
                    if clips:
                        self._move_past_clips(tensor, clips)
                    outputs[candidate] = tensor
                    remaining.remove(candidate)
                    break
        if remaining or self.free:
            missing = [self.reference.ops[k].name for k in self.free] or ["its output"]
            raise MatchError(f"not the same network: the model has no counterpart of the reference's {', '.join(missing[:3])}")
        return outputs

    def _mark_output(self) -> None:
        """Mark the layers that round to the output's scale and zero point, after which values are only moved."""
        layers = {layer.integer: layer for layer in self.layers}
        waiting = [(i, quant_params_of(self.model.tensors[i])) for i in self.model.outputs]
        visited = set()
        while waiting:
            tensor, quant_params = waiting.pop()
            own = quant_params_of(self.model.tensors[tensor])
            if tensor in visited or (quant_params is not None and own is not None and not same_quant_params(own, quant_params)):
                continue
            visited.add(tensor)
            layer = layers.get(tensor)
            if layer is not None and layer.quant_params is not None:
                layer.of_output = layer.op != "INPUT"
            elif tensor in self.makers:
                op = self.model.ops[self.makers[tensor]]
                if op.name in MOVING or op.name in QUANTIZING:
                    waiting += [(i, own or quant_params) for i in self._varying_inputs(op, "integer")]

    def _name(self) -> None:
        """Name the layers by their tensors: 'net/head_1/Relu;net/...' becomes 'head_1', or 'head_1/Relu' if not unique."""
        parts = {}
        for layer in self.layers:
            full = self.model.tensors[layer.integer].name.split(";")[0].split("/")
            parts[id(layer)] = [re.sub(r"[^\w.:-]", "_", part) for part in full if part]
        shorts = [self._short(layer, parts[id(layer)], 1) for layer in self.layers]
        taken: set[str] = set()
        for layer, short in zip(self.layers, shorts, strict=True):
            name = short if shorts.count(short) == 1 else self._short(layer, parts[id(layer)], 2)
            while name in taken:
                name += "'"
            taken.add(name)
            layer.name = name

    @staticmethod
    def _short(layer: Layer, parts: Sequence[str], length: int) -> str:
        if layer.op in ("INPUT", *QUANTIZING) or len(parts) < 2:
            return layer.op.lower()
        return "/".join(parts[-2:] if length == 2 else parts[-2:-1])
