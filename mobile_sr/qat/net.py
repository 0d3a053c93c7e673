"""tf_keras models of description.py's networks, float or fake-quantized by tfmot's wrappers. Only for the worker process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import QuantizeLayer
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapperV2

from mobile_sr.qat.quantizers import FixedQuantizer, KernelQuantizer, LayerConfig, RangeQuantizer, SlopeQuantizer

_UNIT = (0.0, 1.0)
_TANH = (-1.0, 127 / 128)  # TFLite's range for the output of an int8 TANH: scale 1/128, zero point 0


class PReLU(tf_keras.layers.Layer):
    """PReLU of models/layers.py, x + relu(x * (alpha - 1)), with hooks that quantize its product and its slope."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bend = tf_keras.activations.relu
        self.slope = tf.identity  # replaced by a quantizer of alpha - 1, the constant in the .tflite

    def build(self, input_shape: Sequence[int]) -> None:
        self.alpha = self.add_weight("alpha", shape=(input_shape[-1],), initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x + self.bend(x * self.slope(self.alpha - 1.0))


class DepthToSpace(tf_keras.layers.Layer):
    """Pixel shuffle: [N, H, W, C * s * s] -> [N, H * s, W * s, C]. tf_keras has no such layer."""

    def __init__(self, block: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block = block

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.depth_to_space(x, self.block)


class Net:
    """A tf_keras model of a description, with its variables by the description's names.

    Attributes:
        nodes: the description's nodes.
        model: tf_keras.Model, [N, H, W, 3] float32 in 0..1 -> [N, H * s, W * s, 3].
        variables: {'node/what': variable}.
        ranges: variables of the activations' ranges, in the order of the network.
    """

    def __init__(
        self,
        nodes: Sequence[Mapping[str, Any]],
        arrays: Mapping[str, np.ndarray],
        *,
        grouped: bool = True,
        quantized: bool = False,
        per_tensor: bool = False,
        ranges: str = "fixed",
    ) -> None:
        """Build the model and set its weights.

        Args:
            nodes: the description's nodes, see description.py.
            arrays: the description's arrays.
            grouped: build grouped convolutions (for inference and export). Otherwise, build ordinary convolutions with
                block-diagonal kernels, because TensorFlow's gradient of grouped ones takes minutes on CPUs.
            quantized: add fake quantization. The range 0..1 of the output's quantizer then replaces the clip.
            per_tensor: quantize kernels per tensor instead of per output channel.
            ranges: 'learned', 'moving' or 'fixed', see quantizers.RangeQuantizer.
        """
        self.nodes, self.grouped, self.quantized = nodes, grouped, quantized
        self.per_tensor, self.range_mode = per_tensor, ranges
        self.variables: dict[str, tf.Variable] = {}
        self.ranges: list[tf.Variable] = []
        self._readers = {n["name"]: [r for r in nodes if n["name"] in r["inputs"]] for n in nodes}
        values: dict[str, Any] = {}
        for node in nodes:
            values[node["name"]] = self._apply(node, [values[name] for name in node["inputs"]], arrays)
        self.model = tf_keras.Model(self._input, values[nodes[-1]["name"]])
        self.set(arrays)

    def get(self) -> dict[str, np.ndarray]:
        """Return the weights as arrays of the description."""
        return {name: self._compact(name, variable.numpy()) for name, variable in self.variables.items()}

    def set(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set the weights from arrays of the description."""
        for name, variable in self.variables.items():
            variable.assign(self._expand(name, arrays[name]))

    def get_ranges(self) -> list[np.ndarray]:
        """Return the lower and upper limits of all activation ranges, in turn."""
        return [variable.numpy() for variable in self.ranges]

    def set_ranges(self, values: Sequence[np.ndarray]) -> None:
        """Set the activation ranges from `get_ranges`."""
        for variable, value in zip(self.ranges, values, strict=True):
            variable.assign(value)

    def named_ranges(self) -> dict[str, tuple[float, float]]:
        """Return {tensor name: (low, high)}."""
        values = [float(v) for v in self.get_ranges()]
        names = [v.name.split(":")[0].removesuffix("_min").removeprefix("quant_") for v in self.ranges[::2]]
        return dict(zip(names, zip(values[::2], values[1::2], strict=True), strict=True))

    def gradient_rules(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Callable[[tf.Tensor], tf.Tensor]]:
        """Return {'node/what': function of the gradient}, which keep zeros exactly zero and tied biases exactly equal."""
        rules = {}
        for node in self.nodes:
            name, period = node["name"], node.get("bias_period")
            if node.get("zeros"):
                rules[f"{name}/kernel"] = _masked(arrays[f"{name}/mask"])
            elif node.get("groups", 1) > 1 and not self.grouped:
                rules[f"{name}/kernel"] = _masked(self._expand(f"{name}/kernel", np.ones_like(arrays[f"{name}/kernel"])))
            if period:
                rules[f"{name}/bias"] = _tied(period)
        return rules

    def _apply(self, node: Mapping[str, Any], inputs: list[Any], arrays: Mapping[str, np.ndarray]) -> Any:
        """Apply a node to its inputs and return its output."""
        name, kind = node["name"], node["kind"]
        if kind == "input":
            self._input = tf_keras.Input((None, None, 3), name=name)
            return QuantizeLayer(FixedQuantizer(*_UNIT))(self._input) if self.quantized else self._input
        if kind == "conv":
            return self._conv(node, inputs[0], arrays[f"{name}/kernel"])
        if kind == "prelu":
            layer = PReLU(name=name)
            config = LayerConfig({}, {"bend": self._range(True)}, self._range(False))
            if self.quantized:
                layer.slope = lambda alpha: SlopeQuantizer()(alpha, False, {})
            x = self._wrap(layer, config, inputs[0])
            self.variables[f"{name}/alpha"] = layer.alpha
            return x
        if kind == "clip":
            return inputs[0] if self.quantized else tf_keras.layers.ReLU(max_value=1.0, name=name)(inputs[0])
        if kind == "depth_to_space":
            return self._wrap(DepthToSpace(node["block"], name=name), LayerConfig(output=self._output(node, False)), inputs[0])
        if kind == "concat":
            return self._wrap(tf_keras.layers.Concatenate(name=name), LayerConfig(output=self._output(node, False)), inputs)
        raise ValueError(f"node {name}: unknown kind {kind!r}")

    def _conv(self, node: Mapping[str, Any], x: Any, kernel: np.ndarray) -> Any:
        name, activation = node["name"], node["activation"]
        fused = None if activation == "tanh" else activation
        layer = tf_keras.layers.Conv2D(
            kernel.shape[-1],
            kernel.shape[:2],
            padding="same",
            groups=node["groups"] if self.grouped else 1,
            activation=fused,
            name=name,
        )
        layer.build(x.shape)
        self.variables.update({f"{name}/kernel": layer.kernel, f"{name}/bias": layer.bias})
        output = self._range(False) if activation == "tanh" else self._output(node, activation == "relu")
        x = self._wrap(layer, LayerConfig({"kernel": KernelQuantizer(self.per_tensor)}, {}, output), x)
        if activation == "tanh":
            layer = tf_keras.layers.Activation("tanh", name=f"{name}_tanh")
            x = self._wrap(layer, LayerConfig(output=FixedQuantizer(*_TANH)), x)
        return x

    def _output(self, node: Mapping[str, Any], positive: bool) -> FixedQuantizer | RangeQuantizer | None:
        """Return the quantizer of a node's output; None where TFLite shares the scale with the tensor computed from it."""
        readers = self._readers[node["name"]]
        if not readers:
            clipped = any(n["kind"] == "clip" for n in self.nodes)
            return FixedQuantizer(*_UNIT) if clipped else self._range(False)
        if any(r["kind"] in ("concat", "clip", "depth_to_space") for r in readers):
            return None
        return self._range(positive)

    def _range(self, positive: bool) -> RangeQuantizer:
        return RangeQuantizer(self.range_mode, positive)

    def _wrap(self, layer: tf_keras.layers.Layer, config: LayerConfig, x: Any) -> Any:
        """Apply a layer, with fake quantization in a quantized network."""
        if not self.quantized:
            return layer(x)
        wrapper = QuantizeWrapperV2(layer, config)
        y = wrapper(x)
        limits = [v for v in wrapper.weights if v.name.split(":")[0].endswith(("_min", "_max"))]
        self.ranges += sorted(limits, key=lambda v: v.name, reverse=True)  # NAME_min before NAME_max, trainable or not
        return y

    def _expand(self, name: str, value: np.ndarray) -> np.ndarray:
        """Convert a description's array to this network's form: grouped kernels become block-diagonal ones."""
        groups = self._groups(name)
        if groups == 1:
            return value
        rows, columns = value.shape[2], value.shape[3] // groups
        dense = np.zeros((*value.shape[:2], rows * groups, columns * groups), np.float32)
        for g in range(groups):
            part = slice(g * columns, (g + 1) * columns)
            dense[:, :, g * rows : (g + 1) * rows, part] = value[..., part]
        return dense

    def _compact(self, name: str, value: np.ndarray) -> np.ndarray:
        """Convert an array back: the inverse of `_expand`."""
        groups = self._groups(name)
        if groups == 1:
            return value
        rows, columns = value.shape[2] // groups, value.shape[3] // groups
        parts = [value[:, :, g * rows : (g + 1) * rows, g * columns : (g + 1) * columns] for g in range(groups)]
        return np.concatenate(parts, axis=-1)

    def _groups(self, name: str) -> int:
        """Return the number of diagonal blocks of the named array in this network."""
        node, what = name.rsplit("/", 1)
        if self.grouped or what != "kernel":
            return 1
        return next(n for n in self.nodes if n["name"] == node)["groups"]


def _masked(mask: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    mask = tf.constant(mask, tf.float32)
    return lambda gradient: gradient * mask


def _tied(period: int) -> Callable[[tf.Tensor], tf.Tensor]:
    def tie(gradient: tf.Tensor) -> tf.Tensor:
        mean = tf.reduce_mean(tf.reshape(gradient, (-1, period)), axis=0)
        return tf.tile(mean, [gradient.shape[0] // period])

    return tie
