"""The networks. A configuration is a flat dict: {"network": name, "scale": s, **arguments of the network's build()}.

Importing this package loads no Keras; building a network does.
"""

import importlib
import inspect
import math

NETWORKS = ("xlsr", "fsrcnn", "espcn")


def _module(name):
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}")
    return importlib.import_module(f"mobile_sr.models.{name}")


def build(config, **overrides):
    """The Keras model of a configuration; overrides are further arguments of the network's build().

    Raises: ValueError for an unknown network or a value that it refuses, TypeError for an unknown argument.
    """
    arguments = {**config, **overrides}
    return _module(arguments.pop("network")).build(**arguments)


def build_for_export(config, **overrides):
    """`build` in the form that converts best: one grouped convolution where the training form may have several."""
    if "grouped_form" in inspect.signature(_module(config["network"]).build).parameters:
        overrides["grouped_form"] = "grouped"
    return build(config, **overrides)


def receptive_field(config):
    """LR pixels to each side that an output pixel depends on, or None for a network that sees the whole image."""
    return _module(config["network"]).RECEPTIVE_FIELD


def multiply_adds(model, lr_pixels):
    """Multiply-adds of all convolutions for an LR input of that many pixels (bias and activations not counted).

    Every convolution of these networks runs at LR size with stride 1, so each kernel weight is used once per LR pixel.
    For a 1280x720 output, the literature's unit, lr_pixels is 1280 * 720 / scale**2.
    """
    return lr_pixels * sum(math.prod(layer.kernel.shape) for layer in model.layers if hasattr(layer, "kernel"))
