"""Converts the arrays of a PyTorch checkpoint to the weights of a Keras network. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr.converters.pytorch.key_maps import NAMES, RANGES, STATES

if TYPE_CHECKING:
    import keras

    Function = Callable[[np.ndarray], np.ndarray]

_LISTED = 3  # number of keys that an error message lists


def _convolution(weight: np.ndarray) -> np.ndarray:
    """OIHW, or OI of a linear layer, to HWIO."""
    return (weight[:, :, None, None] if weight.ndim == 2 else weight).transpose(2, 3, 1, 0)


# {layer class: {key without its prefix: (variable, conversion of the array)}}.
_PARTS: dict[str, dict[str, tuple[str, Function]]] = {
    "Conv2D": {"weight": ("kernel", _convolution), "bias": ("bias", np.asarray)},
    "DepthwiseConv2D": {"weight": ("kernel", lambda w: w.transpose(2, 3, 0, 1)), "bias": ("bias", np.asarray)},
    "LayerNormalization": {"weight": ("gamma", np.asarray), "bias": ("beta", np.asarray)},
    "PReLU": {"weight": ("alpha", np.asarray)},
    "ChannelWeights": {"cw": ("weight", lambda w: w[0])},
    "WindowAttention": {
        "qkv.weight": ("inward", np.transpose),
        "proj_out.weight": ("outward", np.transpose),
        "proj_out.bias": ("bias", np.asarray),
    },
}


def convert(model: keras.Model, config: Mapping[str, Any], state: Mapping[str, Any], value_range: int | None = None) -> None:
    """Set the weights of a Keras network to those of a PyTorch checkpoint.

    A network for images in 0..255 becomes the same function for 0..1. Its biases are divided by 255, which is exact where
    everything is positively homogeneous. Before a sigmoid, the kernel is multiplied by 255 instead. Channel
    c * s * s + i * s + j of PixelShuffle becomes channel (i * s + j) * C + c of depth_to_space.

    Args:
        model: the network, as built by models.build(config). Its weights are changed only if the checkpoint is valid.
        config: complete configuration of one of the networks in key_maps.NAMES.
        state: {key: array}, floating point, kernels [O, I, H, W].
        value_range: 1 or 255, the maximum of the images that the checkpoint was trained on. None is the published range.

    Raises:
        ValueError: keys are missing or unknown, an array has the wrong shape or type, or values are not finite.
    """
    value_range = value_range or RANGES[config["network"]]
    state = STATES.get(config["network"], dict)(state)
    layers = {layer.name: layer for layer in model.layers}
    wanted: dict[str, tuple[Any, str, Function]] = {}  # {key: (layer, name of the variable, conversion)}
    for prefix, name in NAMES[config["network"]](config).items():
        for suffix, (variable, function) in _PARTS[type(layers[name]).__name__].items():
            wanted[f"{prefix}.{suffix}"] = (layers[name], variable, function)
    _check_keys(wanted, state)
    shuffled, before_sigmoid = _before_depth_to_space(model), _before_sigmoid(model)
    values = {}
    for key, (layer, variable, function) in wanted.items():
        target = getattr(layer, variable)
        array = _checked(key, state[key], tuple(target.shape), function)
        if layer.name in shuffled:
            array = _to_depth_to_space(array, shuffled[layer.name])
        if value_range != 1 and layer.name in before_sigmoid:
            array = array * value_range if variable == "kernel" else array
        elif value_range != 1 and variable == "bias":
            array = array / value_range
        values[target.path] = array.astype(np.float32)
    model.set_weights([values[v.path] for v in model.variables])


def _check_keys(wanted: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    missing, unused = [k for k in wanted if k not in state], [k for k in state if k not in wanted]
    problems = [f"{len(keys)} {what} ({_list(keys)})" for keys, what in ((missing, "missing"), (unused, "unknown")) if keys]
    if problems:
        raise ValueError(f"its keys do not match this network: {', '.join(problems)}")


def _list(keys: Sequence[str]) -> str:
    return ", ".join(sorted(map(str, keys))[:_LISTED]) + (", ..." if len(keys) > _LISTED else "")


def _checked(key: str, array: Any, shape: tuple[int, ...], function: Function) -> np.ndarray:
    """The array in the layout of the variable, float64.

    Raises:
        ValueError: it has the wrong type or shape, or values are not finite.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        actual = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}, not a tensor"
        raise ValueError(f"{key} is {actual}; weights must be floating-point")
    try:
        result: np.ndarray | None = function(array.astype(np.float64))
    except (ValueError, IndexError):
        result = None
    if result is None or result.shape != shape:
        converted = "" if result is None else f", {result.shape} in Keras"
        raise ValueError(f"{key} has the shape {array.shape}{converted}; the network needs {shape}")
    if not np.all(np.isfinite(result)):
        raise ValueError(f"{key} contains values that are not finite")
    return result


def _before_depth_to_space(model: keras.Model) -> dict[str, int]:
    """{name: block size} of the convolutions before a DepthToSpace, with or without an addition and a clip in between."""
    result: dict[str, int] = {}
    makers = {id(layer.output): layer for layer in model.layers}
    for layer in model.layers:
        if type(layer).__name__ == "DepthToSpace":
            source = makers[id(layer.input)]
            while type(source).__name__ == "ClippedReLU":
                source = makers[id(source.input)]
            sources = [makers[id(t)] for t in source.input] if type(source).__name__ == "Add" else [source]
            result |= {source.name: layer.block_size for source in sources if hasattr(source, "kernel")}
    return result


def _before_sigmoid(model: keras.Model) -> set[str]:
    """Names of the convolutions before a sigmoid."""
    makers = {id(layer.output): layer for layer in model.layers}
    sigmoids = [s for s in model.layers if getattr(getattr(s, "activation", None), "__name__", None) == "sigmoid"]
    return {makers[id(layer.input)].name for layer in sigmoids}


def _to_depth_to_space(array: np.ndarray, block_size: int) -> np.ndarray:
    """Reorder the last axis from the channel order of PixelShuffle to that of depth_to_space."""
    split = array.reshape(*array.shape[:-1], -1, block_size**2)
    return np.swapaxes(split, -1, -2).reshape(array.shape)
