"""Size limits for the networks that a file's configuration can describe, checked before a network is built."""

import itertools
import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MAX_SIZE = 4096  # channels, blocks or any other integer of a configuration
MAX_WEIGHTS = 2**28  # 1 GiB of float32
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
    graph = config.get("graph")  # of a custom network: layers, whose sizes are counted like those of a .keras file
    if sum(1 for _ in itertools.islice(_leaves(graph), MAX_VALUES + 1)) > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES:,} values in its graph")
    _check_layers(graph)
    for count, value in enumerate(_leaves({name: value for name, value in config.items() if name != "graph"})):
        if count > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES:,} values")
        if type(value) is int and abs(value) > MAX_SIZE or isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"the value {value!r} is out of range")
    sizes = {**parameters, **config}
    repeats = [sizes[name] for name in ("blocks", "groups", "m") if type(sizes.get(name)) is int]
    channels = max((sizes[name] for name in ("channels", "d", "head", "middle") if type(sizes.get(name)) is int), default=1)
    if 9 * channels**2 * math.prod(repeats) > MAX_WEIGHTS:
        raise ValueError(f"{channels} channels in {math.prod(repeats)} blocks, more than {MAX_WEIGHTS:,} weights")


def _leaves(value: Any) -> Iterator[Any]:
    """Yields all values of nested dicts and lists, the containers included."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (dict, list, tuple)):
            waiting += value.values() if isinstance(value, dict) else value
        yield value


def check_keras(path: str | Path, max_bytes: int) -> None:
    """Checks the size of a .keras archive and of the network in it.

    Args:
        path: the .keras file.
        max_bytes: maximum unpacked size.

    Raises:
        ValueError: the file is not a .keras archive, unpacks to more than `max_bytes`, or describes too large a network.
    """
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > max_bytes:
            raise ValueError(f"it would unpack to {unpacked:,} bytes; the limit is {max_bytes:,}")
        config = json.loads(archive.read("config.json"))
    _check_layers(config)


def _check_layers(config: Any) -> None:
    """Raises ValueError if the layers in a Keras configuration would have too many weights."""
    widest, weights = 3, 0
    for layer in _leaves(config):
        settings = layer.get("config") if isinstance(layer, dict) else None
        if not isinstance(settings, dict):
            continue
        given = layer.get("build_config")
        shape = given.get("input_shape") if isinstance(given, dict) else None
        inputs = shape[-1] if isinstance(shape, list) and shape and type(shape[-1]) is int else widest
        outputs = [settings[key] for key in ("filters", "units", "output_dim") if type(settings.get(key)) is int]
        kernel = settings.get("kernel_size", 1)
        kernel = [side for side in (kernel if isinstance(kernel, list) else [kernel]) if type(side) is int]
        if outputs:
            weights += max(outputs) * inputs * math.prod(kernel)
            widest = max(outputs)
        if weights > MAX_WEIGHTS:
            raise ValueError(f"its layers would have more than {MAX_WEIGHTS:,} weights")
