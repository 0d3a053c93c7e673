"""Emits the nodes of an ONNX graph as TensorFlow operators, channels last."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mobile_sr.converters.formats.float_model import FIX_THE_SIZE, FormatError, SizeError
from mobile_sr.converters.formats.onnx_network.graph import Node, OnnxGraph

CHANNELS_LAST = (0, 2, 3, 1)  # order of the sides of an NCHW tensor that is stored as NHWC


@dataclasses.dataclass
class Value:
    """A tensor that depends on the image.

    Attributes:
        tensor: the TensorFlow tensor.
        axes: ONNX's axis of each side of `tensor`: (0, 2, 3, 1) for an NCHW tensor that is stored as NHWC. A Transpose
            changes these only.
    """

    tensor: Any
    axes: tuple[int, ...]


Operator = Callable[["Emitter", Node], Value | list[Value]]


class Emitter:
    """Runs the nodes of a graph on TensorFlow tensors.

    Attributes:
        graph: the graph.
        tf: the module tensorflow.
        lr: the image, [1, H, W, C], while `run` runs.
    """

    def __init__(self, graph: OnnxGraph, tf: Any) -> None:
        """Start with a graph whose nodes were rewritten by rewrites.

        Args:
            graph: the graph.
            tf: the module tensorflow.
        """
        self.graph, self.tf = graph, tf
        self._values: dict[str, Value] = {}
        self.lr: Any = None

    def run(self, nodes: Sequence[Node], operators: dict[str, Operator], lr: Any, output: str, layout: str) -> Any:
        """Emit nodes.

        Args:
            nodes: the nodes, as returned by rewrites.needed.
            operators: {operator type: function}.
            lr: the image, [1, H, W, C].
            output: name of the output to return.
            layout: 'NCHW' or 'NHWC', of the output in the ONNX file.

        Returns:
            The output, [1, H, W, C].

        Raises:
            FormatError: an operator or a form of it is not supported; SizeError if it would be with a known size.
        """
        self.lr = lr
        self._values = {self.graph.image: Value(lr, CHANNELS_LAST if self.graph.layout == "NCHW" else (0, 1, 2, 3))}
        for node in nodes:
            if node.op not in operators:
                raise self.error(node, "is not supported; export the network as .tflite or SavedModel")
            try:
                results = operators[node.op](self, node)
            except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
                if isinstance(error, FormatError):
                    raise
                raise self.error(
                    node, f"cannot be converted ({str(error).splitlines()[0] if str(error) else error!r})"
                ) from error
            self._values.update(zip(node.outputs, results if isinstance(results, list) else [results], strict=False))
        return self.stored(output, CHANNELS_LAST if layout == "NCHW" else (0, 1, 2, 3))

    def error(self, node: Node, reason: str) -> FormatError:
        """Return an error about a node."""
        return FormatError(f"{self.graph.path}: operator {node.op} (node {node.name}) {reason}")

    def size_error(self, node: Node) -> SizeError:
        """Return an error about a node whose form depends on the image size."""
        return SizeError(str(self.error(node, f"depends on the image size; {FIX_THE_SIZE}")))

    def is_data(self, name: str) -> bool:
        """Whether a tensor depends on the values of the image."""
        return name in self._values

    def value(self, node: Node, position: int = 0) -> Value:
        """Return an input of a node that depends on the image; a constant becomes a tensor."""
        name = node.inputs[position]
        if name in self._values:
            return self._values[name]
        array = self.constant(node, position)
        return Value(self.tf.constant(np.asarray(array, np.float32)), tuple(range(np.ndim(array))))

    def constant(self, node: Node, position: int) -> np.ndarray:
        """Return a constant input of a node.

        Raises:
            FormatError: it depends on the image; SizeError if it depends on its size only, which is dynamic.
        """
        name = node.inputs[position]
        if name not in self.graph.constant and name not in self.graph.by_size:
            raise self.error(node, f"needs a constant as input {position}, but {name} depends on the image")
        first, *others = (trial[name] for trial in self.graph.trials)
        if any(not np.array_equal(first, other) for other in others):
            raise self.size_error(node)
        return first.astype(np.float32) if first.dtype in (np.float16, np.float64) else first

    def parameter(self, node: Node, name: str, position: int, default: Any = None) -> Any:
        """Return an attribute that newer operator sets pass as an input: as an array or number, or `default`."""
        if name in node.attributes:
            return node.attributes[name]
        given = position < len(node.inputs) and node.inputs[position]
        return self.constant(node, position) if given else default

    def rank(self, name: str) -> int:
        """Number of sides of a tensor."""
        return len(self.graph.shapes(name)[0])

    def sides(self, name: str) -> list[int | None]:
        """Return the sides of a tensor in ONNX's order; None for one that depends on the image size."""
        return [values[0] if len(set(values)) == 1 else None for values in zip(*self.graph.shapes(name), strict=True)]

    def stored(self, name: str, axes: Sequence[int]) -> Any:
        """Return a tensor that depends on the image with its sides in the given order."""
        value = self._values[name]
        return self.reorder(value, self.sides(name), axes)

    def reorder(self, value: Value, sides: Sequence[int | None], axes: Sequence[int]) -> Any:
        """Bring the sides of a value into the given order; without a transposition if only sides of 1 move."""
        if tuple(axes) == value.axes:
            return value.tensor
        real = [axis for axis in value.axes if sides[axis] != 1]
        unknown = sum(sides[axis] is None for axis in axes)
        if real == [axis for axis in axes if sides[axis] != 1] and unknown < 2:
            return self.tf.reshape(value.tensor, [-1 if sides[axis] is None else sides[axis] for axis in axes])
        return self.tf.transpose(value.tensor, [value.axes.index(axis) for axis in axes])

    def nhwc(self, node: Node, position: int = 0) -> Any:
        """Return an input of rank 4, NCHW in ONNX, as an NHWC tensor.

        Raises:
            FormatError: it is not of rank 4.
        """
        name = node.inputs[position]
        if self.rank(name) != 4:
            raise self.error(node, f"has an input of rank {self.rank(name)}; only images (rank 4) are supported")
        value = self.value(node, position)
        return self.reorder(value, self.sides(name), CHANNELS_LAST)

    def aligned(self, node: Node) -> tuple[list[Any], tuple[int, ...]]:
        """Return all inputs of a node with broadcasting, in one order of sides, and that order."""
        rank = max(self.rank(name) for name in node.inputs)
        orders = [self._values[name].axes for name in node.inputs if self.is_data(name) and self.rank(name) == rank]
        plain = tuple(range(rank))
        axes = next((order for order in orders if order != plain), plain)
        return [self._align(node, position, axes) for position in range(len(node.inputs))], axes

    def _align(self, node: Node, position: int, axes: tuple[int, ...]) -> Any:
        name = node.inputs[position]
        if not self.is_data(name):
            array = np.asarray(self.constant(node, position), np.float32)
            if array.size == 1:
                return self.tf.constant(array.reshape(()))
            array = array.reshape((1,) * (len(axes) - array.ndim) + array.shape)
            return self.tf.constant(np.ascontiguousarray(array.transpose(axes)))
        value, sides = self._values[name], self.sides(name)
        added = len(axes) - len(sides)
        tensor = value.tensor
        for _ in range(added):
            tensor = self.tf.expand_dims(tensor, 0)
        order = (*range(added), *(axis + added for axis in value.axes))
        return self.reorder(Value(tensor, order), [1] * added + sides, axes)
