"""What fake quantization is made of: tfmot quantizers and one QuantizeConfig. For the child process only (imports tfmot).

TFLite's 8 bits: activations asymmetric per tensor, kernels symmetric without -128, per output channel or per tensor.
"""

import contextlib

import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.quantize_config import QuantizeConfig
from tensorflow_model_optimization.python.core.quantization.keras.quantizers import Quantizer

SMALLEST = 1e-5  # of a range, so that its scale stays a number to divide by
_observing = False


@contextlib.contextmanager
def observing():
    """Inside, a model called eagerly with training=True only widens its ranges to what it sees and quantizes nothing."""
    global _observing
    _observing = True
    try:
        yield
    finally:
        _observing = False


class KernelQuantizer(Quantizer):
    """Symmetric 8 bits, -127 to 127, of the range that the kernel has at this moment; per output channel or per tensor."""

    def __init__(self, per_tensor):
        self.per_tensor = per_tensor

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        size = tf.abs(tf.stop_gradient(inputs))
        if self.per_tensor:
            high = tf.maximum(tf.reduce_max(size), SMALLEST)
            return tf.quantization.fake_quant_with_min_max_vars(inputs, -high, high, narrow_range=True)
        high = tf.maximum(tf.reduce_max(size, axis=list(range(len(inputs.shape) - 1))), SMALLEST)
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(inputs, -high, high, narrow_range=True)

    def get_config(self):
        return {"per_tensor": self.per_tensor}


class SlopeQuantizer(Quantizer):
    """Asymmetric 8 bits per tensor of a constant that is multiplied with; its range holds 0, as TFLite wants."""

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        values = tf.stop_gradient(inputs)
        low, high = tf.minimum(tf.reduce_min(values), -SMALLEST), tf.maximum(tf.reduce_max(values), 0.0)
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high)

    def get_config(self):
        return {}


class FixedQuantizer(Quantizer):
    """8 bits of a range that is known: 0..1 (scale 1/255, zero point 0) for images, -1..127/128 for TFLite's TANH."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        if _observing:
            return inputs
        return tf.quantization.fake_quant_with_min_max_vars(inputs, self.low, self.high)

    def get_config(self):
        return {"low": self.low, "high": self.high}


class RangeQuantizer(Quantizer):
    """8 bits of a range that is observed first, and then learned, averaged or left alone.

    Args:
        how: 'learned' (the ends are trained, by the gradient of `_fake_quant`), 'moving' (the average of the batches' ends,
            with `decay`) or 'fixed'.
        positive: the tensor comes from a ReLU: the lower end stays 0.
    """

    def __init__(self, how, positive, decay=0.99):
        self.how, self.positive, self.decay = how, positive, decay

    def build(self, tensor_shape, name, layer):
        learned = self.how == "learned"
        low = layer.add_weight(f"{name}_min", shape=(), initializer="zeros", trainable=learned and not self.positive)
        high = layer.add_weight(
            f"{name}_max", shape=(), initializer=tf_keras.initializers.Constant(SMALLEST), trainable=learned
        )
        return {"min_var": low, "max_var": high}

    def __call__(self, inputs, training, weights, **kwargs):
        low, high = weights["min_var"], weights["max_var"]
        if training and (_observing or self.how == "moving"):
            least, most = tf.minimum(tf.reduce_min(inputs), 0.0), tf.maximum(tf.reduce_max(inputs), SMALLEST)
            if _observing:
                low.assign(tf.minimum(low, least))
                high.assign(tf.maximum(high, most))
                return inputs
            low.assign(self.decay * low + (1 - self.decay) * least)
            high.assign(self.decay * high + (1 - self.decay) * most)
        if training and self.how == "learned":
            return _fake_quant(inputs, low, high)
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high)

    def get_config(self):
        return {"how": self.how, "positive": self.positive, "decay": self.decay}


@tf.custom_gradient
def _fake_quant(x, low, high):
    """tf.quantization.fake_quant_with_min_max_vars with a gradient of the ends that knows the rounding error, too.

    TensorFlow's own lets an end feel only the values beyond it, so that ranges can but grow. Here the values inside tell it
    how much smaller their error would be on a finer grid: d y / d scale = (y - x) / scale, as in Esser et al., "Learned Step
    Size Quantization", ICLR 2020, Eq. 3.
    """
    y = tf.quantization.fake_quant_with_min_max_vars(x, low, high)

    def gradient(dy):
        dx, dlow, dhigh = tf.raw_ops.FakeQuantWithMinMaxVarsGradient(gradients=dy, inputs=x, min=low, max=high)
        finer = tf.reduce_sum(dx * (y - x)) / (high - low)  # dx is dy inside the range and 0 outside
        return dx, dlow - finer, dhigh + finer

    return y, gradient


class LayerConfig(QuantizeConfig):
    """Which attributes of a layer are quantized, by what, and whether its output is.

    Args:
        weights: {attribute: Quantizer}. activations: {attribute: Quantizer} of functions the layer applies. output: Quantizer
            or None.
    """

    def __init__(self, weights=None, activations=None, output=None):
        self.weights, self.activations, self.output = weights or {}, activations or {}, output

    def get_weights_and_quantizers(self, layer):
        return [(getattr(layer, name), quantizer) for name, quantizer in self.weights.items()]

    def set_quantize_weights(self, layer, quantize_weights):
        for name, value in zip(self.weights, quantize_weights, strict=True):
            setattr(layer, name, value)

    def get_activations_and_quantizers(self, layer):
        return [(getattr(layer, name), quantizer) for name, quantizer in self.activations.items()]

    def set_quantize_activations(self, layer, quantize_activations):
        for name, value in zip(self.activations, quantize_activations, strict=True):
            setattr(layer, name, value)

    def get_output_quantizers(self, layer):
        return [] if self.output is None else [self.output]

    def get_config(self):
        return {"weights": self.weights, "activations": self.activations, "output": self.output}
