"""Folds batch normalization into the layers before it: the network of inference, which quantization-aware training starts from.

At inference, BatchNormalization multiplies each channel by a factor and adds a constant (Ioffe and Szegedy, "Batch
Normalization", ICML 2015, Alg. 2). Both go into the kernel and the bias of the convolution whose result it reads, as
TensorFlow's converter does.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

# Axis of a kernel that the factors belong to, its output channels; None: the last two, for one result per input channel.
_AXES: dict[str, int | None] = {"Conv2D": 3, "DepthwiseConv2D": None, "Conv2DTranspose": 2, "SeparableConv2D": 3, "Dense": 1}


def fold(model: keras.Model) -> keras.Model:
    """Returns a network without BatchNormalization that computes the same at inference; the model itself if it has none.

    Args:
        model: a functional keras.Model.
    Raises: ValueError, naming the layer, for a BatchNormalization that does not directly follow a convolution or Dense layer
        that nothing else reads.
    """
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return model
    sources = {norm.name: _source(model, norm) for norm in norms}
    folded = {sources[norm.name].name: norm for norm in norms}

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        return type(layer).from_config({**config, "use_bias": True} if layer.name in folded else config)

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        return args[0] if layer.name in sources else layer(*args, **kwargs)

    result = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in result.layers:
        arrays = model.get_layer(layer.name).get_weights()
        layer.set_weights(_folded(model.get_layer(layer.name), folded[layer.name]) if layer.name in folded else arrays)
    return result


def _source(model: keras.Model, norm: keras.layers.BatchNormalization) -> keras.layers.Layer:
    """Return the layer that precedes a normalization."""
    tensor: Any = norm.input if len(norm._inbound_nodes) == 1 else None
    layer: Any = None if tensor is None else tensor._keras_history.operation
    usable = (
        type(layer).__name__ in _AXES
        and getattr(layer.activation, "__name__", None) == "linear"
        and len(layer._inbound_nodes) == 1
        and sum(_reads(node, tensor) for node in _nodes(model)) == 1
        and not any(tensor is output for output in model.outputs)
        and norm.axis in (-1, len(tensor.shape) - 1)
    )
    if not usable:
        raise ValueError(
            f"layer {norm.name}: QAT folds BatchNormalization only into a convolution or Dense layer without activation that "
            "directly precedes it"
        )
    return layer


def _nodes(model: keras.Model) -> list[Any]:
    return [node for nodes in model._nodes_by_depth.values() for node in nodes]  # Keras has no public access to them


def _reads(node: Any, tensor: Any) -> int:
    return sum(other is tensor for other in node.input_tensors)


def _folded(layer: Any, norm: Any) -> list[np.ndarray]:
    """The weights of a layer that includes a normalization, in float32; computed in float64."""
    mean, variance = (np.asarray(v, np.float64) for v in (norm.moving_mean, norm.moving_variance))
    factor = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        factor = factor * np.asarray(norm.gamma, np.float64)
    shift = np.asarray(norm.beta, np.float64) if norm.center else np.zeros_like(mean)
    arrays = [np.asarray(value, np.float64) for value in layer.get_weights()]
    bias = arrays.pop() if layer.use_bias else np.zeros_like(mean)
    axis = _AXES[type(layer).__name__]
    kernel = arrays.pop()
    if axis is None:
        kernel = kernel * factor.reshape(kernel.shape[2:])
    else:
        kernel = kernel * factor.reshape([-1 if k == axis else 1 for k in range(kernel.ndim)])
    return [value.astype(np.float32) for value in (*arrays, kernel, (bias - mean) * factor + shift)]
