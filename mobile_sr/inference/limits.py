"""Size limits for the networks that a file's configuration can describe, checked before a network is built."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

from mobile_sr import models
from mobile_sr.converters.formats.keras_limits import MAX_WEIGHTS, check_layers, leaves

MAX_SIZE = 4096  # channels, blocks or any other integer of a configuration
MAX_VALUES = 100_000  # in a nested configuration


def check_config(config: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Checks the types and sizes in a network's configuration.

    Args:
        config: the configuration.
        parameters: the parameters of the network's build(), {name: default}.

    Raises:
        ValueError: a value has the wrong type, or the network would be too large.
    """
    for name, value in config.items():
        default = parameters.get(name)
        if type(default) is int and not (type(value) is int and 0 <= value <= MAX_SIZE):
            raise ValueError(f"{name} is {value!r}; expected an integer from 0 to {MAX_SIZE}")
        if isinstance(default, str) and not isinstance(value, str):
            raise ValueError(f"{name} is {value!r}; expected a string")
    for net in config.get("nets") or ():  # of a joint model
        if not isinstance(net, dict) or net.get("network") == models.CLASSSR:
            raise ValueError(f"nets has {net!r}; expected the configuration of a network")
        check_config(net, models.defaults(net))
    graph = config.get("graph")  # of a custom network: layers, whose sizes are counted like those of a .keras file
    if sum(1 for _ in itertools.islice(leaves(graph), MAX_VALUES + 1)) > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES:,} values in its graph")
    check_layers(graph)
    for count, value in enumerate(leaves({name: value for name, value in config.items() if name != "graph"})):
        if count > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES:,} values")
        if type(value) is int and abs(value) > MAX_SIZE or isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"the value {value!r} is out of range")
    sizes = {**parameters, **config}
    repeats = [sizes[name] for name in ("blocks", "groups", "layers", "m") if type(sizes.get(name)) is int]
    widths = [*leaves(sizes.get("widths")), *(sizes.get(name) for name in ("channels", "d", "head", "middle"))]
    channels = max((width for width in widths if type(width) is int), default=1)
    if 9 * channels**2 * math.prod(repeats) > MAX_WEIGHTS:
        raise ValueError(f"{channels} channels in {math.prod(repeats)} blocks, more than {MAX_WEIGHTS:,} weights")
