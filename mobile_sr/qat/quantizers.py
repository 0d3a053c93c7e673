"""tfmot quantizers and a QuantizeConfig for fake quantization. Only for the worker process (imports tfmot).

As in TFLite's 8 bits, activations are asymmetric per tensor. Kernels are symmetric without -128, per output channel or per
tensor.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.quantize_config import QuantizeConfig
from tensorflow_model_optimization.python.core.quantization.keras.quantizers import Quantizer

SMALLEST = 1e-5  # minimum width of a range: its scale is a divisor
_observing = False


@contextlib.contextmanager
def observing() -> Iterator[None]:
    """Context manager in which a model only observes ranges.

    A model that is called eagerly with training=True widens its ranges to the values it sees, and quantizes nothing.
    """
    global _observing
    _observing = True
    try:
        yield
    finally:
        _observing = False


class KernelQuantizer(Quantizer):
    """Symmetric 8 bits, -127 to 127, with the current range of the kernel, per output channel or per tensor."""

    def __init__(self, per_tensor: bool) -> None:
        self.per_tensor = per_tensor

    def build(self, tensor_shape: tf.TensorShape, name: str, layer: tf_keras.layers.Layer) -> dict[str, tf.Variable]:
        return {}

    def __call__(self, inputs: tf.Tensor, training: bool, weights: Mapping[str, tf.Variable], **kwargs: Any) -> tf.Tensor:
        size = tf.abs(tf.stop_gradient(inputs))
        if self.per_tensor:
            high = tf.maximum(tf.reduce_max(size), SMALLEST)
            return tf.quantization.fake_quant_with_min_max_vars(inputs, -high, high, narrow_range=True)
        high = tf.maximum(tf.reduce_max(size, axis=list(range(len(inputs.shape) - 1))), SMALLEST)
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(inputs, -high, high, narrow_range=True)

    def get_config(self) -> dict[str, Any]:
        return {"per_tensor": self.per_tensor}


class SlopeQuantizer(Quantizer):
    """Asymmetric 8 bits per tensor of a constant factor. Its range contains 0, as TFLite requires."""

    def build(self, tensor_shape: tf.TensorShape, name: str, layer: tf_keras.layers.Layer) -> dict[str, tf.Variable]:
        return {}

    def __call__(self, inputs: tf.Tensor, training: bool, weights: Mapping[str, tf.Variable], **kwargs: Any) -> tf.Tensor:
        values = tf.stop_gradient(inputs)
        low, high = tf.minimum(tf.reduce_min(values), -SMALLEST), tf.maximum(tf.reduce_max(values), 0.0)
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high)

    def get_config(self) -> dict[str, Any]:
        return {}


class FixedQuantizer(Quantizer):
    """8 bits with a fixed range: 0..1 (scale 1/255, zero point 0) for images, -1..127/128 for TFLite's TANH."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def build(self, tensor_shape: tf.TensorShape, name: str, layer: tf_keras.layers.Layer) -> dict[str, tf.Variable]:
        return {}

    def __call__(self, inputs: tf.Tensor, training: bool, weights: Mapping[str, tf.Variable], **kwargs: Any) -> tf.Tensor:
        if _observing:
            return inputs
        return tf.quantization.fake_quant_with_min_max_vars(inputs, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high}


class RangeQuantizer(Quantizer):
    """8 bits with a range that is observed first, and then learned, averaged or left unchanged.

    Args:
        mode: 'learned' (the limits are trained with the gradient of `_fake_quant`), 'moving' (a moving average of each batch's
            limits with `decay`) or 'fixed'.
        positive: whether the tensor is the output of a ReLU; its lower limit stays 0.
        decay: decay of the moving average.
    """

    def __init__(self, mode: str, positive: bool, decay: float = 0.99) -> None:
        self.mode, self.positive, self.decay = mode, positive, decay

    def build(self, tensor_shape: tf.TensorShape, name: str, layer: tf_keras.layers.Layer) -> dict[str, tf.Variable]:
        learned = self.mode == "learned"
        low = layer.add_weight(f"{name}_min", shape=(), initializer="zeros", trainable=learned and not self.positive)
        high = layer.add_weight(
            f"{name}_max", shape=(), initializer=tf_keras.initializers.Constant(SMALLEST), trainable=learned
        )
        return {"min_var": low, "max_var": high}

    def __call__(self, inputs: tf.Tensor, training: bool, weights: Mapping[str, tf.Variable], **kwargs: Any) -> tf.Tensor:
        low, high = weights["min_var"], weights["max_var"]
        if training and (_observing or self.mode == "moving"):
            batch_low, batch_high = tf.minimum(tf.reduce_min(inputs), 0.0), tf.maximum(tf.reduce_max(inputs), SMALLEST)
            if _observing:
                low.assign(tf.minimum(low, batch_low))
                high.assign(tf.maximum(high, batch_high))
                return inputs
            low.assign(self.decay * low + (1 - self.decay) * batch_low)
            high.assign(self.decay * high + (1 - self.decay) * batch_high)
        if training and self.mode == "learned":
            return _fake_quant(inputs, low, high)
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high)

    def get_config(self) -> dict[str, Any]:
        return {"mode": self.mode, "positive": self.positive, "decay": self.decay}


@tf.custom_gradient
def _fake_quant(x: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], Any]]:
    """Fake quantization with a gradient of the limits that includes the rounding error.

    In tf.quantization.fake_quant_with_min_max_vars, only values outside of the range contribute to the gradient of its limits,
    so ranges can only grow. Here, values inside the range contribute the change of their rounding error with the scale:
    d y / d scale = (y - x) / scale, as in Esser et al., "Learned Step Size Quantization", ICLR 2020, Eq. 3.
    """
    y = tf.quantization.fake_quant_with_min_max_vars(x, low, high)

    def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        dx, dlow, dhigh = tf.raw_ops.FakeQuantWithMinMaxVarsGradient(gradients=dy, inputs=x, min=low, max=high)
        rounding = tf.reduce_sum(dx * (y - x)) / (high - low)  # dx is dy inside the range and 0 outside
        return dx, dlow - rounding, dhigh + rounding

    return y, gradient


class LayerConfig(QuantizeConfig):
    """The quantizers of a layer's weights, activations and output.

    Args:
        weights: {attribute: Quantizer} of weights.
        activations: {attribute: Quantizer} of functions that the layer applies.
        output: Quantizer of the output, or None.
    """

    def __init__(
        self,
        weights: Mapping[str, Quantizer] | None = None,
        activations: Mapping[str, Quantizer] | None = None,
        output: Quantizer | None = None,
    ) -> None:
        self.weights, self.activations, self.output = weights or {}, activations or {}, output

    def get_weights_and_quantizers(self, layer: tf_keras.layers.Layer) -> list[tuple[tf.Variable, Quantizer]]:
        return [(getattr(layer, name), quantizer) for name, quantizer in self.weights.items()]

    def set_quantize_weights(self, layer: tf_keras.layers.Layer, quantize_weights: Sequence[tf.Tensor]) -> None:
        for name, value in zip(self.weights, quantize_weights, strict=True):
            setattr(layer, name, value)

    def get_activations_and_quantizers(self, layer: tf_keras.layers.Layer) -> list[tuple[Callable[..., Any], Quantizer]]:
        return [(getattr(layer, name), quantizer) for name, quantizer in self.activations.items()]

    def set_quantize_activations(
        self, layer: tf_keras.layers.Layer, quantize_activations: Sequence[Callable[..., Any]]
    ) -> None:
        for name, value in zip(self.activations, quantize_activations, strict=True):
            setattr(layer, name, value)

    def get_output_quantizers(self, layer: tf_keras.layers.Layer) -> list[Quantizer]:
        return [] if self.output is None else [self.output]

    def get_config(self) -> dict[str, Any]:
        return {"weights": self.weights, "activations": self.activations, "output": self.output}
