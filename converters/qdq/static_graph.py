"""A .tflite at one input size: the shapes of all tensors, and the values of what is computed from shapes."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import numpy as np

from mobile_sr.converters.quiet import quiet
from mobile_sr.converters.tflite import flatbuffer, runtime
from mobile_sr.converters.tflite.constants import Constants
from mobile_sr.converters.tflite.flatbuffer import TFLiteFileError


@dataclasses.dataclass(frozen=True)
class StaticOp:
    """One operator.

    Attributes:
        name: builtin name.
        index: position among the operators of the file.
        inputs: tensor indices, -1 for an absent one.
        outputs: tensor indices.
        options: its options, an object of the schema such as Conv2DOptionsT, or None.
    """

    name: str
    index: int
    inputs: list[int]
    outputs: list[int]
    options: Any

    def option(self, name: str, default: Any = 0) -> Any:
        """Return an option by its name in the schema, or the default of an operator without options."""
        return getattr(self.options, name, default)

    @property
    def label(self) -> str:
        """Name that is unique in the file, such as 'CONV_2D_12'."""
        return f"{self.name}_{self.index}"


class StaticGraph:
    """The first subgraph of a file at one size of its image.

    Attributes:
        graph: as parsed.
        ops: the operators that compute with values, in order; those that only compute shapes are left out.
        shapes: {tensor index: shape}.
        sized: tensors that depend on nothing but shapes and constants.
    """

    def __init__(self, data: bytes, shape: tuple[int, ...]) -> None:
        """Allocate the file at this size; run it once on zeros if it computes sizes.

        Args:
            data: bytes of a file that flatbuffer.parse accepts.
            shape: shape of the image, its input of rank 4.

        Raises:
            ValueError: it has no such input, or does not run at this shape.
        """
        from ai_edge_litert import schema_py_generated as schema

        graph = flatbuffer.parse(data)
        data = flatbuffer.as_first_subgraph(data, graph)
        self.graph = graph
        self._constants = Constants(data, graph)
        subgraph = schema.ModelT.InitFromPackedBuf(data, 0).subgraphs[0]
        images = graph.image_inputs()
        if not images:
            raise ValueError("it has no input of four dimensions")
        self.sized = self._by_size()
        self._values, self.shapes = _allocate(data, images[0], shape, self.sized)
        self.ops = [
            StaticOp(op.name, index, op.inputs, op.outputs, raw.builtinOptions)
            for index, (op, raw) in enumerate(zip(graph.ops, subgraph.operators, strict=True))
            if not self.sized.issuperset(op.outputs)
        ]

    def _by_size(self) -> set[int]:
        """Return the tensors that depend on nothing but shapes and constants."""
        found: set[int] = set()
        for op in self.graph.ops:
            inputs = [index for index in op.inputs if index >= 0]
            if op.name == "SHAPE" or all(index in found or self.graph.tensors[index].constant for index in inputs):
                found.update(op.outputs)
        return found

    def is_constant(self, tensor: int) -> bool:
        """Whether the values of a tensor do not depend on the image."""
        return tensor in self.sized or self.graph.tensors[tensor].constant

    def is_integer(self, tensor: int) -> bool:
        """Whether a tensor is an 8-bit integer with scales."""
        entry = self.graph.tensors[tensor]
        return entry.dtype in ("int8", "uint8") and len(entry.scales) > 0

    def values(self, tensor: int) -> np.ndarray:
        """Return the stored values of a constant tensor, in its shape.

        Raises:
            TFLiteFileError: the values cannot be read.
        """
        if tensor not in self.sized:
            return self._constants.stored(tensor)
        if tensor not in self._values:
            raise TFLiteFileError(f"cannot read the values of tensor {self.graph.tensors[tensor].name}")
        return self._values[tensor]

    def quantized_axis(self, tensor: int) -> int:
        """Return the axis of a tensor's scales; 0 for a single scale."""
        return self._constants.quantized_axis(tensor)


def _allocate(
    data: bytes, image: int, shape: tuple[int, ...], wanted: set[int]
) -> tuple[dict[int, np.ndarray], dict[int, tuple[int, ...]]]:
    """Return ({tensor: its values} of the wanted tensors, {tensor: shape} of all)."""
    try:
        with quiet():
            interpreter = runtime.create_interpreter(data, delegate=False, keep=bool(wanted))
            interpreter.resize_tensor_input(image, shape, strict=False)
            interpreter.allocate_tensors()
            if wanted:
                interpreter.invoke()
            values = {}
            for tensor in wanted:
                with contextlib.suppress(ValueError):  # in a subgraph, or empty
                    values[tensor] = interpreter.get_tensor(tensor)
            details = interpreter.get_tensor_details()
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"does not run on {list(shape)} ({str(error).splitlines()[0]})") from None
    return values, {int(detail["index"]): tuple(int(side) for side in detail["shape"]) for detail in details}
