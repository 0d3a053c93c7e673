"""Finds which channels of a float graph may be scaled or shifted, and which must be scaled and shifted together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.tflite.constants import BIASED

# Operators whose quantized output has the scale and zero point of their inputs.
SAME_SCALE = (
    *("CONCATENATION", "PAD", "PADV2", "MIRROR_PAD", "SPLIT", "SPLIT_V", "SLICE", "STRIDED_SLICE", "GATHER", "TILE"),
    *("MAX_POOL_2D", "AVERAGE_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "MINIMUM", "MAXIMUM"),
    *("REDUCE_MAX", "REDUCE_MIN"),
    *("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH"),
)
_MOVES = ("MIRROR_PAD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")  # keep the channels
_RECTIFIERS = ("RELU", "LEAKY_RELU", "PRELU", "ABS", "NEG")  # positively homogeneous, not linear
_REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")
_HOMOGENEOUS = ("NONE", "RELU")  # fused activations


@dataclasses.dataclass
class _Channels:
    """A tensor: the channel group of each channel (its last axis), and the shared range that the tensor belongs to.

    The channels of a group have one scale and one shift. Tensors with a shared range have one scale and zero point.
    """

    groups: list[int]
    shared_range: int


class ChannelGroups:
    """The channel groups and shared ranges of a float graph.

    Both are numbers in union-find forests. Channel group 0 has the scale 1 and the shift 0: the graph's inputs and outputs,
    and everything next to an operator that is not known to be homogeneous.

    Attributes:
        tensors: indices of all float activations, with the inputs.
        convolutions: {output tensor: (channel groups of the input, of the output)} of the convolutions and matrix products
            with constant weights.
        added_constants: {constant tensor: channel groups} of the constants that additions must scale along.
    """

    def __init__(self, graph: FloatGraph, fixed: Collection[int] = (), free_products: Collection[int] = ()) -> None:
        """Find the groups.

        Args:
            graph: the network.
            fixed: constants that must not change.
            free_products: results of MUL whose channels form new groups, because their masks are scaled (mask_scaling.py).
        """
        self._fixed_kernels, self._free_products = set(fixed), set(free_products)
        self._parent: list[int] = [0]
        self._ranges: list[int] = []
        self._fixed = {0}  # channel groups that must not be shifted
        self._graph = graph
        self._channels: dict[int, _Channels] = {}
        self.convolutions: dict[int, tuple[list[int], list[int]]] = {}
        self.added_constants: dict[int, list[int]] = {}
        for tensor in graph.graph.inputs:
            self._channels[tensor] = self._pinned(tensor)
        for op in graph.ops:
            if graph.name(op) != "SHAPE":  # it reads no values
                self._visit(op)
        for tensor in graph.graph.outputs:
            if tensor in self._channels:
                self._pin(self._channels[tensor])

    @property
    def tensors(self) -> list[int]:
        """Indices of all float activations, with the inputs."""
        return list(self._channels)

    @property
    def count(self) -> int:
        """Number of channel groups."""
        return len(self._parent)

    def of(self, tensor: int) -> np.ndarray | None:
        """Return the channel groups of a tensor, [C] as `roots`; None for one that is not known."""
        return self.roots(self._channels[tensor].groups) if tensor in self._channels else None

    def roots(self, groups: Iterable[int]) -> np.ndarray:
        """[C] indices of channel groups into arrays over all groups."""
        return np.array([_root(self._parent, group) for group in groups], np.int64)

    def shiftable(self) -> np.ndarray:
        """[channel groups] bool: whether a group may be shifted."""
        fixed = {_root(self._parent, group) for group in self._fixed}
        return np.array([_root(self._parent, group) not in fixed for group in range(len(self._parent))])

    def combine(self, measured: Mapping[int, tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """Combine {tensor: (minima [C], maxima [C])} into two [shared ranges, channel groups] arrays, minima and maxima.

        The entries are inf and -inf where a shared range does not contain a channel group.
        """
        lows = np.full((len(self._ranges), len(self._parent)), np.inf)
        highs = -lows
        for tensor, channels in self._channels.items():
            index, groups = _root(self._ranges, channels.shared_range), self.roots(channels.groups)
            low, high = measured[tensor]
            if len(low) != len(groups):  # the number of channels is dynamic; they are pinned
                low, high = low.min(keepdims=True), high.max(keepdims=True)
            np.minimum.at(lows[index], groups, low)
            np.maximum.at(highs[index], groups, high)
        return lows, highs

    def _visit(self, op: Any) -> None:
        name = self._graph.name(op)
        if name == "SHAPE":  # does not depend on the values
            return
        inputs = [self._channels.get(tensor) for tensor in op.inputs]
        if self._graph.activation(op) not in _HOMOGENEOUS:
            groups = None
        elif name in BIASED:
            groups = self._convolution(op, name, inputs)
        else:
            handler = _HANDLERS.get(name)
            groups = handler(self, op, inputs) if handler else None
        if groups is not None and not self._fits(op, name, groups):
            groups = None
        if groups is not None and self._graph.activation(op) == "RELU":
            self._fixed.update(groups)
        if groups is None:  # not known to be homogeneous: its inputs and outputs keep their scale
            for channels in inputs:
                if channels is not None:
                    self._pin(channels)
        for position, tensor in enumerate(op.outputs):
            if not self._graph.is_float(tensor):
                continue
            if groups is None:
                self._channels[tensor] = self._pinned(tensor)
            else:
                own = self._split(op, groups, position) if name in ("SPLIT", "SPLIT_V") else groups
                self._channels[tensor] = _Channels(own, self._new_range())
            if name in SAME_SCALE:
                for channels in inputs:
                    if channels is not None:
                        self._share(channels, self._channels[tensor])

    def _fits(self, op: Any, name: str, groups: list[int]) -> bool:
        """Whether the output has as many channels as there are groups: not after a broadcast, nor if they are dynamic."""
        return name in (*BIASED, "SPLIT", "SPLIT_V") or self._graph.shape(op.outputs[0])[-1:] == [len(groups)]

    def _convolution(self, op: Any, name: str, inputs: Sequence[_Channels | None]) -> list[int] | None:
        source, weights = inputs[BIASED[name][0]], self._graph.constant(op.inputs[BIASED[name][1]])
        if source is None or weights is None or not self._graph.has_constant_weights(op):
            return None
        if op.inputs[BIASED[name][1]] in self._fixed_kernels:
            return None
        if name == "FULLY_CONNECTED" and weights.shape[-1] != len(source.groups):
            return None  # it flattens its input
        if name != "DEPTHWISE_CONV_2D" and len(source.groups) % weights.shape[-1]:
            return None  # the number of channels is dynamic
        outputs = weights.shape[-1] if name == "DEPTHWISE_CONV_2D" else weights.shape[0]
        ungrouped = name != "DEPTHWISE_CONV_2D" and weights.shape[-1] == len(source.groups)
        # A 1x1 transposed convolution with a stride leaves gaps that contain only its bias.
        if not ungrouped or math.prod(weights.shape[1:-1]) != 1 or name == "TRANSPOSE_CONV":
            self._fixed.update(source.groups)
        groups = self._new_groups(outputs)
        self.convolutions[op.outputs[0]] = (source.groups, groups)
        return groups

    def _keep(self, op: Any, inputs: Sequence[_Channels | None]) -> list[int] | None:
        return inputs[0].groups if inputs[0] is not None else None

    def _rectify(self, op: Any, inputs: Sequence[_Channels | None]) -> list[int] | None:
        if inputs[0] is None or any(channels is not None for channels in inputs[1:]):
            return None
        if len(op.inputs) > 1 and not self._per_channel(op.inputs[1], len(inputs[0].groups)):
            return None
        self._fixed.update(inputs[0].groups)
        return inputs[0].groups

    def _add(self, op: Any, inputs: Sequence[_Channels | None]) -> list[int] | None:
        known = [channels for channels in inputs if channels is not None]
        if len(known) == 2:
            return self._joined(known)
        if len(known) == 1:
            tensor = op.inputs[1 if inputs[0] is not None else 0]
            if self._per_channel(tensor, len(known[0].groups)):
                self._fixed.update(known[0].groups)
                self.added_constants[tensor] = known[0].groups
                return known[0].groups
        return None

    def _multiply(self, op: Any, inputs: Sequence[_Channels | None]) -> list[int] | None:
        a, b = inputs
        if a is not None and b is not None:
            if op.inputs[0] == op.inputs[1]:
                return None
            if self._is_pinned(a) or _elements(self._graph.shape(op.inputs[0])) < _elements(self._graph.shape(op.inputs[1])):
                a, b = b, a
            self._fixed.update(a.groups)
            self._pin(b)  # a mask or an attention
            if op.outputs[0] in self._free_products:
                own = self._new_groups(len(a.groups))
                self._fixed.update(own)
                return own
            return a.groups if len(a.groups) >= len(b.groups) else None
        known, tensor = (a, op.inputs[1]) if a is not None else (b, op.inputs[0])
        if known is None or not self._per_channel(tensor, len(known.groups)):
            return None
        self._fixed.update(known.groups)
        return known.groups

    def _divide(self, op: Any, inputs: Sequence[_Channels | None]) -> list[int] | None:
        return self._multiply(op, inputs) if inputs[0] is not None and inputs[1] is None else None

    def _extreme(self, op: Any, inputs: Sequence[_Channels | None]) -> list[int] | None:
        known = [channels for channels in inputs if channels is not None]
        if len(known) == 2:
            return self._joined(known)
        constant = self._graph.constant(op.inputs[1 if inputs[0] is not None else 0])
        if len(known) == 1 and constant is not None and not constant.any():
            self._fixed.update(known[0].groups)
            return known[0].groups
        return None

    def _concatenate(self, op: Any, inputs: Sequence[_Channels | None]) -> list[int] | None:
        known = [channels for channels in inputs if channels is not None]
        if len(known) != len(inputs):
            return None
        rank = len(self._graph.shape(op.outputs[0]))
        if op.builtinOptions.axis % rank == rank - 1:
            return [group for channels in known for group in channels.groups]
        return self._joined(known, fixed=False)

    def _pad(self, op: Any, inputs: Sequence[_Channels | None]) -> list[int] | None:
        amounts = self._graph.constant(op.inputs[1])
        value = self._graph.constant(op.inputs[2]) if len(op.inputs) > 2 else None
        if inputs[0] is None or amounts is None or (len(op.inputs) > 2 and (value is None or value.any())):
            return None
        self._fixed.update(inputs[0].groups)  # a shift would end at the border
        before, after = (int(amount) for amount in amounts[-1])
        added = self._new_groups(before + after)
        self._fixed.update(added)
        return [*added[:before], *inputs[0].groups, *added[before:]]

    def _mirror(self, op: Any, inputs: Sequence[_Channels | None]) -> list[int] | None:
        amounts = self._graph.constant(op.inputs[1])
        return self._keep(op, inputs) if amounts is not None and not amounts[-1].any() else None

    def _reduce(self, op: Any, inputs: Sequence[_Channels | None]) -> list[int] | None:
        axes = self._graph.constant(op.inputs[1])
        rank = len(self._graph.shape(op.inputs[0]))
        if inputs[0] is None or axes is None or any(int(axis) % rank == rank - 1 for axis in axes.reshape(-1)):
            return None
        if self._graph.name(op) == "SUM":
            self._fixed.update(inputs[0].groups)
        return inputs[0].groups

    def _slice(self, op: Any, inputs: Sequence[_Channels | None]) -> list[int] | None:
        if inputs[0] is None:
            return None
        constants = [self._graph.constant(tensor) for tensor in op.inputs[1:]]
        known = [values for values in constants if values is not None]
        groups = inputs[0].groups
        rank = len(self._graph.shape(op.inputs[0]))
        if len(known) != len(constants) or any(len(values) != rank for values in known):
            return None
        if self._graph.name(op) == "SLICE":
            begin, size = (int(values[-1]) for values in known)
            return groups[begin : None if size < 0 else begin + size]
        options, last = op.builtinOptions, 1 << (rank - 1)
        if options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask or options.offset:
            return None
        first = None if options.beginMask & last else int(known[0][-1])
        end = None if options.endMask & last else int(known[1][-1])
        return groups[first : end : int(known[2][-1])]

    def _split_all(self, op: Any, inputs: Sequence[_Channels | None]) -> list[int] | None:
        source = inputs[1 if self._graph.name(op) == "SPLIT" else 0]
        axis = self._graph.constant(op.inputs[0 if self._graph.name(op) == "SPLIT" else 2])
        return source.groups if source is not None and axis is not None else None

    def _split(self, op: Any, groups: list[int], position: int) -> list[int]:
        """The channel groups of one output of SPLIT or SPLIT_V, from those of the input."""
        counts = [self._graph.shape(tensor)[-1] for tensor in op.outputs]
        if sum(counts) != len(groups):  # along another axis
            return groups
        return groups[sum(counts[:position]) : sum(counts[: position + 1])]

    def _reshape(self, op: Any, inputs: Sequence[_Channels | None]) -> list[int] | None:
        same = inputs[0] is not None and self._graph.shape(op.outputs[0])[-1:] == [len(inputs[0].groups)]
        return self._keep(op, inputs) if same else None

    def _transpose(self, op: Any, inputs: Sequence[_Channels | None]) -> list[int] | None:
        order = self._graph.constant(op.inputs[1])
        return self._keep(op, inputs) if order is not None and order[-1] == len(order) - 1 else None

    def _depth_to_space(self, op: Any, inputs: Sequence[_Channels | None]) -> list[int] | None:
        if inputs[0] is None or len(inputs[0].groups) % op.builtinOptions.blockSize**2:
            return None
        count = len(inputs[0].groups) // op.builtinOptions.blockSize**2
        for channel, group in enumerate(inputs[0].groups):
            self._join(inputs[0].groups[channel % count], group)
        return inputs[0].groups[:count]

    def _space_to_depth(self, op: Any, inputs: Sequence[_Channels | None]) -> list[int] | None:
        return inputs[0].groups * op.builtinOptions.blockSize**2 if inputs[0] is not None else None

    def _joined(self, parts: Sequence[_Channels], fixed: bool = True) -> list[int] | None:
        if len({len(channels.groups) for channels in parts}) != 1:
            return None
        for channels in parts:
            if fixed:
                self._fixed.update(channels.groups)
            for a, b in zip(parts[0].groups, channels.groups, strict=True):
                self._join(a, b)
        return parts[0].groups

    def _per_channel(self, tensor: int, channels: int) -> bool:
        """Whether a tensor is a constant with at most one value per channel."""
        values = self._graph.constant(tensor)
        return values is not None and values.size in (1, channels) and values.shape[-1:] in ((), (1,), (channels,))

    def _is_pinned(self, channels: _Channels) -> bool:
        return not self.roots(channels.groups).any()

    def _pinned(self, tensor: int) -> _Channels:
        shape = self._graph.shape(tensor)
        return _Channels([0] * (shape[-1] if shape and shape[-1] > 0 else 1), self._new_range())

    def _pin(self, channels: _Channels) -> None:
        """Forbid scaling and shifting the channels of a tensor."""
        for group in channels.groups:
            self._join(group, 0)

    def _new_groups(self, count: int) -> list[int]:
        first = len(self._parent)
        self._parent += range(first, first + count)
        return list(range(first, first + count))

    def _new_range(self) -> int:
        self._ranges.append(len(self._ranges))
        return len(self._ranges) - 1

    def _share(self, a: _Channels, b: _Channels) -> None:
        self._ranges[_root(self._ranges, a.shared_range)] = _root(self._ranges, b.shared_range)

    def _join(self, a: int, b: int) -> None:
        a, b = _root(self._parent, a), _root(self._parent, b)
        self._parent[max(a, b)] = min(a, b)


_Handler = Callable[[ChannelGroups, Any, Sequence[_Channels | None]], list[int] | None]
# {operator: method that returns the channel groups of its output, or None if it is not homogeneous}.
_HANDLERS: dict[str, _Handler] = {
    **dict.fromkeys(_MOVES, ChannelGroups._keep),
    **dict.fromkeys(_RECTIFIERS, ChannelGroups._rectify),
    **dict.fromkeys(_REDUCTIONS, ChannelGroups._reduce),
    **dict.fromkeys(("ADD", "SUB"), ChannelGroups._add),
    **dict.fromkeys(("MAXIMUM", "MINIMUM"), ChannelGroups._extreme),
    **dict.fromkeys(("PAD", "PADV2"), ChannelGroups._pad),
    **dict.fromkeys(("SLICE", "STRIDED_SLICE"), ChannelGroups._slice),
    **dict.fromkeys(("SPLIT", "SPLIT_V"), ChannelGroups._split_all),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), ChannelGroups._reshape),
    "MUL": ChannelGroups._multiply,
    "DIV": ChannelGroups._divide,
    "CONCATENATION": ChannelGroups._concatenate,
    "MIRROR_PAD": ChannelGroups._mirror,
    "TRANSPOSE": ChannelGroups._transpose,
    "DEPTH_TO_SPACE": ChannelGroups._depth_to_space,
    "SPACE_TO_DEPTH": ChannelGroups._space_to_depth,
}


def _elements(shape: Sequence[int]) -> float:
    """Number of elements; a dynamic side counts as many."""
    return math.prod(side if side >= 0 else 1e4 for side in shape)


def _root(parent: Sequence[int], x: int) -> int:
    while parent[x] != x:
        x = parent[x]
    return x
