"""Training with rounded activations: the network learns to live with the 8 bits that its file will have.

Every tensor that a uint8 file holds is rounded as it is there, over the range that it has in the batch at hand, and gradients
pass as if it were not (the straight-through estimator of Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", CVPR 2018, Sec. 3). Nothing is stored: the trained network is the plain one.

On a flat colour all pixels of a channel are rounded in the same direction, and the next convolution adds that up over its
taps: 7 levels in a tanh network. Trained so, together with flat colours (flat_colours.patch), the kernels avoid large sums.
"""

import keras
from keras import ops

from mobile_sr.models.layers import PReLU

BITS = (2, 16)  # the least and the most
_PRIVATE = ("relu", "linear", "relu6")  # activations that a .tflite convolution does itself: no tensor lies before them
_TANH_END = 2.77  # what tanh is given at most in an exported file (converters/activation_ranges.py)


def rounded(x, bits, end=None):
    """x rounded to 2**bits equally spaced values between its smallest and largest, of which one is 0.

    The gradient by x is 1, and that by the step is the rounding error (Esser et al., "Learned Step Size Quantization", ICLR
    2020, Eq. 3), so that a range shrinks where its step does harm.

    Args: end: what the range is cut to, -end to end; None leaves it.
    """
    value = ops.cast(x, "float32")
    low, high = ops.minimum(ops.min(value), 0.0), ops.maximum(ops.max(value), 0.0)
    if end is not None:
        low, high = ops.maximum(low, -end), ops.minimum(high, end)
        value = ops.clip(value, low, high)
    step = ops.maximum(high - low, 1e-6) / (2**bits - 1)
    error = ops.stop_gradient(ops.round(value / step) - value / step)
    return ops.cast(value + step * error, x.dtype)


@keras.saving.register_keras_serializable("mobile_sr")
class FakeQuantize(keras.layers.Layer):
    """`rounded` as a layer. Args: bits: int in BITS. end: as of `rounded`."""

    def __init__(self, bits=8, end=None, **kwargs):
        super().__init__(**kwargs)
        if not BITS[0] <= bits <= BITS[1]:
            raise ValueError(f"bits={bits} is not from {BITS[0]} to {BITS[1]}")
        self.bits = bits
        self.end = end

    def call(self, x):
        return rounded(x, self.bits, self.end)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "bits": self.bits, "end": self.end}


@keras.saving.register_keras_serializable("mobile_sr")
class FakeQuantizedPReLU(PReLU):
    """PReLU whose product is rounded, too: it is a tensor of the file."""

    def __init__(self, bits=8, **kwargs):
        super().__init__(**kwargs)
        self.bits = bits

    def call(self, x):
        return x + rounded(ops.relu(x * (self.alpha - 1.0)), self.bits)

    def get_config(self):
        return {**super().get_config(), "bits": self.bits}


def quantized(model, bits):
    """The same network with the same weights, its variables in the same order, whose activations are rounded.

    The outputs, the inputs and what only reshapes them stay as they are.

    Args:
        model: a functional keras.Model. bits: int in BITS.
    Raises: ValueError for other bits, or another kind of model.
    """
    last = _after_last_weights(model)
    curved = {}  # layer name: its activation, as a layer of its own

    def clone(layer):
        config = layer.get_config()
        activation = config.get("activation")
        if layer.weights and activation is not None and activation not in _PRIVATE and layer.name not in last:
            curved[layer.name] = keras.activations.deserialize(activation), activation
            return type(layer).from_config({**config, "activation": "linear"})
        if type(layer) is PReLU:
            return FakeQuantizedPReLU.from_config({**config, "bits": bits})
        return type(layer).from_config(config)

    def call(layer, *args, **kwargs):
        y = layer(*args, **kwargs)
        if layer.name in last:
            return y
        if layer.name in curved:
            function, name = curved[layer.name]
            y = FakeQuantize(bits, _TANH_END if name == "tanh" else None)(y)
            y = keras.layers.Activation(function)(y)
        return FakeQuantize(bits)(y)

    result = keras.models.clone_model(model, clone_function=clone, call_function=call)
    if [v.path for v in result.variables] != [v.path for v in model.variables]:
        raise ValueError("the network's variables would change their order")
    result.set_weights(model.get_weights())
    return result


def _after_last_weights(model):
    """The names of the layers from the last one with weights on: their rounding is the output's own."""
    names = [layer.name for layer in model.layers]
    index = max(k for k, layer in enumerate(model.layers) if layer.weights)
    return set(names[index:])
