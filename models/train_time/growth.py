"""Growth of ChainSR: the weights of a smaller network in a deeper or wider one, which starts with the same outputs.

Chen, Goodfellow and Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016. An added layer is the identity,
which the ReLU after it does not change. Added channels have the initial weights of the larger network. They read all channels,
but the old ones do not read them yet: these weights start at 0, and training changes them. (Net2Net copies channels instead.)
Unlike a copy, an added channel does not need noise to become different from another one.

A chain of 12 layers that was trained from random weights ended below one of 8 layers; grown from that one, it ended above it
(docs/measurements/chainsr.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import models

if TYPE_CHECKING:
    import keras

NETWORK = "chainsr"
_FREE = {"network", "scale", "channels", "layers", "widths"}  # what may differ


def applies(small: Mapping[str, Any], large: Mapping[str, Any]) -> bool:
    """Whether `grow` accepts two configurations, and has something to grow.

    Both are of ChainSR without exits. The larger one has at least as many layers, and at least as many channels in every layer.
    """
    if small["network"] != NETWORK or large["network"] != NETWORK:
        return False
    small, large = models.complete(small), models.complete(large)
    if any(small[key] != large[key] for key in {*small, *large} - _FREE) or large["exits"]:
        return False
    old, new = _widths(small), _widths(large)
    if len(old) > len(new) or small["channels"] > large["channels"] or (old, small["channels"]) == (new, large["channels"]):
        return False
    return all(before <= after for (_, before), after in zip(_layers(small, large), new, strict=True))


def grow(start: keras.Model, small: Mapping[str, Any], model: keras.Model, large: Mapping[str, Any]) -> set[str]:
    """Sets the weights of the larger network such that it has the outputs of the smaller one.

    Args:
        start: the smaller network.
        small: its configuration.
        model: the larger network with its initial weights. Modified in place.
        large: its configuration; `applies(small, large)`.
    Returns: the paths of the variables that were set: all of them, or all but those of the last convolution, which keep their
        initial values, if the scales differ.
    """
    small, large = models.complete(small), models.complete(large)
    paths = _set(model.get_layer("head"), *start.get_layer("head").get_weights())
    for number, (source, width) in enumerate(_layers(small, large), 1):
        if source:
            values = start.get_layer(f"conv{source}").get_weights()
        else:
            identity = np.zeros((3, 3, width, width), np.float32)
            identity[1, 1] = np.eye(width)
            values = [identity, np.zeros(width, np.float32)]
        paths |= _set(model.get_layer(f"conv{number}"), *values)
    if small["scale"] == large["scale"]:
        paths |= _set(model.get_layer("tail"), *start.get_layer("tail").get_weights())
    return paths


def _set(layer: keras.layers.Layer, kernel: np.ndarray, bias: np.ndarray) -> set[str]:
    """Puts weights into the first channels of a convolution, whose outputs do not read further inputs then."""
    values, biases = (np.array(value) for value in layer.get_weights())
    inputs, outputs = kernel.shape[2:]
    values[:, :, inputs:, :outputs] = 0
    values[:, :, :inputs, :outputs] = kernel
    biases[:outputs] = bias
    layer.set_weights([values, biases])
    return {variable.path for variable in layer.variables}


def _widths(config: Mapping[str, Any]) -> list[int]:
    """The channels of each layer between the first and the last convolution."""
    return [*config["widths"]] or [config["channels"]] * config["layers"]


def _layers(small: Mapping[str, Any], large: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """(number of the old layer, 0 for an added one, channels with old values behind it) for each layer of the larger network.

    The old layers are evenly spread; an added one is in front of the next old one.
    """
    old, width, count = _widths(small), small["channels"], large["layers"]
    sources = {round(number * count / len(old)): number for number in range(1, len(old) + 1)}
    for number in range(1, count + 1):
        source = sources.get(number, 0)
        width = old[source - 1] if source else width
        yield source, width
