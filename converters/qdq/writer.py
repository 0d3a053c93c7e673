"""Build a QDQ graph: every operator reads DequantizeLinear and writes QuantizeLinear with its tensors' own parameters.

TFLite's images are NHWC and ONNX's are NCHW. A tensor of four dimensions exists in the layout in which it was computed, and
is transposed where an operator needs the other one: in most networks only at the ends.

Signed activations become unsigned, with the zero point + 128: the same real values in the type that NPUs compute in. The
weights stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mobile_sr.converters.qdq.static_graph import StaticGraph, StaticOp

Layout = Literal["NHWC", "NCHW"]
OPSET = 21
_PERMUTATIONS: dict[tuple[Layout, Layout], list[int]] = {("NHWC", "NCHW"): [0, 3, 1, 2], ("NCHW", "NHWC"): [0, 2, 3, 1]}


class UnsupportedError(ValueError):
    """Raised for an operator or type that a QDQ file cannot contain; the message names it."""


class Writer:
    """Builds an ONNX graph.

    Attributes:
        static: the .tflite at its size.
    """

    def __init__(self, static: StaticGraph) -> None:
        """Start an empty graph for a .tflite."""
        import onnx

        self.static = static
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._initializers: dict[str, Any] = {}
        self._values: dict[tuple[int, Layout], str] = {}  # names of quantized values by tensor and layout
        self._uses: dict[str, int] = {}

    # Tensors

    def rank(self, tensor: int) -> int:
        """Return the number of dimensions of a tensor."""
        return len(self.static.shapes[tensor])

    def layout(self, tensor: int) -> Layout:
        """Return the layout in which a tensor exists."""
        return "NCHW" if (tensor, "NCHW") in self._values else "NHWC"

    def common_layout(self, op: StaticOp) -> Layout:
        """Return the layout for an operator that works in both: NCHW if an input has it and all tensors have 4 dimensions."""
        inputs = [index for index in op.inputs if index >= 0 and not self.static.is_constant(index)]
        if any(self.rank(index) != 4 for index in (*inputs, *op.outputs)):
            return "NHWC"
        return "NCHW" if any(self.layout(index) == "NCHW" for index in inputs) else "NHWC"

    def shape(self, tensor: int, layout: Layout) -> list[int]:
        """Return the shape of a tensor in a layout; tensors of other than four dimensions have no layout."""
        shape = list(self.static.shapes[tensor])
        return [shape[k] for k in _PERMUTATIONS["NHWC", "NCHW"]] if layout == "NCHW" and len(shape) == 4 else shape

    def is_quantized(self, tensor: int) -> bool:
        """Whether a tensor is an 8-bit integer with a scale. Raises UnsupportedError for types that are not supported."""
        entry = self.static.graph.tensors[tensor]
        if entry.dtype == "float32":
            return False
        if entry.dtype not in ("int8", "uint8") or len(entry.scales) != 1:
            raise UnsupportedError(
                f"tensor {entry.name} is {entry.dtype} with {len(entry.scales)} scales; 8 bits are supported"
            )
        return True

    def limits(self, tensor: int) -> tuple[float, float]:
        """Return the smallest and the largest real value that a quantized tensor can have."""
        scale, zero_point = self._parameters(tensor)
        return float(-zero_point * scale), float((255 - zero_point) * scale)

    def _parameters(self, tensor: int) -> tuple[np.float32, int]:
        """Return (scale, zero point as uint8)."""
        entry = self.static.graph.tensors[tensor]
        return np.float32(entry.scales[0]), int(entry.zero_points[0]) + (128 if entry.dtype == "int8" else 0)

    # Values

    def real(self, tensor: int, layout: Layout = "NHWC") -> str:
        """Return the name of a tensor's real values, dequantized for one reader."""
        if self.static.is_constant(tensor):
            return self.real_constant(tensor, self._in_layout(self.static.values(tensor), layout))
        value = self._value(tensor, layout)
        return self._dequantize(value, tensor) if self.is_quantized(tensor) else value

    def real_constant(self, tensor: int, stored: np.ndarray) -> str:
        """Return the name of the real values of an activation's constant, whose stored values may have been rearranged."""
        name = self.unique(f"constant_{tensor}")
        if not self.is_quantized(tensor):
            return self.initializer(name, stored.astype(np.float32))
        if stored.dtype == np.int8:
            stored = (stored.astype(np.int16) + 128).astype(np.uint8)
        return self._dequantize(self.initializer(name, stored), tensor)

    def weights(self, tensor: int, stored: np.ndarray, axis: int) -> str:
        """Return the name of the real values of weights or a bias.

        Args:
            tensor: index of the tensor, which has the scales.
            stored: its stored values, possibly rearranged.
            axis: the axis of `stored` that the scales belong to.
        """
        entry = self.static.graph.tensors[tensor]
        name = self.unique(f"weights_{tensor}")
        values = self.initializer(name, stored)
        if entry.dtype == "float32":
            return values
        scales = np.asarray(entry.scales, np.float32)
        scales = np.where(scales > 0, scales, np.float32(1e-12))  # of a channel of zeros; ONNX has no scale of 0
        zero_points = np.asarray(entry.zero_points).astype(stored.dtype)
        if len(scales) == 1:
            scales, zero_points = scales[0], zero_points[0]
        inputs = [values, self.initializer(f"{name}_scale", scales), self.initializer(f"{name}_zero_point", zero_points)]
        return self.node("DequantizeLinear", inputs, f"{name}_dequantize", axis=axis if scales.ndim else 0)

    def write(self, tensor: int, value: str, layout: Layout = "NHWC") -> None:
        """Store an operator's real result as a tensor, quantized if the tensor is."""
        self._values[tensor, layout] = self._quantize(value, tensor) if self.is_quantized(tensor) else value

    def alias(self, tensor: int, source: int) -> bool:
        """Let a tensor share the values of another one if both have the same parameters; returns whether they do."""
        if not (self.is_quantized(tensor) and self.is_quantized(source)) or self.static.is_constant(source):
            return False
        if self._parameters(tensor) != self._parameters(source):
            return False
        self._values.update({(tensor, layout): name for (index, layout), name in self._values.items() if index == source})
        return True

    def _value(self, tensor: int, layout: Layout) -> str:
        """Return the name of a tensor's stored values in a layout, transposing them on first use."""
        if self.rank(tensor) != 4:
            layout = "NHWC"
        if (tensor, layout) not in self._values:
            other: Layout = "NHWC" if layout == "NCHW" else "NCHW"
            value = self._values[tensor, other]
            quantized = self.is_quantized(tensor)
            real = self._dequantize(value, tensor) if quantized else value
            name = f"to_{layout.lower()}_{tensor}"
            moved = self.node("Transpose", [real], name, perm=_PERMUTATIONS[other, layout])
            self._values[tensor, layout] = self._quantize(moved, tensor) if quantized else moved
        return self._values[tensor, layout]

    @staticmethod
    def _in_layout(values: np.ndarray, layout: Layout) -> np.ndarray:
        return values.transpose(_PERMUTATIONS["NHWC", "NCHW"]) if layout == "NCHW" and values.ndim == 4 else values

    def _quantize(self, value: str, tensor: int) -> str:
        return self.node("QuantizeLinear", [value, *self._parameter_names(tensor)], f"quantize_{tensor}")

    def _dequantize(self, value: str, tensor: int) -> str:
        return self.node("DequantizeLinear", [value, *self._parameter_names(tensor)], f"dequantize_{tensor}")

    def _parameter_names(self, tensor: int) -> list[str]:
        scale, zero_point = self._parameters(tensor)
        names = (f"scale_{tensor}", f"zero_point_{tensor}")
        return [self.initializer(names[0], scale), self.initializer(names[1], np.uint8(zero_point))]

    # Nodes

    def unique(self, name: str) -> str:
        """Return the name with a number if it was used before."""
        self._uses[name] = self._uses.get(name, 0) + 1
        return name if self._uses[name] == 1 else f"{name}_{self._uses[name]}"

    def initializer(self, name: str, values: Any) -> str:
        """Add a constant, unless one of this name exists, and return its name."""
        if name not in self._initializers:
            self._initializers[name] = self._onnx.numpy_helper.from_array(
                np.ascontiguousarray(values).reshape(np.shape(values)), name
            )
        return name

    def integers(self, name: str, values: Sequence[int]) -> str:
        """Add an int64 constant, such as axes, and return its name."""
        return self.initializer(self.unique(name), np.array(values, np.int64))

    def number(self, name: str, value: float) -> str:
        """Add a float32 scalar and return its name."""
        return self.initializer(self.unique(name), np.float32(value))

    def node(self, kind: str, inputs: Sequence[str], name: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node and return the name of its output, or the names of several."""
        name = self.unique(name)
        results = [f"{name}_{k}" if outputs > 1 else f"{name}_out" for k in range(outputs)]
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), results, name=name, **attributes))
        return results if outputs > 1 else results[0]

    # The whole

    def add_input(self, tensor: int, name: str) -> None:
        """Make a tensor an input of the graph, in TFLite's layout."""
        self._uses[name] = 1
        self._values[tensor, "NHWC"] = name

    def finish(self, inputs: dict[int, str], outputs: dict[int, str]) -> bytes:
        """Return the ONNX file. Inputs and outputs are {tensor: name}, in TFLite's layout.

        Raises:
            onnx.checker.ValidationError: the graph is invalid; an error in this package.
        """
        onnx = self._onnx
        for tensor, name in outputs.items():
            self._nodes.append(onnx.helper.make_node("Identity", [self._value(tensor, "NHWC")], [name], name=f"output_{name}"))
        _fold_identities(self._nodes, {*inputs.values(), *outputs.values()})

        def value(tensor: int, name: str) -> Any:
            dtype = onnx.TensorProto.UINT8 if self.is_quantized(tensor) else onnx.TensorProto.FLOAT
            return onnx.helper.make_tensor_value_info(name, dtype, self.static.shapes[tensor])

        graph = onnx.helper.make_graph(
            self._nodes,
            "mobile-sr",
            [value(*end) for end in inputs.items()],
            [value(*end) for end in outputs.items()],
            list(self._initializers.values()),
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], producer_name="mobile-sr")
        model.ir_version = 10
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()


def _fold_identities(nodes: list[Any], ends: set[str]) -> None:
    """Remove each Identity at the end and rename its source, unless the source is an input or another output."""
    for identity in [node for node in nodes if node.op_type == "Identity"]:
        source, target = identity.input[0], identity.output[0]
        if source in ends:
            continue
        nodes.remove(identity)
        for node in nodes:
            node.input[:] = [target if name == source else name for name in node.input]
            node.output[:] = [target if name == source else name for name in node.output]
