"""Key maps of the user's own, `import-weights --map FILE`, for checkpoints whose names differ from the published ones."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from mobile_sr.errors import UserError

_TYPES = {"network": str, "scale": int, "range": int, "options": dict, "layers": dict, "unused": list}


@dataclasses.dataclass(frozen=True)
class KeyMap:
    """The names in a checkpoint.

    Attributes:
        layers: {prefix of the keys: layer of the Keras network}. Prefixes with the same layer are concatenated along its
            output channels, in the order of the file.
        network: name of the network, None if it is given elsewhere.
        scale: scale factor, or None.
        range: 1 or 255, maximum of the training images, or None.
        options: {argument of the network's build(): value} that differ from the defaults.
        unused: regular expressions of keys to leave out.
    """

    layers: dict[str, str]
    network: str | None = None
    scale: int | None = None
    range: int | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    unused: tuple[str, ...] = ()


def read(path: str | Path) -> KeyMap:
    """Reads a map, a JSON object with the attributes of `KeyMap`. Raises UserError if it is missing or invalid."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--map {path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"--map {path}: not a JSON file ({error})") from None
    if not isinstance(value, dict) or not isinstance(value.get("layers"), dict):
        raise UserError(f'--map {path}: expected an object with "layers", {{prefix of the keys: layer}}')
    for name, entry in value.items():
        if name not in _TYPES:
            raise UserError(f"--map {path}: unknown entry {name}; known: {', '.join(_TYPES)}")
        if type(entry) is not _TYPES[name]:
            raise UserError(f"--map {path}: {name} is a {type(entry).__name__}; expected {_TYPES[name].__name__}")
    if not all(isinstance(item, str) for item in (*value["layers"].values(), *value.get("unused", ()))):
        raise UserError(f"--map {path}: layers and unused keys must be strings")
    if value.get("range") not in (None, 1, 255):
        raise UserError(f"--map {path}: range is {value['range']}; expected 1 or 255")
    return KeyMap(**{**value, "unused": tuple(value.get("unused", ()))})
