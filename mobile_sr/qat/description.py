"""A Keras 3 network as plain data, for a process that has no Keras 3: a list of nodes, and arrays.

A node is {"name", "kind", "inputs": [names], ...}; the first is the input, the last the output. Kinds and their fields:

    input
    conv            kernel [k, k, C_in / groups, C_out] and bias [C_out] among the arrays; groups; activation None, 'relu' or
                    'tanh'; stride 1, SAME. `zeros`: the array NAME/mask tells which taps are free (1), which always zero (0).
                    `bias_period` p: bias[i] equals bias[i + p].
    prelu           alpha [C], at most 1: x + relu(x * (alpha - 1))
    clip            min(max(x, 0), 1)
    depth_to_space  block
    concat          along the channels
"""

import numpy as np

from mobile_sr.errors import UserError

_ACTIVATIONS = {"linear": None, "relu": "relu", "tanh": "tanh"}


def describe(model):
    """(nodes, arrays) of a functional Keras 3 model made of the layers named above and of models/layers.py.

    Returns: JSON-able list, dict of float32 arrays called 'node/what'.
    Raises: UserError for a layer or an argument that has no counterpart.
    """
    nodes, arrays = [], {}
    for layer in model.layers:
        kind = type(layer).__name__
        if kind not in _DESCRIBERS:
            raise UserError(f"layer {layer.name}: {kind} is not known to QAT; it knows {', '.join(sorted(_DESCRIBERS))}")
        fields, values = _DESCRIBERS[kind](layer)
        nodes.append({"name": layer.name, "inputs": _inbound(layer), **fields})
        arrays.update({f"{layer.name}/{key}": np.asarray(value, np.float32) for key, value in values.items()})
    return nodes, arrays


def assign(model, arrays):
    """Set the weights of `model` from arrays as `describe` gives them; the inverse of describe's arrays.

    Raises: ValueError when a tap that is always zero is not, or biases that are one differ: no model has such weights.
    """
    for layer in model.layers:
        if type(layer).__name__ == "SubPixelConv2DTranspose":
            phases, bias = arrays[f"{layer.name}/kernel"], arrays[f"{layer.name}/bias"]
            if np.any(phases[layer.places() == 0]) or np.any(bias.reshape(-1, layer.filters) != bias[: layer.filters]):
                raise ValueError(f"layer {layer.name}: its phases are those of no transposed convolution")
            layer.kernel.assign(layer.from_phases(phases))
            layer.bias.assign(bias[: layer.filters])
        else:
            for weight in layer.weights:
                weight.assign(arrays[f"{layer.name}/{weight.name}"])


def _inbound(layer):
    nodes = layer._inbound_nodes  # Keras has no public way to ask a functional model for its edges
    if len(nodes) != 1:
        raise UserError(f"layer {layer.name} is used {len(nodes)} times; QAT knows layers that are used once")
    return [tensor._keras_history.operation.name for tensor in nodes[0].input_tensors]


def _activation(layer):
    import keras

    name = keras.activations.serialize(layer.activation)
    if name not in _ACTIVATIONS:
        raise UserError(f"layer {layer.name}: activation {name} is not known to QAT")
    return _ACTIVATIONS[name]


def _conv(layer):
    config = layer.get_config()
    odd = {"strides": (1, 1), "dilation_rate": (1, 1), "padding": "same", "use_bias": True, "data_format": "channels_last"}
    for key, value in odd.items():
        if config.get(key, value) != value:
            raise UserError(f"layer {layer.name}: {key}={config[key]} is not known to QAT, only {value}")
    fields = {"kind": "conv", "groups": layer.groups, "activation": _activation(layer)}
    return fields, {"kernel": layer.kernel, "bias": layer.bias}


def _transpose(layer):
    bias = np.tile(layer.bias, layer.strides**2)
    values = {"kernel": layer.phases(layer.kernel), "bias": bias, "mask": layer.places() > 0}
    fields = {"kind": "conv", "groups": 1, "activation": None, "zeros": True, "bias_period": layer.filters}
    return fields, values


_DESCRIBERS = {
    "InputLayer": lambda layer: ({"kind": "input"}, {}),
    "Conv2D": _conv,
    "GroupedConv2D": _conv,
    "SubPixelConv2DTranspose": _transpose,
    "PReLU": lambda layer: ({"kind": "prelu"}, {"alpha": layer.alpha}),
    "ClippedReLU": lambda layer: ({"kind": "clip"}, {}),
    "DepthToSpace": lambda layer: ({"kind": "depth_to_space", "block": layer.block_size}, {}),
    "Concatenate": lambda layer: ({"kind": "concat"}, {}),
}
