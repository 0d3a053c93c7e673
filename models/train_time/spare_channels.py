"""Training that leaves channels of ChainSR's long skip unused: the recipe option `spare_channels`.

`export` turns unused channels into shifted copies of those whose rounding costs the most
(converters/quantization/channels/spare_channels.py). Trained networks hardly use some channels, but graphics need them.
Here, the channels that change the output the least get weights of 0 in the first layer and in the last one inside of the skip.
A ReLU passes no gradient at 0, so these weights stay 0, and the training makes up for the difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import models

if TYPE_CHECKING:
    import keras

NETWORK = "chainsr"


def check(config: Mapping[str, Any], count: int) -> None:
    """Checks that a network can have this many spare channels. Raises: ValueError if it is another one or has too few."""
    config = models.complete(config)
    if config["network"] != NETWORK or config["exits"]:
        raise ValueError("only ChainSR without exits has channels that can be spared")
    if count >= config["channels"]:
        raise ValueError(f"it has {config['channels']} channels, and one or more of them must be used")


def clear(model: keras.Model, config: Mapping[str, Any], count: int, images: np.ndarray) -> list[int]:
    """Clears the channels of the long skip without which a network's output changes the least.

    Args:
        model: a network that `check` accepts. Modified in place: the weights that write and read these channels become 0.
        config: its configuration.
        count: how many channels.
        images: [N, h, w, 3] uint8, to measure the change.

    Returns:
        The channels, in ascending order.
    """
    from keras import ops

    config, lr = models.complete(config), images.astype(np.float32) / 255
    trained, before = model.get_weights(), model(lr, training=False)
    changes = []
    for channel in range(config["channels"]):
        _clear(model, config, [channel])
        changes.append(float(ops.mean(ops.square(model(lr, training=False) - before))))
        model.set_weights(trained)
    channels = sorted(int(channel) for channel in np.argsort(changes, kind="stable")[:count])
    _clear(model, config, channels)
    return channels


def _clear(model: keras.Model, config: Mapping[str, Any], channels: list[int]) -> None:
    """Sets the weights to 0 that write and read some channels of the skip."""
    for name in ("head", f"conv{config['layers']}"):
        kernel, bias = model.get_layer(name).get_weights()
        kernel[..., channels], bias[channels] = 0, 0
        model.get_layer(name).set_weights([kernel, bias])
    for name in ("conv1", "tail"):  # a kernel's largest weight sets its step in 8 bits
        kernel, bias = model.get_layer(name).get_weights()
        kernel[:, :, channels] = 0
        model.get_layer(name).set_weights([kernel, bias])
