"""Size limits for the network that a .keras archive describes, checked before it is built."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_WEIGHTS = 2**28  # 1 GiB of float32
MAX_BYTES = 2**31  # unpacked


def check_keras(path: str | Path, max_bytes: int) -> None:
    """Check the size of a .keras archive and of the network in it.

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
    check_layers(config)


def check_layers(config: Any) -> None:
    """Raise ValueError if the layers of a Keras model's configuration would have more than MAX_WEIGHTS weights."""
    widest, weights = 3, 0
    for layer in leaves(config):
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


def leaves(value: Any) -> Iterator[Any]:
    """Yield all values of nested dicts and lists, the containers included."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (dict, list, tuple)):
            waiting += value.values() if isinstance(value, dict) else value
        yield value
