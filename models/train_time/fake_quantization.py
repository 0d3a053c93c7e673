"""Fake quantization: training with the rounding of 8-bit inference.

`quantize_to_range` and `quantize_weights` are for quantization-aware training (quantized_network.py). The rest is the recipe
option `activation_bits`. There, every tensor that is quantized in a uint8 file is rounded in the same way, over its range in
the current batch. Gradients pass as if it were not rounded (the straight-through estimator of Jacob et al., "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018, Sec. 3). No ranges are stored: the
trained network is the plain one.

In an image of one flat colour, all pixels of a channel are rounded in the same direction. The next convolution sums this
error over its taps, which gave 7 levels in a tanh network. With this training and with flat colours in the training data
(flat_colours.patch), the kernels avoid large sums.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from mobile_sr.models.layers import PReLU, Shape

BITS = (2, 16)  # minimum and maximum
SMALLEST_RANGE, SMALLEST_STEP = 1e-6, 1e-12  # divisors
_PRIVATE = ("relu", "linear", "relu6")  # activations that a .tflite convolution fuses: no tensor precedes them
_TANH_END = 2.42  # maximum input of tanh in an exported file (converters/quantization/activation_ranges.py)


def rounded(x: keras.KerasTensor, bits: int, end: float | None = None) -> keras.KerasTensor:
    """Rounds x to 2**bits equally spaced values between its minimum and maximum; 0 is one of them.

    The gradient with respect to x is 1. That with respect to the step is the rounding error (Esser et al., "Learned Step Size
    Quantization", ICLR 2020, Eq. 3): a range shrinks if its step is harmful.

    Args:
        x: floating-point tensor of any shape.
        bits: int in BITS.
        end: clip the range to -end..end; None to keep it.
    Returns: a tensor of the shape and dtype of x.
    """
    value = ops.cast(x, "float32")
    low, high = ops.minimum(ops.min(value), 0.0), ops.maximum(ops.max(value), 0.0)
    if end is not None:
        low, high = ops.maximum(low, -end), ops.minimum(high, end)
        value = ops.clip(value, low, high)
    step = ops.maximum(high - low, 1e-6) / (2**bits - 1)
    error = ops.stop_gradient(ops.round(value / step) - value / step)
    return ops.cast(value + step * error, x.dtype)


def quantize_to_range(x: keras.KerasTensor, low: Any, high: Any, bits: int = 8) -> keras.KerasTensor:
    """Rounds x as TFLite does: to 2**bits equally spaced values from about `low` to about `high`, one of which is 0.

    Both limits move by less than half a step, so that 0 is exact. The gradient with respect to x is 1 inside of the range and
    0 outside. The limits get the gradients of the values beyond them and, through the step, of the rounding errors (Esser et
    al., ICLR 2020, Eq. 3).

    Args:
        x: float32 tensor of any shape.
        low: scalar, at most 0.
        high: scalar, at least 0.
        bits: int in BITS.
    Returns: float32 tensor of the shape of x.
    """
    levels = 2**bits - 1
    step = ops.maximum(high - low, SMALLEST_RANGE) / levels
    zero = ops.stop_gradient(ops.round(-low / step))
    first, last = (limit + ops.stop_gradient(end * step - limit) for limit, end in ((low, -zero), (high, levels - zero)))
    value = ops.minimum(ops.maximum(x, first), last)
    error = ops.stop_gradient(ops.round(value / step) - value / step)
    return value + step * error


def quantize_weights(w: keras.KerasTensor, axes: Sequence[int] | None) -> keras.KerasTensor:
    """Rounds weights to -127..127 steps of max |w| / 127; the gradient is 1.

    Args:
        w: float32 weights.
        axes: the axes of one scale's weights: all but that of the output channels. None for a single scale.
    Returns: float32 tensor of the shape of w.
    """
    return round_to_steps(w, ops.max(ops.abs(w), axis=axes, keepdims=True) / 127)


def round_to_steps(w: keras.KerasTensor, steps: keras.KerasTensor) -> keras.KerasTensor:
    """Rounds w to multiples of `steps`, which broadcast against it; the gradient with respect to w is 1."""
    steps = ops.maximum(steps, SMALLEST_STEP)
    return w + ops.stop_gradient(ops.round(w / steps) * steps - w)


@keras.saving.register_keras_serializable("mobile_sr")
class FakeQuantize(keras.layers.Layer):
    """`rounded` as a layer.

    Args:
        bits: int in BITS.
        end: as for `rounded`.
    Raises: ValueError for other bits.
    """

    def __init__(self, bits: int = 8, end: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not BITS[0] <= bits <= BITS[1]:
            raise ValueError(f"bits must be from {BITS[0]} to {BITS[1]}, got {bits}")
        self.bits = bits
        self.end = end

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return rounded(x, self.bits, self.end)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bits": self.bits, "end": self.end}


@keras.saving.register_keras_serializable("mobile_sr")
class FakeQuantizedPReLU(PReLU):
    """PReLU that also rounds its product, which is a separate tensor in the file."""

    def __init__(self, bits: int = 8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bits = bits

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return x + rounded(ops.relu(x * (self.alpha - 1.0)), self.bits)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bits": self.bits}


def quantized(model: keras.Model, bits: int) -> keras.Model:
    """Returns a copy of a network with rounded activations, the same weights and the same order of variables.

    Inputs, outputs and layers that only reshape them are not rounded.

    Args:
        model: a functional keras.Model.
        bits: int in BITS.
    Raises: ValueError for other bits, or for a model that cannot be cloned with its variables in the same order.
    """
    last = _after_last_weights(model)
    separated: dict[str, tuple[Callable[..., Any], Any]] = {}  # layer name: its activation, which becomes a layer

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        activation = config.get("activation")
        if layer.weights and activation is not None and activation not in _PRIVATE and layer.name not in last:
            separated[layer.name] = keras.activations.deserialize(activation), activation
            return type(layer).from_config({**config, "activation": "linear"})
        if type(layer) is PReLU:
            return FakeQuantizedPReLU.from_config({**config, "bits": bits})
        return type(layer).from_config(config)

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        y = layer(*args, **kwargs)
        if layer.name in last:
            return y
        if layer.name in separated:
            function, name = separated[layer.name]
            y = FakeQuantize(bits, _TANH_END if name == "tanh" else None)(y)
            y = keras.layers.Activation(function)(y)
        return FakeQuantize(bits)(y)

    result = keras.models.clone_model(model, clone_function=clone, call_function=call)
    if [v.path for v in result.variables] != [v.path for v in model.variables]:
        raise ValueError("rounded activations would change the order of the network's variables")
    result.set_weights(model.get_weights())
    return result


def _after_last_weights(model: keras.Model) -> set[str]:
    """Names of the last layer with weights and of all later ones: their rounding is that of the output."""
    names = [layer.name for layer in model.layers]
    index = max(k for k, layer in enumerate(model.layers) if layer.weights)
    return set(names[index:])
