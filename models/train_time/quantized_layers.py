"""How each layer of a Keras network runs in an 8-bit .tflite file: its rounded weights, and which tensors have which scale.

`behaviour` describes one layer or operation of keras.ops; quantized_network.py combines them. Attention, normalization and
FGNAS's mix of activations are approximated: their weights and results are rounded, the tensors inside of them are not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mobile_sr.models.train_time.fake_quantization import quantize_to_range, quantize_weights, round_to_steps

Range = tuple[float, float]
Quantize = Callable[[Any], Any]
Run = Callable[[Any, Sequence[Any], Mapping[str, Any], Sequence[Quantize]], Any]

TANH_INPUT = (-2.42, 2.40)  # maximum range of an exported tanh's input (converters/quantization/activation_ranges.py)
# TFLite fixes these output ranges: scale 1/128 or 1/256.
_FIXED: dict[str, Range] = {"tanh": (-1.0, 127 / 128), "sigmoid": (0.0, 255 / 256), "softmax": (0.0, 255 / 256)}
_FUSED = ("linear", "relu", "relu6")  # activations that a .tflite operator includes
_SINGLE = ("leaky_relu", "elu", "gelu", "_gelu", "hard_silu", "hard_swish")  # operators of their own
_SILU = ("silu", "swish")

# Axes of a kernel that share one scale, for each layer with a kernel: all but its output channels.
_KERNEL_AXES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("Conv2D", "GroupedConv2D", "SpreadConv2D"), (0, 1, 2)),
    "DepthwiseConv2D": (0, 1),
    "Conv2DTranspose": (0, 1, 3),
    "SubPixelConv2DTranspose": (0, 1, 3),  # of the kernel; see `_phase_steps`
    "Dense": (0,),
}
_ARITHMETIC = ("Add", "Subtract", "Multiply", "Average", "Divide", "TrueDivide")
# Operators whose inputs and output have one scale.
_SHARED = (
    *("Concatenate", "Maximum", "Minimum", "MaxPooling2D", "AveragePooling2D", "GlobalMaxPooling2D", "MaxPool", "AveragePool"),
    *("UpSampling2D", "Resizing", "Resize", "ResizeLike", "BilinearUpscale", "DepthToSpace", "SpaceToDepth"),
    *("Reshape", "Permute", "Transpose", "Flatten", "ZeroPadding2D", "Pad", "PadChannels", "EdgePad", "Cropping2D"),
    *("ChannelRange", "GetItem", "Split", "Squeeze", "ExpandDims", "Identity", "Dropout", "SpatialDropout2D"),
)
_OWN = (
    *("GlobalAveragePooling2D", "GlobalMean", "Mean", "Rescaling", "BicubicUpscale", "MixOfActivations", "AddAt"),
    *("LayerNormalization", "WindowAttention", "ChannelWeights"),
)
_ACTIVATION_OPS = {
    **{"Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Tanh": "tanh", "Silu": "silu", "Softmax": "softmax"},
    **{"LeakyRelu": "leaky_relu", "Elu": "elu", "Gelu": "gelu", "HardSilu": "hard_silu"},
    **{"LeakyReLU": "leaky_relu", "ELU": "elu"},
}


@dataclasses.dataclass(frozen=True)
class Behaviour:
    """How one layer or operation is quantized.

    Attributes:
        output: 'own' (a range of its own), 'shared' (one range with its inputs), 'relu' (own, and fused into the operator
            before it), 'clip' (as 'relu', to 0..1), or a fixed range.
        inside: for each rounded tensor inside of it: 'own', a fixed range, or ('limited', range) for a maximum range.
        fuses: whether a following ReLU is part of the same operator.
        weights: (variable, function that rounds its value) pairs.
        run: function(operation, args, kwargs, a quantizer for each tensor in `inside`) that returns the result.
    """

    output: str | Range = "own"
    inside: tuple[Any, ...] = ()
    fuses: bool = False
    weights: tuple[tuple[keras.Variable, Quantize], ...] = ()
    run: Run = lambda operation, args, kwargs, inside: operation(*args, **kwargs)


def behaviour(operation: Any, per_tensor: bool = False) -> Behaviour:
    """Describes a layer or an operation of keras.ops.

    Args:
        operation: a node's operation in a functional model.
        per_tensor: one scale per kernel instead of one per output channel.
    Raises: ValueError, naming the layer, if it is not supported.
    """
    kind = type(operation).__name__
    if kind in _KERNEL_AXES:
        return _with_kernel(operation, kind, per_tensor)
    if kind == "SeparableConv2D":
        weights = ((operation.depthwise_kernel, (0, 1)), (operation.pointwise_kernel, (0, 1, 2)))
        rounded = tuple((w, _weight_quantizer(None if per_tensor else axes)) for w, axes in weights)
        return dataclasses.replace(_activated(operation), weights=rounded)
    if kind in _ARITHMETIC:
        return Behaviour(fuses=True)
    if kind in _SHARED:
        return Behaviour("shared")
    if kind in _OWN:
        names = ("inward", "outward", "weight") if kind != "LayerNormalization" else ()
        matrices = [getattr(operation, name) for name in names if hasattr(operation, name)]
        return Behaviour(weights=tuple((w, _weight_quantizer((0,) if len(w.shape) > 1 else None)) for w in matrices))
    if kind in ("PReLU", "ScalarPReLU", "AnySlopePReLU") and type(operation).__module__.startswith("mobile_sr"):
        return Behaviour(inside=("own",), weights=((operation.alpha, _round_slope),), run=_prelu)
    if kind == "PReLU":
        return Behaviour(weights=((operation.alpha, _weight_quantizer(None)),))
    return _activation(operation, kind)


def has_kernel(layer: Any) -> bool:
    """Whether `kernel` accepts a layer."""
    return type(layer).__name__ in _KERNEL_AXES


def kernel(layer: Any, per_tensor: bool = False) -> tuple[keras.Variable, Quantize]:
    """Returns the kernel of a convolution or Dense layer, and the function that rounds its value as an 8-bit file does.

    Args:
        layer: a layer for which `has_kernel` is true.
        per_tensor: one scale per kernel instead of one per output channel.
    """
    kind = type(layer).__name__
    quantizer = _weight_quantizer(None if per_tensor else _KERNEL_AXES[kind])
    if kind == "SubPixelConv2DTranspose" and not per_tensor:
        quantizer = _phase_quantizer(layer)
    return layer._kernel if isinstance(getattr(layer, "_kernel", None), keras.Variable) else layer.kernel, quantizer


def _with_kernel(layer: Any, kind: str, per_tensor: bool) -> Behaviour:
    activated = dataclasses.replace(_activated(layer), weights=(kernel(layer, per_tensor),))
    if kind == "Dense" and layer.use_bias and len(layer._inbound_nodes[0].input_tensors[0].shape) > 2:
        return _with_separate_bias(layer, activated)
    return activated


def _with_separate_bias(layer: Any, dense: Behaviour) -> Behaviour:
    """The behaviour of a Dense layer on an image: TFLite flattens it for FULLY_CONNECTED, and an ADD has a rounded bias."""

    def run(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any], inside: Sequence[Quantize]) -> Any:
        product = inside[0](ops.matmul(args[0], operation.kernel))
        bias = ops.convert_to_tensor(operation.bias)
        return dense.run(_Biased(bias, operation.activation), (product,), {}, inside[1:])

    weights = (*dense.weights, (layer.bias, _round_bias))
    return dataclasses.replace(dense, inside=("own", *dense.inside), weights=weights, run=run)


def _round_bias(bias: Any) -> Any:
    low, high = (ops.stop_gradient(f(bias)) for f in (ops.min, ops.max))
    return quantize_to_range(bias, ops.minimum(low, 0.0), ops.maximum(high, 0.0))


@dataclasses.dataclass
class _Biased:
    """The second half of a Dense layer: adds the bias, then applies the activation."""

    bias: Any
    activation: Callable[[Any], Any]

    def __call__(self, x: Any) -> Any:
        return self.activation(x + self.bias)


def _activated(layer: Any) -> Behaviour:
    """The behaviour of a layer with an argument `activation`. Other than ReLU, it is an operator after the layer's own."""
    name = _name(getattr(layer, "activation", None))
    if name in _FUSED:
        return Behaviour(fuses=name == "linear")
    after = _of_activation(name, layer)

    def run(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any], inside: Sequence[Quantize]) -> Any:
        function, operation.activation = operation.activation, keras.activations.linear
        try:
            x = inside[0](operation(*args, **kwargs))
        finally:
            operation.activation = function
        return after.run(function, (x,), {}, inside[1:])

    return Behaviour(after.output, (("limited", TANH_INPUT) if name == "tanh" else "own", *after.inside), run=run)


def _activation(operation: Any, kind: str) -> Behaviour:
    """The behaviour of a layer or operation that is an activation."""
    if kind in _ACTIVATION_OPS:
        name = _ACTIVATION_OPS[kind]
    elif kind == "Activation":
        name = _name(operation.activation)
    elif kind == "ClippedReLU" or (kind == "Clip" and (operation.x_min, operation.x_max) == (0, 1)):
        return Behaviour("clip")
    elif kind == "ReLU" and not operation.negative_slope and not operation.threshold:
        if operation.max_value == 1:
            return Behaviour("clip")
        name = {None: "relu", 6: "relu6"}.get(operation.max_value, f"relu with max_value={operation.max_value}")
    elif kind == "ReLU" and operation.max_value is None and not operation.threshold:
        name = "leaky_relu"
    else:
        raise ValueError(f"layer {operation.name}: QAT does not support {kind}")
    return _of_activation(name, operation)


def _of_activation(name: str, operation: Any) -> Behaviour:
    if name == "linear":
        return Behaviour("shared")
    if name in _FUSED:
        return Behaviour("relu")
    if name in _FIXED:
        return Behaviour(_FIXED[name])
    if name in _SINGLE:
        return Behaviour()
    if name in _SILU:  # LOGISTIC, then MUL
        return Behaviour(inside=(_FIXED["sigmoid"],), run=_silu)
    raise ValueError(f"layer {operation.name}: QAT does not support activation {name}")


def _name(activation: Any) -> str:
    return "linear" if activation is None else getattr(activation, "__name__", type(activation).__name__)


def _silu(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any], inside: Sequence[Quantize]) -> Any:
    return args[0] * inside[0](ops.sigmoid(args[0]))


def _prelu(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any], inside: Sequence[Quantize]) -> Any:
    """PReLU as converters/quantization/prelu.py writes it, with a rounded product; `_round_slope` rounds its constant."""
    slope, sign = _slope_and_sign(layer.alpha)
    return args[0] + sign * inside[0](ops.relu(args[0] * slope * sign))


def _slope_and_sign(alpha: Any) -> tuple[Any, Any]:
    """The slope of the product, and the sign with which it is added, so that the rounded constant is never positive."""
    slope = alpha - 1.0
    return slope, ops.stop_gradient(ops.where(slope > 0, -1.0, 1.0))


def _round_slope(alpha: Any) -> Any:
    slope, sign = _slope_and_sign(alpha)
    low = ops.stop_gradient(ops.minimum(ops.min(slope * sign), 0.0))
    return quantize_to_range(slope * sign, low, 0.0) * sign + 1.0


def _weight_quantizer(axes: tuple[int, ...] | None) -> Quantize:
    return lambda w: quantize_weights(w, axes)


def _phase_quantizer(layer: Any) -> Quantize:
    """Rounds a transposed kernel as the phases that it runs as, each with a scale."""
    places = layer.places()
    phase = np.zeros(layer.kernel.shape, np.int32)
    phase.flat[places[places > 0] - 1] = np.broadcast_to(np.arange(places.shape[-1]), places.shape)[places > 0]
    return lambda w: round_to_steps(w, ops.take(ops.max(ops.abs(layer.phases(w)), axis=(0, 1, 2)), phase, axis=0) / 127)
