"""Functional Keras networks with the rounding of an 8-bit .tflite file, for quantization-aware training (QAT).

Weights are symmetric int8 per output channel, activations asymmetric 8 bits per tensor, as in Jacob et al., "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018. Tensors that share a scale in TFLite
have one quantizer, and a ReLU is fused into the operator before it. The network itself does not change: its variables are
those of the float network, which is exported afterwards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from mobile_sr.models.train_time import quantized_layers
from mobile_sr.models.train_time.fake_quantization import quantize_to_range
from mobile_sr.models.train_time.quantized_layers import Behaviour, Range

Visit = Callable[[Any, int], Any]  # of (value, quantizer)


class QuantizedNetwork:
    """A functional network with fake quantization. Calling it returns the output for an input.

    Attributes:
        model: the float network, whose variables are trained.
        low, high: [quantizers] float32 variables, the activation ranges.
        names: for each quantizer, the name of the layer whose output it rounds first.
    """

    def __init__(
        self,
        model: keras.Model,
        per_tensor: bool = False,
        input_range: Range = (0, 1),
        output_range: Range = (0, 1),
        rounded_weights: bool = True,
    ) -> None:
        """Plans the quantizers.

        Args:
            model: a functional keras.Model with one input and one output.
            per_tensor: one scale per kernel instead of one per output channel.
            input_range, output_range: black and white. The input and the output have 256 levels from one to the other.
            rounded_weights: whether the weights are rounded, too, or the activations alone.
        Raises: ValueError, naming the layer, for a layer that is not supported.
        """
        self.model = model
        plan = _Plan(model, per_tensor, input_range, output_range)
        self._steps, self.names = plan.steps, plan.names
        self._input = plan.quantizers[id(model.inputs[0])]
        self._weights = [pair for step in plan.steps for pair in step.behaviour.weights if rounded_weights]
        self._fixed = np.array([limits is not None for limits in plan.fixed])
        start = np.array([limits or (0.0, 1.0) for limits in plan.fixed], np.float32)
        self._start, self._limits = start, plan.limits
        self.low, self.high = (
            keras.Variable(start[:, k].copy(), name=name, trainable=True) for k, name in enumerate(("low", "high"))
        )

    def __call__(self, x: Any) -> Any:
        """Runs the fake-quantized network: [N, H, W, 3] float32 -> [N, H * s, W * s, 3]."""
        low, high = (ops.convert_to_tensor(v) for v in (self.low, self.high))
        return self._run(x, lambda value, index: quantize_to_range(value, low[index], high[index]))

    def measure(self, x: Any) -> tuple[Any, Any]:
        """Runs the network with exact activations: ([quantizers] minima, [quantizers] maxima) of its tensors."""
        lows: dict[int, Any] = {}
        highs: dict[int, Any] = {}

        def observe(value: Any, index: int) -> Any:
            low, high = ops.min(value), ops.max(value)
            lows[index] = ops.minimum(lows[index], low) if index in lows else low
            highs[index] = ops.maximum(highs[index], high) if index in highs else high
            return value

        self._run(x, observe)
        return tuple(ops.stack([found[index] for index in range(len(self.names))]) for found in (lows, highs))

    def trace(self, x: Any) -> list[tuple[int, Any]]:
        """Runs the network without rounding; returns (quantizer, tensor) for each tensor that it otherwise rounds, in order."""
        found: list[tuple[int, Any]] = []

        def observe(value: Any, index: int) -> Any:
            found.append((index, value))
            return value

        self._run(x, observe, weights=())
        return found

    def set_ranges(self, low: np.ndarray, high: np.ndarray) -> None:
        """Sets the activation ranges, [quantizers] each. Each is widened to 0; fixed ones and maximum ranges are kept."""
        low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
        for index, (smallest, largest) in self._limits.items():
            low[index], high[index] = max(low[index], smallest), min(high[index], largest)
        for variable, values, k in ((self.low, low, 0), (self.high, high, 1)):
            variable.assign(np.where(self._fixed, self._start[:, k], values).astype(np.float32))

    def keep_limits(self) -> None:
        """After a training step on `low` and `high`: restores the fixed ranges, and 0 and the maximum ranges of all others."""
        smallest, largest = np.full(len(self.names), -np.inf, np.float32), np.full(len(self.names), np.inf, np.float32)
        for index, (low, high) in self._limits.items():
            smallest[index], largest[index] = low, high
        self.low.assign(ops.where(self._fixed, self._start[:, 0], ops.maximum(ops.minimum(self.low, 0.0), smallest)))
        self.high.assign(ops.where(self._fixed, self._start[:, 1], ops.minimum(ops.maximum(self.high, 0.0), largest)))

    @property
    def fixed(self) -> np.ndarray:
        """[quantizers] bool: whether a range is fixed."""
        return self._fixed

    def _run(self, x: Any, visit: Visit, weights: Sequence[tuple[Any, Any]] | None = None) -> Any:
        values = {id(self.model.inputs[0]): visit(x, self._input)}
        weights = self._weights if weights is None else weights
        with keras.StatelessScope([(w, quantizer(ops.convert_to_tensor(w))) for w, quantizer in weights]):
            for step in self._steps:
                args, kwargs = step.node.arguments.fill_in(values)
                inside = [_Bound(visit, index) for index in step.inside]
                results = tree.flatten(step.behaviour.run(step.node.operation, args, kwargs, inside))
                for tensor, value, index in zip(step.node.outputs, results, step.outputs, strict=True):
                    values[id(tensor)] = value if index is None else visit(value, index)
        return values[id(self.model.outputs[0])]


@dataclasses.dataclass
class _Bound:
    """`visit` for one quantizer."""

    visit: Visit
    index: int

    def __call__(self, value: Any) -> Any:
        return self.visit(value, self.index)


@dataclasses.dataclass
class _Step:
    """One node of the network: the quantizers of the tensors inside and of its outputs (None: rounded after a fused ReLU)."""

    node: Any
    behaviour: Behaviour
    inside: list[int]
    outputs: list[int | None]


class _Plan:
    """The quantizers of a network's tensors.

    Attributes:
        steps: the nodes in order.
        names: name of each quantizer.
        quantizers: {id of a KerasTensor: quantizer}.
        fixed: for each quantizer its fixed range, or None.
        limits: {quantizer: maximum range}.
    """

    def __init__(self, model: keras.Model, per_tensor: bool, input_range: Range, output_range: Range) -> None:
        self._parent: list[int] = []
        self._names: list[str] = []
        self._fixed: dict[int, Range] = {}
        self._limits: dict[int, Range] = {}
        self._of: dict[int, int] = {}  # id of a KerasTensor: index into _parent
        nodes = nodes_in_order(model)
        behaviours = [quantized_layers.behaviour(node.operation, per_tensor) for node in nodes]
        lr, sr = model.inputs[0], model.outputs[0]
        self._image = self._of[id(lr)] = self._new(lr.name, input_range)
        inside = [self._visit(node, behaviour) for node, behaviour in zip(nodes, behaviours, strict=True)]
        for node, behaviour in zip(reversed(nodes), reversed(behaviours), strict=True):
            if behaviour.output == "clip" and self._root(self._of[id(node.outputs[0])]) == self._root(self._of[id(sr)]):
                self._join(self._of[id(node.input_tensors[0])], self._of[id(sr)])  # saturation is the clip
        end = self._root(self._of[id(sr)])
        self._fixed.setdefault(end, output_range)
        fused = self._fused(nodes, behaviours, {id(lr), id(sr)})
        roots = sorted({self._root(index) for index in range(len(self._parent))} - self._orphans(fused))
        number = {root: index for index, root in enumerate(roots)}
        self.names = [self._names[root] for root in roots]
        self.fixed = [self._fixed.get(root) for root in roots]
        self.limits = {number[self._root(index)]: limit for index, limit in self._limits.items()}
        self.quantizers = {t: number[self._root(index)] for t, index in self._of.items() if t not in fused}
        self.steps = [
            _Step(node, b, [number[self._root(i)] for i in own], [self.quantizers.get(id(t)) for t in node.outputs])
            for node, b, own in zip(nodes, behaviours, inside, strict=True)
        ]

    def _visit(self, node: Any, behaviour: Behaviour) -> list[int]:
        """Assigns quantizers to a node's outputs and returns those of the tensors inside."""
        name = node.operation.name
        sources = [self._of[id(tensor)] for tensor in node.input_tensors]
        for tensor in node.outputs:
            own = behaviour.output if isinstance(behaviour.output, tuple) else None
            self._of[id(tensor)] = self._new(name, own)
        if behaviour.output == "shared":
            if type(node.operation).__name__ == "ResizeLike":  # only the size of the second input matters
                sources = sources[:1]
            self._share(sources, [self._of[id(tensor)] for tensor in node.outputs])
        inside = []
        for tensor in behaviour.inside:
            limited = tensor[0] == "limited"
            inside.append(self._new(f"{name} (inside)", tensor if isinstance(tensor, tuple) and not limited else None))
            if limited:
                self._limits[inside[-1]] = tensor[1]
        if behaviour.output == quantized_layers._FIXED["tanh"] and not behaviour.inside:
            self._limits[sources[0]] = quantized_layers.TANH_INPUT
        return inside

    def _share(self, sources: Sequence[int], outputs: Sequence[int]) -> None:
        """One quantizer for an operator's inputs and outputs.

        As in TensorFlow's converter, the fixed range of a tanh or sigmoid among several inputs becomes that of all. The image
        keeps its own range beside other inputs, and so do inputs with different fixed ranges: they are requantized.
        """
        distinct = {self._root(source) for source in sources}
        if len(distinct) > 1:
            distinct.discard(self._root(self._image))
            if len({self._fixed[root] for root in distinct & self._fixed.keys()}) > 1:
                distinct -= self._fixed.keys()
        for index in (*distinct, *outputs[1:]):
            self._join(index, outputs[0])

    def _fused(self, nodes: Sequence[Any], behaviours: Sequence[Behaviour], ends: set[int]) -> set[int]:
        """The ids of tensors that only a ReLU of the same operator reads."""
        fusing = {id(t) for node, b in zip(nodes, behaviours, strict=True) if b.fuses for t in node.outputs}
        readers: dict[int, list[str | Range]] = {}
        for node, behaviour in zip(nodes, behaviours, strict=True):
            for tensor in node.input_tensors:
                readers.setdefault(id(tensor), []).append(behaviour.output)
        return {t for t, kinds in readers.items() if t in fusing - ends and len(kinds) == 1 and kinds[0] in ("relu", "clip")}

    def _orphans(self, fused: set[int]) -> set[int]:
        """The quantizers that only fused tensors have."""
        used = {self._root(index) for tensor, index in self._of.items() if tensor not in fused}
        return {self._root(index) for tensor, index in self._of.items() if tensor in fused} - used

    def _new(self, name: str, fixed: Range | None = None) -> int:
        index = len(self._parent)
        self._parent.append(index)
        self._names.append(name)
        if fixed is not None:
            self._fixed[index] = fixed
        return index

    def _root(self, index: int) -> int:
        while self._parent[index] != index:
            index = self._parent[index]
        return index

    def _join(self, a: int, b: int) -> None:
        a, b = sorted((self._root(a), self._root(b)))
        if a != b:
            self._parent[b] = a
            if b in self._fixed:
                self._fixed.setdefault(a, self._fixed.pop(b))  # equal, if both are fixed


def nodes_in_order(model: keras.Model) -> list[Any]:
    """Returns the nodes of a functional model, without its inputs, each after those that it reads."""
    depths = model._nodes_by_depth  # Keras has no public access to the graph of a functional model
    nodes = [node for depth in sorted(depths, reverse=True) for node in depths[depth]]
    return [node for node in nodes if node.operation is not None and not node.is_input]
