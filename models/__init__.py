"""The networks. A configuration is a flat dict: {"network": name, "scale": s, **arguments of the network's build()}.

Importing this package loads no Keras; building a network does.
"""

import difflib
import importlib
import inspect
import math

NTIRE_2022 = ("imdn", "rfdn", "rlfn", "fmen", "efdn", "bsrn", "arfdn", "imdn_plus", "pruned_rfdn", "mobilesr")
PEERS = ("srcnn", "vdsr", "abpn")
NETWORKS = ("xlsr", "fsrcnn", "espcn", "edsr", "rcan", "fgnas", "fgnas_supernet", *PEERS, *NTIRE_2022)


def _module(name):
    if name not in NETWORKS:
        close = difflib.get_close_matches(str(name), NETWORKS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}{hint}")
    folder = "ntire2022." if name in NTIRE_2022 else "nas." if name.startswith("fgnas") else ""
    return importlib.import_module(f"mobile_sr.models.{folder}{name}")


def build(config, **overrides):
    """The Keras model of a configuration; overrides are further arguments of the network's build().

    Raises: ValueError for an unknown network or a value that it refuses, TypeError for an unknown argument.
    """
    arguments = {**config, **overrides}
    return _module(arguments.pop("network")).build(**arguments)


def defaults(config):
    """{name: default} of the arguments of the network's build()."""
    parameters = inspect.signature(_module(config["network"]).build).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def complete(config):
    """The configuration with the defaults of the network's build() for the arguments that it leaves out."""
    return {**defaults(config), **config}


def build_for_export(config, **overrides):
    """`build` in the form that converts best: one grouped convolution where the training form may have several."""
    if has_groups(config):
        overrides["grouped_form"] = "grouped"
    return build(config, **overrides)


def has_groups(config):
    """Whether the network has grouped convolutions."""
    return "grouped_form" in complete(config)


def receptive_field(config):
    """LR pixels to each side that an output pixel depends on, or None for a network that sees the whole image."""
    module = _module(config["network"])
    return module.receptive_field(complete(config)) if hasattr(module, "receptive_field") else module.RECEPTIVE_FIELD


def smallest_side(config):
    """LR pixels that an image's height and width must have at least."""
    return getattr(_module(config["network"]), "SMALLEST_SIDE", 1)


def has_depth(config):
    """Whether the network has AdaDSR's adapter, and so a depth map as its second output."""
    return config.get("depth", "none") != "none"


def max_depth(config):
    """The largest desired depth that the network takes as its second input, in blocks; None where it takes none."""
    return complete(config)["blocks"] if config.get("depth") == "input" else None


def challenge_counts(config, height=256, width=256):
    """`counts.counts` of a configuration's network, with what the challenge's script does not see of it."""
    from mobile_sr.models import counts

    return counts.counts(build(config), height, width, getattr(_module(config["network"]), "SCRIPT_SKIPS", ()))


def multiply_adds(model, lr_pixels):
    """Multiply-adds of all convolutions for an LR input of that many pixels (bias and activations not counted).

    Each kernel weight is used once per pixel of its output: LR pixels, s * s as many behind a depth_to_space, one behind a
    global mean, 1 / stride**2 behind a convolution or a pooling of that stride (what borders and roundings take from that,
    counts.py knows). Masks are taken as all ones. Attention within windows counts, too.
    For a 1280x720 output, the literature's unit, lr_pixels is 1280 * 720 / scale**2.
    """
    total, pixels = 0, {id(model.inputs[0]): lr_pixels}
    for layer in model.layers:
        sources = layer.input if isinstance(layer.input, list) else [layer.input]
        size = max((pixels.get(id(source), 0) for source in sources), default=pixels.get(id(layer.output), 0))
        if isinstance(getattr(layer, "strides", None), tuple) and layer.strides != (1, 1):
            size = size / math.prod(layer.strides)
        if hasattr(layer, "kernel"):
            total += size * math.prod(layer.kernel.shape)
        elif hasattr(layer, "products"):
            total += size * sum(layer.products())
        kind = type(layer).__name__
        pixels[id(layer.output)] = 1 if kind == "GlobalMean" else size * getattr(layer, "block_size", 1) ** 2
    return total
