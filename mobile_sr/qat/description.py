"""Descriptions of Keras 3 networks as plain data, for a process without Keras 3: a list of nodes, and arrays.

A node is {"name", "kind", "inputs": [names], ...}. The first node is the input, the last the output. Kinds and their fields:

    input
    conv            arrays kernel [k, k, C_in / groups, C_out] and bias [C_out]; groups; activation None, 'relu' or 'tanh';
                    stride 1, padding SAME. With `zeros`, the array NAME/mask marks free taps (1) and taps that are always
                    zero (0). With `bias_period` p, bias[i] equals bias[i + p].
    prelu           alpha [C], at most 1: x + relu(x * (alpha - 1))
    clip            min(max(x, 0), 1)
    depth_to_space  block
    concat          along the channels
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr.errors import UserError

if TYPE_CHECKING:
    import keras

_ACTIVATIONS: dict[str, str | None] = {"linear": None, "relu": "relu", "tanh": "tanh"}


def describe(model: keras.Model) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Describe a functional Keras 3 model of the layers listed above and those of models/layers.py.

    Args:
        model: the model.

    Returns:
        (nodes, arrays): a JSON-able list, and float32 arrays named 'node/what'.

    Raises:
        UserError: for a layer or an argument that a description cannot express.
    """
    nodes: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for layer in model.layers:
        kind = type(layer).__name__
        if kind not in _DESCRIBERS:
            raise UserError(f"layer {layer.name}: QAT does not support {kind}; it supports {', '.join(sorted(_DESCRIBERS))}")
        fields, values = _DESCRIBERS[kind](layer)
        nodes.append({"name": layer.name, "inputs": _inbound(layer), **fields})
        arrays.update({f"{layer.name}/{key}": np.asarray(value, np.float32) for key, value in values.items()})
    return nodes, arrays


def assign(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """Set the weights of a model from the arrays of its description.

    Args:
        model: the model.
        arrays: arrays as from `describe`.

    Raises:
        ValueError: when a tap that must be zero is not, or biases that must be equal differ.
    """
    for layer in model.layers:
        if type(layer).__name__ == "SubPixelConv2DTranspose":
            phases, bias = arrays[f"{layer.name}/kernel"], arrays[f"{layer.name}/bias"]
            if np.any(phases[layer.places() == 0]) or np.any(bias.reshape(-1, layer.filters) != bias[: layer.filters]):
                raise ValueError(f"layer {layer.name}: its phases are not those of a transposed convolution")
            layer.kernel.assign(layer.from_phases(phases))
            layer.bias.assign(bias[: layer.filters])
        else:
            for weight in layer.weights:
                weight.assign(arrays[f"{layer.name}/{weight.name}"])


def _inbound(layer: keras.Layer) -> list[str]:
    """Return the names of the layers that a layer reads."""
    nodes = layer._inbound_nodes  # Keras has no public access to the edges of a functional model
    if len(nodes) != 1:
        raise UserError(f"layer {layer.name} is used {len(nodes)} times; QAT supports only layers that are used once")
    return [tensor._keras_history.operation.name for tensor in nodes[0].input_tensors]


def _activation(layer: keras.Layer) -> str | None:
    import keras

    name = keras.activations.serialize(layer.activation)
    if name not in _ACTIVATIONS:
        raise UserError(f"layer {layer.name}: QAT does not support activation {name}; use linear, relu or tanh")
    return _ACTIVATIONS[name]


def _conv(layer: keras.Layer) -> tuple[dict[str, Any], dict[str, Any]]:
    config = layer.get_config()
    supported: dict[str, Any] = {"strides": (1, 1), "dilation_rate": (1, 1), "padding": "same", "use_bias": True}
    supported["data_format"] = "channels_last"
    for key, value in supported.items():
        if config.get(key, value) != value:
            raise UserError(f"layer {layer.name}: {key}={config[key]} is not supported by QAT, only {value} is")
    fields = {"kind": "conv", "groups": layer.groups, "activation": _activation(layer)}
    return fields, {"kernel": layer.kernel, "bias": layer.bias}


def _transpose(layer: keras.Layer) -> tuple[dict[str, Any], dict[str, Any]]:
    bias = np.tile(layer.bias, layer.strides**2)
    values = {"kernel": layer.phases(layer.kernel), "bias": bias, "mask": layer.places() > 0}
    fields = {"kind": "conv", "groups": 1, "activation": None, "zeros": True, "bias_period": layer.filters}
    return fields, values


# Class of a layer -> function of the layer that returns (fields of its node, its arrays).
_DESCRIBERS: dict[str, Callable[[Any], tuple[dict[str, Any], dict[str, Any]]]] = {
    "InputLayer": lambda layer: ({"kind": "input"}, {}),
    "Conv2D": _conv,
    "GroupedConv2D": _conv,
    "SubPixelConv2DTranspose": _transpose,
    "PReLU": lambda layer: ({"kind": "prelu"}, {"alpha": layer.alpha}),
    "ClippedReLU": lambda layer: ({"kind": "clip"}, {}),
    "DepthToSpace": lambda layer: ({"kind": "depth_to_space", "block": layer.block_size}, {}),
    "Concatenate": lambda layer: ({"kind": "concat"}, {}),
}
