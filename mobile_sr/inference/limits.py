"""Limits on the networks that a file's configuration may describe, checked before one is built and memory is taken."""

import json
import math
import zipfile

MAX_SIZE = 4096  # channels, blocks or any other whole number of a configuration
MAX_WEIGHTS = 2**28  # 1 GiB of float32
MAX_VALUES = 100_000  # of a nested configuration


def check_config(config, parameters):
    """Raises: ValueError when a network's configuration has a value of the wrong type, or describes a huge network.

    Args:
        parameters: of the network's build(), {name: its default}.
    """
    for name, value in config.items():
        default = parameters.get(name)
        if type(default) is int and not (type(value) is int and 0 <= value <= MAX_SIZE):
            raise ValueError(f"{name} is {value!r}; it must be a whole number from 0 to {MAX_SIZE}")
        if isinstance(default, str) and not isinstance(value, str):
            raise ValueError(f"{name} is {value!r}; it must be a text")
    for count, value in enumerate(_leaves(config)):
        if count > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES:,} values")
        if type(value) is int and abs(value) > MAX_SIZE or isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"the value {value!r}")
    sizes = {**parameters, **config}
    repeats = [sizes[name] for name in ("blocks", "groups", "m") if type(sizes.get(name)) is int]
    channels = max((sizes[name] for name in ("channels", "d", "head", "middle") if type(sizes.get(name)) is int), default=1)
    if 9 * channels**2 * math.prod(repeats) > MAX_WEIGHTS:
        raise ValueError(f"{channels} channels in {math.prod(repeats)} blocks, more than {MAX_WEIGHTS:,} weights")


def _leaves(value):
    """The innermost values of nested dicts and lists; a container counts as a value itself."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (dict, list, tuple)):
            waiting += value.values() if isinstance(value, dict) else value
        yield value


def check_keras(path, max_bytes):
    """Raises: ValueError when a .keras archive is not one, unpacks to more than `max_bytes`, or describes a huge network."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > max_bytes:
            raise ValueError(f"it would unpack to {unpacked:,} bytes; more than {max_bytes:,} are refused")
        config = json.loads(archive.read("config.json"))
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
