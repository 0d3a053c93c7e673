"""Finds the tensors of a float graph whose channels may be mixed: only convolutions write them and read them.

Such tensors are linear in between: results of convolutions without activation, their sums, products with a number or a mask of
all channels, concatenations, resized tensors, depth_to_space. An invertible matrix M over their channels, multiplied into the
convolutions that write them, and its inverse, multiplied into those that read them, leave the network's output as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mobile_sr.converters.quantization.float_graph import FloatGraph

_FACTORS = [[False], [False, True]]  # whether the operands of a product have one channel: times a number, or times a mask
_TILE = 8  # channels that the kernels of XNNPACK compute together
_MOVES = ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "AVERAGE_POOL_2D")  # the same for every channel


@dataclasses.dataclass
class LinearSpace:
    """Tensors with the same mixed channels.

    Attributes:
        tensors: their indices, in the order of the network.
        writers: the convolutions that write one of them, or all phases of one in front of a depth_to_space.
        readers: (convolution, its first input channel that is one of theirs).
        channels: number of channels.
        block: channels in a block, in which alone channels may be mixed; `channels` without grouped convolutions.
        in_sums: {tensor: the sum's result} of the tensors that only a sum reads.
    """

    tensors: list[int]
    writers: list[Any]
    readers: list[tuple[Any, int]]
    channels: int
    block: int
    in_sums: dict[int, int]

    def is_pointwise(self, graph: FloatGraph) -> bool:
        """Whether one convolution writes the only tensor and only 1x1 convolutions read it: its channels may be shifted."""
        return len(self.tensors) == 1 and all(graph.shape(op.inputs[1])[1:3] == [1, 1] for op, _ in self.readers)


def find(graph: FloatGraph) -> list[LinearSpace]:
    """Return the linear spaces of at least two channels, in the order of the network."""
    return _Finder(graph).spaces()


class _Finder:
    """Joins tensors that need the same mixing (union-find), and strikes those that other operators read or write."""

    def __init__(self, graph: FloatGraph) -> None:
        self._graph = graph
        self._parent: dict[int, int] = {}
        self._struck: set[int] = set()
        self._parts: dict[int, list[int]] = {}  # of concatenations
        self._phases: dict[int, int] = {}  # {result of a depth_to_space: its input}
        self._blocks: dict[int, int] = {}
        self._writers: dict[int, Any] = {}
        self._readers: list[tuple[Any, int, int]] = []
        self._in_sums: dict[int, int] = {}
        self._counts: dict[int, int] = {}
        for op in graph.ops:
            self._visit(op)
        for tensor in (*graph.graph.inputs, *graph.graph.outputs):
            self._strike(tensor)
        for tensor, phases in self._phases.items():
            if self._counts[phases] == 1 and phases not in graph.graph.outputs:
                self._writers[tensor] = self._writers[phases]
            else:
                self._strike(tensor)

    def spaces(self) -> list[LinearSpace]:
        struck = {self._root(tensor) for tensor in self._struck}
        members: dict[int, list[int]] = {}
        for tensor in self._parent:
            if self._root(tensor) not in struck:
                members.setdefault(self._root(tensor), []).append(tensor)
        return [self._space(tensors) for tensors in members.values() if self._channels(tensors[0]) >= 2]

    def _space(self, tensors: list[int]) -> LinearSpace:
        own, channels = set(tensors), self._channels(tensors[0])
        return LinearSpace(
            tensors=tensors,
            writers=[self._writers[tensor] for tensor in tensors if tensor in self._writers],
            readers=[(op, first) for op, tensor, first in self._readers if tensor in own],
            channels=channels,
            block=min((self._blocks[tensor] for tensor in tensors if tensor in self._blocks), default=channels),
            in_sums={a: b for a, b in self._in_sums.items() if a in own and self._counts[a] == 1},
        )

    def _visit(self, op: Any) -> None:
        graph, name, out = self._graph, self._graph.name(op), op.outputs[0]
        inputs = [tensor for tensor in op.inputs if tensor >= 0 and graph.is_float(tensor) and graph.constant(tensor) is None]
        for tensor in inputs:
            self._counts[tensor] = self._counts.get(tensor, 0) + 1
        if name == "CONV_2D" and graph.has_constant_weights(op):
            self._convolution(op)
        elif graph.activation(op) != "NONE" or not self._is_linear(op, name, inputs):
            for tensor in (*inputs, *op.outputs):
                self._strike(tensor)
        elif name == "CONCATENATION":
            self._parts[out] = [part for tensor in op.inputs for part in self._parts.get(tensor, [tensor])]
        elif name == "DEPTH_TO_SPACE":
            self._root(out)
            self._phases[out] = inputs[0]
            self._strike(inputs[0])
        else:
            for tensor in inputs:
                if self._channels(tensor) == self._channels(out):
                    self._join(tensor, out)
                else:
                    self._strike(tensor)  # a mask
            if name in ("ADD", "SUB"):
                self._in_sums.update(dict.fromkeys(inputs, out))

    def _convolution(self, op: Any) -> None:
        source, out = op.inputs[0], op.outputs[0]
        kernel = self._graph.shape(op.inputs[1])
        groups = self._channels(source) // kernel[-1]
        self._root(out)
        self._writers[out] = op
        if self._graph.activation(op) != "NONE":
            self._strike(out)
        if groups != 1:  # it also is 0 where the number of channels is dynamic
            self._blocks[out] = kernel[0] // max(groups, 1)
            self._blocks[source] = min(kernel[-1], self._blocks.get(source, kernel[-1]))
        if groups < 1 or (groups > 1 and source in self._parts):
            self._strike(source)
            return
        first = 0
        for part in self._parts.get(source, [source]):
            self._root(part)
            self._readers.append((op, part, first))
            first += self._channels(part)

    def _is_linear(self, op: Any, name: str, inputs: Sequence[int]) -> bool:
        """Whether an operator is the same linear function of every channel of its result, or a concatenation of channels."""
        graph = self._graph
        shapes = [graph.shape(tensor) for tensor in inputs]
        if name == "CONCATENATION":
            rank = len(graph.shape(op.outputs[0]))
            return len(inputs) == len(op.inputs) and op.builtinOptions.axis % rank == rank - 1 == 3
        if any(tensor in self._parts for tensor in inputs) or any(len(shape) != 4 for shape in shapes):
            return False
        if name == "DEPTH_TO_SPACE":
            writer = self._writers.get(inputs[0])
            return writer is not None and graph.activation(writer) == "NONE" and inputs[0] not in self._blocks
        if name in ("ADD", "SUB"):
            return len(inputs) == 2 and shapes[0] == shapes[1]
        if name == "MUL":
            factors = [values for tensor in op.inputs if (values := graph.constant(tensor)) is not None]
            return all(values.size == 1 for values in factors) and sorted(shape[-1] == 1 for shape in shapes) in _FACTORS
        return name in _MOVES

    def _channels(self, tensor: int) -> int:
        shape = self._graph.shape(tensor)
        return shape[-1] if shape else 0

    def _strike(self, tensor: int) -> None:
        for part in self._parts.get(tensor, [tensor]):
            self._root(part)
            self._struck.add(part)

    def _root(self, tensor: int) -> int:
        while (parent := self._parent.setdefault(tensor, tensor)) != tensor:
            tensor = parent
        return tensor

    def _join(self, a: int, b: int) -> None:
        self._parent[self._root(b)] = self._root(a)


def widen(graph: FloatGraph) -> None:
    """Remove paddings of channels in place, where the convolution in front of one can compute the zeros itself.

    The tensor with fewer channels becomes one with zeros, which all convolutions that read it ignore. This happens only where
    the number of channels in groups of `_TILE`, in which kernels work, stays the same.
    """
    producers, readers = graph.producers(), graph.readers()
    for op in [op for op in graph.ops if graph.name(op) in ("PAD", "PADV2")]:
        source, out = op.inputs[0], op.outputs[0]
        writer, others = producers.get(source), [other for other in readers[source] if other is not op]
        narrow, wide = (graph.shape(tensor)[-1] for tensor in (source, out))
        if writer is None or None in others or not _appends_zeros(graph, op) or -(-narrow // _TILE) != -(-wide // _TILE):
            continue
        if not all(is_dense(graph, each) for each in (writer, *others)) or graph.activation(writer) != "NONE":
            continue
        for each, axis in ((writer, 0), *((other, 3) for other in others)):
            kernel = graph.constant(each.inputs[1])
            assert kernel is not None  # by is_dense
            amounts = [(0, wide - narrow if k == axis else 0) for k in range(4)]
            graph.set_constant(each.inputs[1], np.pad(kernel, amounts))
        bias = graph.constant(graph.bias(writer))
        assert bias is not None  # likewise
        graph.set_constant(graph.bias(writer), np.pad(bias, (0, wide - narrow)))
        graph.ops.remove(op)
        graph.set_shape(source, like=out)
        graph.replace_uses(out, source)


def _appends_zeros(graph: FloatGraph, op: Any) -> bool:
    """Whether a padding appends channels of zeros, and nothing else."""
    amounts = graph.constant(op.inputs[1])
    value = graph.constant(op.inputs[2]) if len(op.inputs) > 2 else np.zeros(1)
    if amounts is None or value is None or value.any() or len(amounts) != 4:
        return False
    return not amounts[:-1].any() and amounts[-1][0] == 0


def is_dense(graph: FloatGraph, op: Any) -> bool:
    """Return whether an operator is a convolution with constant weights and without groups."""
    if graph.name(op) != "CONV_2D" or not graph.has_constant_weights(op):
        return False
    return graph.shape(op.inputs[1])[-1] == graph.shape(op.inputs[0])[-1]


def apply(graph: FloatGraph, space: LinearSpace, matrix: np.ndarray) -> None:
    """Mix the channels of a space in place: every tensor z becomes matrix @ z; the network's output stays the same.

    Args:
        graph: the network.
        space: one of `find`.
        matrix: [C, C], invertible and zero outside of the space's blocks.
    """
    inverse = np.linalg.inv(matrix)
    for op in space.writers:
        kernel, bias = graph.constant(op.inputs[1]), graph.constant(graph.bias(op))
        assert kernel is not None  # by _convolution
        assert bias is not None  # likewise
        phases = np.kron(np.eye(len(kernel) // space.channels), matrix)  # more than one in front of a depth_to_space
        mixed = np.tensordot(phases, kernel.astype(np.float64), axes=(1, 0))
        graph.set_constant(op.inputs[1], mixed.astype(np.float32))
        graph.set_constant(graph.bias(op), (phases @ bias).astype(np.float32))
    for op, first in space.readers:
        kernel = graph.constant(op.inputs[1])
        assert kernel is not None  # likewise
        result = kernel.astype(np.float64)
        groups = max(1, space.channels // kernel.shape[-1])
        for group, own in enumerate(np.split(np.arange(len(kernel)), groups)):
            count = space.channels // groups
            rows = slice(group * count, (group + 1) * count)
            result[own, ..., first : first + count] = kernel[own, ..., first : first + count] @ inverse[rows, rows]
        graph.set_constant(op.inputs[1], result.astype(np.float32))
