"""Growth of ChainSR: the weights of a smaller network in a deeper or wider one, which starts with the same outputs.

Chen, Goodfellow and Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016. An added layer is the identity,
which the ReLU after it does not change. Added channels have the initial weights of the larger network. They read all channels,
but the old ones do not read them yet: these weights start at 0, and training changes them. (Net2Net copies channels instead.)
Unlike a copy, an added channel does not need noise to become different from another one.

A chain of 12 layers that is trained from random weights can end below one of 8 layers, which it never does from the weights of
that one (docs/measurements/chainsr.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

NETWORK = "chainsr"
_FREE = {"network", "scale", "channels", "layers", "widths", "output_activation"}  # what may differ, or has no influence


def applies(small: Mapping[str, Any], large: Mapping[str, Any]) -> bool:
    """Whether `grow` accepts two complete configurations, and has something to grow.

    Both are of ChainSR without exits. The larger one has at least as many layers, and at least as many channels in every layer.
    """
    if small["network"] != NETWORK or large["network"] != NETWORK:
        return False
    if any(small[key] != large[key] for key in {*small, *large} - _FREE) or large["exits"]:
        return False
    old, new = _widths(small), _widths(large)
    if len(old) > len(new) or small["channels"] > large["channels"] or (old, small["channels"]) == (new, large["channels"]):
        return False
    kept = _positions(len(old), len(new))
    return all(before <= new[index] for before, index in _old_widths(small["channels"], old, kept, len(new)))


def grow(start: keras.Model, small: Mapping[str, Any], model: keras.Model, large: Mapping[str, Any]) -> set[str]:
    """Sets the weights of the larger network such that it has the outputs of the smaller one.

    Args:
        start: the smaller network.
        small: its complete configuration (`models.complete`).
        model: the larger network with its initial weights. Modified in place.
        large: its complete configuration; `applies(small, large)`.
    Returns: the paths of the variables that were set: all of them, or all but those of the last convolution, which keep their
        initial values, if the scales differ.
    """
    old, new = _widths(small), _widths(large)
    kept = _positions(len(old), len(new))
    width = small["channels"]  # channels that have their old values, in front of a layer
    set_paths = _set(model.get_layer("head"), *start.get_layer("head").get_weights())
    for index in range(len(new)):
        layer = model.get_layer(f"conv{index + 1}")
        if index in kept:
            set_paths |= _set(layer, *start.get_layer(f"conv{kept.index(index) + 1}").get_weights())
            width = old[kept.index(index)]
        else:
            identity = np.zeros((3, 3, width, width), np.float32)
            identity[1, 1] = np.eye(width)
            set_paths |= _set(layer, identity, np.zeros(width, np.float32))
    if small["scale"] == large["scale"]:
        set_paths |= _set(model.get_layer("tail"), *start.get_layer("tail").get_weights())
    return set_paths


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


def _positions(old: int, new: int) -> list[int]:
    """The indices of `old` layers among `new` ones, evenly spread; an added layer is in front of the next old one."""
    return [round((index + 1) * new / old) - 1 for index in range(old)]


def _old_widths(channels: int, old: list[int], kept: list[int], layers: int) -> list[tuple[int, int]]:
    """(channels that have their old values after a layer, its index) for all layers of the larger network."""
    width, result = channels, []
    for index in range(layers):
        width = old[kept.index(index)] if index in kept else width
        result.append((width, index))
    return result
