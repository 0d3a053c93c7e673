"""Converts the arrays of a PyTorch checkpoint to the weights of a Keras network. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr.converters.pytorch.architecture import MISFITS
from mobile_sr.converters.pytorch.key_maps import ARCHITECTURES

if TYPE_CHECKING:
    import keras

    Function = Callable[[np.ndarray], np.ndarray]
    Wanted = dict[tuple[str, str], tuple[Any, list[str], Function]]  # {(layer, variable): (variable, keys, conversion)}

_LISTED = 3  # number of keys that an error message lists
# Layers without parameters that pass a factor on: f(k * x) = k * f(x) for k > 0. All others are taken not to.
_HOMOGENEOUS = {"relu", "linear", "leaky_relu"}
_NOT_HOMOGENEOUS = {"LayerNormalization", "RegionAttention", "WindowAttention", "ChannelAttention", "ReLU6", "SELU"}
_NOT_HOMOGENEOUS |= {"PositionedWindowAttention", "PatchAttention", "FineSoftmax"}
_GATES = ("sigmoid", "hard_sigmoid")


def _convolution(weight: np.ndarray) -> np.ndarray:
    """OIHW, or OI of a linear layer, to HWIO."""
    return (weight[:, :, None, None] if weight.ndim == 2 else weight).transpose(2, 3, 1, 0)


# {layer class: {key without its prefix: (variable, conversion of the array)}}.
_CONVOLUTION: dict[str, tuple[str, Function]] = {"weight": ("kernel", _convolution), "bias": ("bias", np.asarray)}
_SLOPES: dict[str, tuple[str, Function]] = {"weight": ("alpha", np.asarray)}
_PARTS: dict[str, dict[str, tuple[str, Function]]] = {
    "Conv2D": _CONVOLUTION,
    "GroupedConv2D": _CONVOLUTION,
    "DepthwiseConv2D": {"weight": ("kernel", lambda w: w.transpose(2, 3, 0, 1)), "bias": ("bias", np.asarray)},
    "SubPixelConv2DTranspose": {"weight": ("kernel", lambda w: w.transpose(2, 3, 1, 0)), "bias": ("bias", np.asarray)},
    "PReLU": _SLOPES,
    "ScalarPReLU": _SLOPES,
    "AnySlopePReLU": _SLOPES,
    "LayerNormalization": {"weight": ("gamma", np.asarray), "bias": ("beta", np.asarray)},
    "ChannelWeights": {"cw": ("weight", lambda w: w[0])},
    "ChannelAttention": {"temperature": ("temperature", np.ravel)},
    "PositionedWindowAttention": {"relative_position_bias_table": ("position", np.asarray)},
    "WeightedSum": {"x_scale.scale": ("x_scale", np.asarray), "res_scale.scale": ("res_scale", np.asarray)},
    "ScaledByDepth": {"bias": ("bias", np.asarray)},
    "ShareSource": {"weight": ("gamma", np.asarray)},
    "Shift": {"bias": ("bias", np.asarray)},
    "WindowAttention": {
        "qkv.weight": ("inward", np.transpose),
        "proj_out.weight": ("outward", np.transpose),
        "proj_out.bias": ("bias", np.asarray),
    },
}


def convert(
    model: keras.Model,
    config: Mapping[str, Any],
    state: Mapping[str, Any],
    value_range: int | None = None,
    names: Mapping[str, str] | None = None,
) -> list[str]:
    """Set the weights of a Keras network to those of a PyTorch checkpoint.

    A network for images in 0..255 becomes the same function for 0..1. Where everything is positively homogeneous, its biases
    are divided by 255, and the kernels before a sigmoid multiplied by 255; so is the first kernel of AdaDSR's adapter, which
    computes depths from the features. Otherwise (SiLU, GELU, layer normalization) the
    kernels of the first layers are multiplied by 255, and kernel and bias of the last divided by it. Channel
    c * s * s + i * s + j of PixelShuffle becomes channel (i * s + j) * C + c of depth_to_space.

    Args:
        model: the network, as built by models.build(config). Its weights are changed only if the checkpoint is valid.
        config: complete configuration of one of the networks in key_maps.ARCHITECTURES.
        state: {key: array}, floating point, kernels [O, I, H, W].
        value_range: 1 or 255, the maximum of the images that the checkpoint was trained on. None is the published range.
        names: {prefix of the keys: layer name}; None for those of the published checkpoint.

    Returns:
        The keys that the network does not use.

    Raises:
        ValueError: keys are missing or unknown, an array has the wrong shape or type, or values are not finite.
    """
    architecture = ARCHITECTURES[config["network"]]
    value_range = value_range or architecture.data_range
    wanted = _wanted(model, architecture.names(config) if names is None else names)
    keys = [key for _, several, _ in wanted.values() for key in several]
    if names is None:
        state = _prepared(architecture.prepare, state)
    unused = [str(key) for key in state if architecture.is_unused(str(key)) and key not in keys]
    _check_keys(keys, [key for key in state if key not in unused])
    shuffled, factors = _before_depth_to_space(model), _range_factors(model, value_range)
    values = {}
    for (layer, variable), (target, several, function) in wanted.items():
        shape = tuple(target.shape)
        array = np.concatenate([_checked(key, state[key], shape, function, len(several) > 1) for key in several], axis=-1)
        if array.shape != shape:
            raise ValueError(f"{_list(several)} have {array.shape[-1]} channels together; the network needs {shape[-1]}")
        if layer in shuffled:
            array = _to_depth_to_space(array, shuffled[layer])
        values[target.path] = (array * factors.get((layer, variable), 1.0)).astype(np.float32)
    model.set_weights([values[v.path] for v in model.variables])
    return unused


def _prepared(prepare: Callable[[dict[str, Any]], dict[str, Any]], state: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return prepare(dict(state))
    except MISFITS as error:
        raise ValueError(f"its arrays cannot be merged ({type(error).__name__}: {error})") from None


def _wanted(model: keras.Model, names: Mapping[str, str]) -> Wanted:
    """Returns the keys that each variable of the network is made of."""
    layers = {layer.name: layer for layer in model.layers}
    wanted: Wanted = {}
    for prefix, name in names.items():
        if name not in layers:
            raise ValueError(f"it has no layer {name}")
        for suffix, (variable, function) in _PARTS[type(layers[name]).__name__].items():
            target = getattr(layers[name], variable, None)
            if target is not None:  # None is the bias of a layer without one
                wanted.setdefault((name, variable), (target, [], function))[1].append(f"{prefix}.{suffix}")
    return wanted


def _check_keys(wanted: Sequence[str], keys: Sequence[Any]) -> None:
    missing, unused = [k for k in wanted if k not in keys], [k for k in keys if k not in wanted]
    problems = [f"{len(keys)} {what} ({_list(keys)})" for keys, what in ((missing, "missing"), (unused, "unknown")) if keys]
    if problems:
        raise ValueError(f"its keys do not match this network: {', '.join(problems)}")


def _list(keys: Sequence[Any]) -> str:
    return ", ".join(sorted(map(str, keys))[:_LISTED]) + (", ..." if len(keys) > _LISTED else "")


def _checked(key: str, array: Any, shape: tuple[int, ...], function: Function, part: bool) -> np.ndarray:
    """The array in the layout of the variable, float64; `part` if it is only some of the output channels.

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
    if result is None or (result.shape[:-1] != shape[:-1] if part else result.shape != shape):
        converted = "" if result is None else f", {result.shape} in Keras"
        raise ValueError(f"{key} has the shape {array.shape}{converted}; the network needs {shape}")
    if not np.all(np.isfinite(result)):
        raise ValueError(f"{key} contains values that are not finite")
    return result


def _before_depth_to_space(model: keras.Model) -> dict[str, int]:
    """{name: block size} of the layers whose channels a DepthToSpace moves, through activations and sums."""
    result: dict[str, int] = {}
    makers = {id(layer.output): layer for layer in model.layers}
    for layer in model.layers:
        pending = [layer.input] if type(layer).__name__ == "DepthToSpace" else []
        while pending:
            source = makers[id(pending.pop())]
            if source.weights and type(source).__name__ != "SubPixelConv2DTranspose":  # its kernel has no such order
                result[source.name] = layer.block_size
            if not hasattr(source, "kernel") and type(source).__name__ not in ("InputLayer", "Concatenate"):
                pending += source.input if isinstance(source.input, list) else [source.input]
    return result


# The range of images ----------------------------------------------------------------------------------------------------------


def _range_factors(model: keras.Model, value_range: int) -> dict[tuple[str, str], float]:
    """{(layer, variable): factor} that makes a network for images in 0..value_range one for images in 0..1; see `convert`."""
    if value_range == 1:
        return {}
    before_gate = _before_gates(model)
    if before_gate is not None and all(_is_homogeneous(layer) for layer in model.layers):
        gates = {(name, "kernel"): float(value_range) for name in (*before_gate, "adapter1")}
        unscaled = before_gate | {layer.name for layer in model.layers if layer.name.startswith("adapter")}  # depths in blocks
        biased = [layer.name for layer in model.layers if hasattr(layer, "bias") and layer.name not in unscaled]
        return gates | {(name, "bias"): 1 / value_range for name in biased}
    first, last = _ends(model)
    factors = {(name, "kernel"): float(value_range) for name in first}
    factors |= {(layer.name, "bias"): 1 / value_range for layer in model.layers if type(layer).__name__ == "Shift"}
    return factors | {(name, variable): 1 / value_range for name in last for variable in ("kernel", "bias")}


def _is_homogeneous(layer: keras.layers.Layer) -> bool:
    """Whether f(k * x) = k * f(x) for k > 0 without biases. Gates are accepted: the kernel before them takes the factor."""
    name = getattr(getattr(layer, "activation", None), "__name__", "linear")
    return name in _HOMOGENEOUS or name in _GATES if type(layer).__name__ not in _NOT_HOMOGENEOUS else False


def _before_gates(model: keras.Model) -> set[str] | None:
    """Names of the convolutions before a sigmoid; None if a sigmoid follows something else."""
    makers = {id(layer.output): layer for layer in model.layers}
    gates = [s for s in model.layers if getattr(getattr(s, "activation", None), "__name__", None) in _GATES]
    sources = [layer if hasattr(layer, "kernel") else makers[id(layer.input)] for layer in gates]
    return {layer.name for layer in sources} if all(hasattr(layer, "kernel") for layer in sources) else None


def _ends(model: keras.Model) -> tuple[set[str], set[str]]:
    """Names of the layers with weights that read the LR image, and of those that give the SR image."""
    first, last = set(), set()
    reached = {id(model.inputs[0])}
    for layer in model.layers:
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        if any(id(tensor) in reached for tensor in inputs) and type(layer).__name__ != "InputLayer":
            if hasattr(layer, "kernel"):
                first.add(layer.name)
            else:
                reached.add(id(layer.output))
    makers, pending = {id(layer.output): layer for layer in model.layers}, [model.outputs[0]]
    while pending:
        layer = makers[id(pending.pop())]
        if hasattr(layer, "kernel"):
            last.add(layer.name)
        elif type(layer).__name__ != "InputLayer":
            pending += layer.input if isinstance(layer.input, list) else [layer.input]
    return first, last


def _to_depth_to_space(array: np.ndarray, block_size: int) -> np.ndarray:
    """Reorder the last axis from the channel order of PixelShuffle to that of depth_to_space."""
    split = array.reshape(*array.shape[:-1], -1, block_size**2)
    return np.swapaxes(split, -1, -2).reshape(array.shape)
