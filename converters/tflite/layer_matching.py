"""Which layer of an integer .tflite is which layer of the float .tflite of the same network. Needs no TensorFlow."""

import dataclasses
import re

import numpy as np

from mobile_sr.converters.tflite.audit import CLIP_OPS
from mobile_sr.converters.tflite.constants import Constants

QUANTIZING = ("QUANTIZE", "DEQUANTIZE")
# Operators whose results are values of their inputs: on the same grid they round nothing.
MOVING = frozenset(
    (
        *CLIP_OPS,
        *("CONCATENATION", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SPLIT"),
        *("SPLIT_V", "SLICE", "STRIDED_SLICE", "GATHER", "GATHER_ND", "SCATTER_ND", "PAD", "PADV2", "MIRROR_PAD", "PACK"),
        *("UNPACK", "TILE", "BROADCAST_TO", "REVERSE_V2", "MAX_POOL_2D", "RESIZE_NEAREST_NEIGHBOR", "SELECT", "SELECT_V2"),
        *("BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND"),
    )
)
_CALLING = ("WHILE", "IF", "CALL", "CALL_ONCE")
_GRIDS = ("int8", "uint8", "int16")  # of activations
_WEIGHTS = ("int4", "int8", "uint8", "int16")


class MatchError(ValueError):
    """The two files do not hold one network as float and as integer; the message says why."""


@dataclasses.dataclass
class Layer:
    """One operator's result, as it stands in both files; the image itself is one, too (op 'INPUT').

    Attributes:
        name: for people, unique. op: builtin name.
        integer, float: tensor indices of the result; `float` is behind the clips that only the float file has.
        integer_op, float_op: operators' indices, None where there is none (INPUT; the float side of a requantization).
        clips: indices of those clip operators, in order.
        grid: (scale, zero point, dtype) on which the integer file rounds this result; None where it rounds nothing.
        weights: {operand: float64 array in the float operand's shape}, the integer file's; only at an operator's
            first result. reference_weights: the float file's.
        of_output: nothing but moving follows up to the picture, on the same grid: this is the rounding of the output.
    """

    name: str
    op: str
    integer: int
    float: int
    integer_op: int = None
    float_op: int = None
    clips: list = dataclasses.field(default_factory=list)
    grid: tuple = None
    weights: dict = dataclasses.field(default_factory=dict)
    reference_weights: dict = dataclasses.field(default_factory=dict)
    per_channel: bool = False
    of_output: bool = False

    @property
    def quantizes(self):
        """Whether the integer file adds an error here."""
        return self.grid is not None or bool(self.weights)


@dataclasses.dataclass
class Match:
    """Two files' layers in the order of the integer file.

    Attributes:
        stands_for: {integer tensor: float tensor} of all results.
        sources: {integer tensor: integer tensor} through operators that the float file does not have.
        reads: {(float operator, operand): integer tensor that the integer file reads there}.
        outputs: {float tensor: integer tensor} of the graphs' outputs.
    """

    layers: list
    stands_for: dict
    sources: dict
    reads: dict
    outputs: dict

    def partners(self, layer):
        """Names of the layers that an operator such as CONCATENATION joins with this one, on one grid."""
        layers = {other.integer: other for other in self.layers}
        found = []
        for op in {number for (number, _), tensor in self.reads.items() if tensor == layer.integer}:
            joined = [layers.get(tensor) for (number, _), tensor in self.reads.items() if number == op]
            grids = [other for other in joined if other is not None and other is not layer and layer.grid is not None]
            found += [other.name for other in grids if other.grid == layer.grid]
        return found


def grid_of(tensor):
    """(scale, zero point, dtype) of a tensor that is quantized as a whole, else None."""
    if tensor.dtype not in _GRIDS or len(tensor.scales) != 1:
        return None
    return float(tensor.scales[0]), int(tensor.zero_points[0]), tensor.dtype


def same_grid(a, b):
    """Whether two grids hold the same real numbers: int8 and uint8 may differ by a shift."""
    if a is None or b is None:
        return False
    lows = [zero_point - np.iinfo(dtype).min for _, zero_point, dtype in (a, b)]
    sizes = [np.iinfo(dtype).bits for _, _, dtype in (a, b)]
    return lows[0] == lows[1] and sizes[0] == sizes[1] and abs(a[0] / b[0] - 1) < 1e-6


def match(reference_data, reference, model_data, model):
    """Match the float and the integer file of one network by the flow of their data.

    Every operator of the integer file is paired with the float operator of the same name that reads the corresponding
    tensors and has constants of the same shapes. QUANTIZE and DEQUANTIZE are passed through, and so are clips that only
    one file has: an integer tensor's own saturation can do their work.

    Args:
        reference_data, model_data: bytes of the float and of the integer file.
        reference, model: tflite_file.parse of them.
    Returns: Match.
    Raises: MatchError when one is not what it should be or they differ; TFLiteFileError when constants cannot be read.
    """
    _check_kinds(reference, model)
    return _Matcher(reference_data, reference, model_data, model).run()


def _varying(graph):
    """Indices of the tensors that depend on the graph's inputs."""
    varying = set(graph.inputs)
    for op in graph.ops:
        if not varying.isdisjoint(op.inputs):
            varying |= set(op.outputs)
    return varying


def _check_kinds(reference, model):
    for graph, what in ((reference, "the reference"), (model, "the model")):
        calling = sorted({op.name for op in graph.ops} & set(_CALLING))
        if calling:
            raise MatchError(f"{what} has control flow ({', '.join(calling)}), into which layers are not followed")
    quantized = [i for i in _varying(reference) if grid_of(reference.tensors[i]) is not None]
    if quantized:
        name = reference.tensors[quantized[0]].name
        raise MatchError(f"the reference is not float: its tensor {name} is {reference.tensors[quantized[0]].dtype}")
    if not any(len(tensor.scales) and tensor.dtype in _WEIGHTS for tensor in model.tensors):
        raise MatchError("the model is not quantized: there is no quantization error to locate")


def _sides(shape):
    return [side for side in shape if side != 1]


class _Matcher:
    def __init__(self, reference_data, reference, model_data, model):
        self.reference, self.model = reference, model
        self.float_constants = Constants(reference_data, reference)
        self.constants = Constants(model_data, model)
        self.varying = {"float": _varying(reference), "integer": _varying(model)}
        self.stands_for, self.sources, self.reads, self.layers = {}, {}, {}, []
        self.free = [k for k, op in enumerate(reference.ops) if not self.varying["float"].isdisjoint(op.inputs)]
        self.makers = {tensor: k for k, op in enumerate(model.ops) for tensor in op.outputs}

    def run(self):
        self._inputs()
        for number, op in enumerate(self.model.ops):
            if self.varying["integer"].isdisjoint(op.inputs):
                continue
            if op.name in QUANTIZING and len(op.inputs) == 1:
                self._requantization(number, op)
                continue
            found = self._partner(op)
            if found is not None:
                self._pair(number, op, *found)
            elif op.name in CLIP_OPS:
                self._same(op.outputs[0], self._varying_inputs(op, "integer")[0])
            else:
                raise MatchError(self._no_partner(number, op))
        outputs = self._outputs()
        self._mark_output()
        self._name()
        return Match(self.layers, self.stands_for, self.sources, self.reads, outputs)

    def _inputs(self):
        ends = []
        for graph in (self.reference, self.model):
            ends.append([(i, graph.tensors[i]) for i in graph.inputs])
        if len(ends[0]) != len(ends[1]) or any(
            len(a.shape) != len(b.shape) or (len(a.shape) == 4 and a.shape[3] != b.shape[3])
            for (_, a), (_, b) in zip(*ends, strict=False)
        ):
            shapes = [[tensor.shape for _, tensor in end] for end in ends]
            raise MatchError(f"the inputs differ: {shapes[0]} in the reference, {shapes[1]} in the model")
        for (a, _), (b, tensor) in zip(*ends, strict=True):
            self.stands_for[b] = a
            self.layers.append(Layer("input", "INPUT", b, a, grid=grid_of(tensor)))

    def _varying_inputs(self, op, kind):
        return [i for i in op.inputs if i >= 0 and i in self.varying[kind]]

    def _same(self, result, source):
        self.stands_for[result], self.sources[result] = self.stands_for[source], source

    def _requantization(self, number, op):
        """A QUANTIZE or DEQUANTIZE: the same tensor again, rounded to another grid or not."""
        source, result = op.inputs[0], op.outputs[0]
        self._same(result, source)
        grid = grid_of(self.model.tensors[result])
        if grid is not None and not same_grid(grid, grid_of(self.model.tensors[source])):
            self.layers.append(Layer("", op.name, result, self.stands_for[source], integer_op=number, grid=grid))

    def _partner(self, op):
        """(float operator, [clips skipped on the way to it, by operand]) with the fewest skipped, None without one."""
        best = None
        for number in self.free:
            skipped = self._fits(op, self.reference.ops[number])
            if skipped is not None and (best is None or len(skipped) < len(best[1])):
                best = (number, skipped)
        return best

    def _fits(self, op, other):
        """{integer tensor: [float clip operators between what stands for it and the operand]}, None when they differ."""
        if op.name != other.name or len(op.outputs) != len(other.outputs) or len(other.inputs) > len(op.inputs):
            return None
        skipped = {}
        for place, tensor in enumerate(op.inputs):
            partner = other.inputs[place] if place < len(other.inputs) else -1
            if tensor in self.varying["integer"]:
                clips = self._clips_between(self.stands_for[tensor], partner)
                if clips is None:
                    return None
                if clips:
                    skipped[tensor] = clips
            elif tensor < 0 or partner < 0:
                if partner >= 0:  # an integer file may have a bias of zeros where the float file has none
                    return None
            elif partner in self.varying["float"] or not self._same_shape(tensor, partner):
                return None
        return skipped

    def _same_shape(self, tensor, partner):
        return _sides(self.model.tensors[tensor].shape) == _sides(self.reference.tensors[partner].shape)

    def _clips_between(self, start, end):
        """The unpaired clip operators that lead from one float tensor to another, None when something else does."""
        clips, ops = [], self.reference.ops
        while start != end:
            following = [k for k in self.free if ops[k].name in CLIP_OPS and start in ops[k].inputs]
            readers = sum(start in op.inputs for op in ops)
            if not following or readers > 1:
                return None
            clips.append(following[0])
            start = ops[following[0]].outputs[0]
        return clips

    def _pair(self, number, op, partner, skipped):
        other = self.reference.ops[partner]
        for tensor, clips in skipped.items():
            self._behind(tensor, clips)
        self.free.remove(partner)
        for place, tensor in enumerate(op.inputs):
            if tensor in self.varying["integer"]:
                self.reads[partner, place] = tensor
        weights = self._weights(op, other)
        grids = [grid_of(self.model.tensors[i]) for i in self._varying_inputs(op, "integer")]
        for k, (result, wanted) in enumerate(zip(op.outputs, other.outputs, strict=True)):
            self.stands_for[result] = wanted
            grid = grid_of(self.model.tensors[result])
            if op.name in MOVING and all(same_grid(grid, before) for before in grids):
                grid = None
            layer = Layer("", op.name, result, wanted, number, partner, grid=grid)
            if k == 0:
                layer.weights, layer.reference_weights, layer.per_channel = weights
            self.layers.append(layer)

    def _behind(self, tensor, clips):
        """What stands for an integer tensor moves behind float clips that it makes needless."""
        old = self.stands_for[tensor]
        new = self.reference.ops[clips[-1]].outputs[0]
        self.free = [k for k in self.free if k not in clips]
        for other, wanted in self.stands_for.items():
            if wanted == old:
                self.stands_for[other] = new
        for layer in self.layers:
            if layer.float == old:
                layer.float = new
                if layer.float_op is not None:
                    layer.clips += clips

    def _weights(self, op, other):
        """(the integer file's, the float file's {operand: values}, whether any has one scale per channel)."""
        ours, theirs, per_channel = {}, {}, False
        for place, tensor in enumerate(op.inputs):
            if tensor < 0 or tensor in self.varying["integer"] or not self.constants.is_constant(tensor):
                continue
            values = self.constants.operand(op, place)
            if values is None:
                continue
            partner = other.inputs[place] if place < len(other.inputs) else -1
            reference = np.zeros_like(values) if partner < 0 else self.float_constants.operand(other, place)
            if reference is None:
                continue
            ours[place], theirs[place] = values.reshape(reference.shape), reference
            per_channel |= len(self.model.tensors[tensor].scales) > 1
        return ours, theirs, per_channel

    def _no_partner(self, number, op):
        where = f"{op.name} (operator {number}, {self.model.tensors[op.outputs[0]].name.split(';')[0]}) of the model"
        same = [self.reference.ops[k] for k in self.free if self.reference.ops[k].name == op.name]
        if not same:
            return f"not the same network: the reference has no operator for {where}"
        places = [k for k, i in enumerate(op.inputs) if i >= 0 and i not in self.varying["integer"]]
        for place in places:
            partner = same[0].inputs[place] if place < len(same[0].inputs) else -1
            if partner >= 0 and not self._same_shape(op.inputs[place], partner):
                shapes = self.model.tensors[op.inputs[place]].shape, self.reference.tensors[partner].shape
                return f"not the same network: {where} has a constant of {shapes[0]}, the reference's has {shapes[1]}"
        return f"not the same network: {where} is wired differently in the reference"

    def _outputs(self):
        """{float: integer} outputs; also checks that no float operator is left over but clips that lead to them."""
        outputs = {}
        if len(self.reference.outputs) != len(self.model.outputs):
            raise MatchError("not the same network: the numbers of outputs differ")
        wanted = list(self.reference.outputs)
        for tensor in self.model.outputs:
            for candidate in wanted:
                clips = self._clips_between(self.stands_for[tensor], candidate)
                if clips is not None:
                    if clips:
                        self._behind(tensor, clips)
                    outputs[candidate] = tensor
                    wanted.remove(candidate)
                    break
        if wanted or self.free:
            left = [self.reference.ops[k].name for k in self.free] or ["its output"]
            raise MatchError(f"not the same network: the model has nothing for {', '.join(left[:3])} of the reference")
        return outputs

    def _mark_output(self):
        """Find the layers whose grid is the output's own: from there on values are only moved."""
        layers = {layer.integer: layer for layer in self.layers}
        waiting = [(i, grid_of(self.model.tensors[i])) for i in self.model.outputs]
        seen = set()
        while waiting:
            tensor, grid = waiting.pop()
            own = grid_of(self.model.tensors[tensor])
            if tensor in seen or (grid is not None and own is not None and not same_grid(own, grid)):
                continue
            seen.add(tensor)
            layer = layers.get(tensor)
            if layer is not None and layer.grid is not None:
                layer.of_output = layer.op != "INPUT"
            elif tensor in self.makers:
                op = self.model.ops[self.makers[tensor]]
                if op.name in MOVING or op.name in QUANTIZING:
                    waiting += [(i, own or grid) for i in self._varying_inputs(op, "integer")]

    def _name(self):
        """Names from the tensors' names: 'net/head_1/Relu;net/...' is 'head_1', or 'head_1/Relu' where that is not unique."""
        parts = {}
        for layer in self.layers:
            full = self.model.tensors[layer.integer].name.split(";")[0].split("/")
            parts[id(layer)] = [re.sub(r"[^\w.:-]", "_", part) for part in full if part]
        shorts = [self._short(layer, parts[id(layer)], 1) for layer in self.layers]
        taken = set()
        for layer, short in zip(self.layers, shorts, strict=True):
            name = short if shorts.count(short) == 1 else self._short(layer, parts[id(layer)], 2)
            while name in taken:
                name += "'"
            taken.add(name)
            layer.name = name

    @staticmethod
    def _short(layer, parts, length):
        if layer.op in ("INPUT", *QUANTIZING) or len(parts) < 2:
            return layer.op.lower()
        return "/".join(parts[-2:] if length == 2 else parts[-2:-1])
