"""From the arrays of a PyTorch checkpoint to the weights of a Keras network; needs no PyTorch."""

import numpy as np

from mobile_sr.converters.pytorch.key_maps import NAMES, RANGES

_LISTED = 3  # keys that an error names


def _convolution(weight):
    """OIHW, or OI of a linear layer, to HWIO."""
    return (weight[:, :, None, None] if weight.ndim == 2 else weight).transpose(2, 3, 1, 0)


# {kind of layer: {what stands behind the prefix: (variable, what makes it of the array)}}
_PARTS = {
    "Conv2D": {"weight": ("kernel", _convolution), "bias": ("bias", np.asarray)},
    "DepthwiseConv2D": {"weight": ("kernel", lambda w: w.transpose(2, 3, 0, 1)), "bias": ("bias", np.asarray)},
    "LayerNormalization": {"weight": ("gamma", np.asarray), "bias": ("beta", np.asarray)},
    "ChannelWeights": {"cw": ("weight", lambda w: w[0])},
    "WindowAttention": {
        "qkv.weight": ("inward", np.transpose),
        "proj_out.weight": ("outward", np.transpose),
        "proj_out.bias": ("bias", np.asarray),
    },
}


def convert(model, config, state, value_range=None):
    """Give a Keras network the weights of a PyTorch checkpoint.

    A network for 0..255 becomes the same function in 0..1: biases are divided by 255, which is exact where everything is
    positively homogeneous, and the kernel in front of a sigmoid is multiplied by it instead. PixelShuffle's channel
    c * s * s + i * s + j becomes depth_to_space's (i * s + j) * C + c.

    Args:
        model: the network, as models.build(config) makes it; it gets the weights.
        config: complete configuration, its network being one of torch_names.NAMES.
        state: {key: array}, floating point, kernels [O, I, H, W].
        value_range: 1 or 255, the pictures that the checkpoint was trained on; None is what the network was published for.
    Raises: ValueError for keys that are missing or left over, for another shape or type, and for values that are not finite.
        The network is changed only when nothing is wrong.
    """
    value_range = value_range or RANGES[config["network"]]
    layers = {layer.name: layer for layer in model.layers}
    wanted = {}  # key: (layer, variable's name, function)
    for prefix, name in NAMES[config["network"]](config).items():
        for suffix, (variable, function) in _PARTS[type(layers[name]).__name__].items():
            wanted[f"{prefix}.{suffix}"] = (layers[name], variable, function)
    _check_keys(wanted, state)
    shuffled, masks = _before_pixels(model), _before_sigmoids(model)
    values = {}
    for key, (layer, variable, function) in wanted.items():
        target = getattr(layer, variable)
        array = _checked(key, state[key], tuple(target.shape), function)
        if layer.name in shuffled:
            array = _to_depth_to_space(array, shuffled[layer.name])
        if value_range != 1 and layer.name in masks:
            array = array * value_range if variable == "kernel" else array
        elif value_range != 1 and variable == "bias":
            array = array / value_range
        values[target.path] = array.astype(np.float32)
    model.set_weights([values[v.path] for v in model.variables])


def _check_keys(wanted, state):
    missing, unused = [k for k in wanted if k not in state], [k for k in state if k not in wanted]
    problems = [f"{len(keys)} {what} ({_list(keys)})" for keys, what in ((missing, "missing"), (unused, "unknown")) if keys]
    if problems:
        raise ValueError(f"its keys are not this network's: {', '.join(problems)}")


def _list(keys):
    return ", ".join(sorted(map(str, keys))[:_LISTED]) + (", ..." if len(keys) > _LISTED else "")


def _checked(key, array, shape, function):
    """The array in the layout of the variable, float64. Raises: ValueError."""
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        found = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else f"no tensor but a {type(array).__name__}"
        raise ValueError(f"{key} is {found}; weights are floating-point")
    try:
        result = function(array.astype(np.float64))
    except (ValueError, IndexError):
        result = None
    if result is None or result.shape != shape:
        expected = "" if result is None else f", which is {result.shape} here"
        raise ValueError(f"{key} has the shape {array.shape}{expected}; the network needs {shape}")
    if not np.all(np.isfinite(result)):
        raise ValueError(f"{key} holds values that are not finite")
    return result


def _before_pixels(model):
    """{name of a convolution: block size} of those whose channels a DepthToSpace turns into pixels, a clip aside."""
    found, makers = {}, {id(layer.output): layer for layer in model.layers}
    for layer in model.layers:
        if type(layer).__name__ == "DepthToSpace":
            source = makers[id(layer.input)]
            while type(source).__name__ == "ClippedReLU":
                source = makers[id(source.input)]
            found[source.name] = layer.block_size
    return found


def _before_sigmoids(model):
    """Names of the convolutions whose output a sigmoid takes."""
    makers = {id(layer.output): layer for layer in model.layers}
    sigmoids = [s for s in model.layers if getattr(getattr(s, "activation", None), "__name__", None) == "sigmoid"]
    return {makers[id(layer.input)].name for layer in sigmoids}


def _to_depth_to_space(array, block_size):
    """The last axis from PixelShuffle's order of channels to depth_to_space's."""
    split = array.reshape(*array.shape[:-1], -1, block_size**2)
    return np.swapaxes(split, -1, -2).reshape(array.shape)
