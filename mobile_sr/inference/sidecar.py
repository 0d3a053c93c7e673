"""Sidecars: NAME.json beside NAME.tflite or NAME.onnx, written by `export` and `qat` (fields: docs/reference/sidecar.md)."""

import dataclasses
import json
import math
import re
import sys
from pathlib import Path

from mobile_sr import models
from mobile_sr.converters.tflite import receptive_field as tflite_receptive_field
from mobile_sr.errors import UserError
from mobile_sr.files import sha256, write_json

FORMAT = 1
MAX_BYTES = 16 * 1024**2  # far above any sidecar
MAX_SIDE = 4096  # LR pixels
MAX_SCALE = 16
MAX_COST = 1e15  # multiply-adds
PRECISIONS = ("float32", "float16", "uint8", "int8", "int16", "dynamic", "onnx")
# A file of somebody else may have one or two of these names by chance.
_MARKS = ("format", "network", "config", "scale", "precision", "receptive_field", "sha256", "audit")
_noted = set()


@dataclasses.dataclass(frozen=True)
class Sidecar:
    """What is known about a model file. Without a sidecar every field is None or empty.

    Attributes:
        sha256: of the model file, hex.
        network, config, scale, precision: what was exported, and how.
        receptive_field: LR pixels to each side that an output pixel depends on; None where unknown or the whole image.
        smallest_side: shortest side in LR pixels that the network takes.
        value_range: [0, 1] or [0, 255] of float inputs and outputs.
        signatures: names of the file's signatures, [] where it has one without a name.
        desired_depth: [0, D] in blocks for networks that take a desired depth.
        multiply_adds: `depth_counts.costs` of networks with depth masks.
        checks: of the audit, [{"check": text, "passed": bool, "found": anything}].
    """

    sha256: str | None = None
    network: str | None = None
    config: dict | None = None
    scale: int | None = None
    precision: str | None = None
    receptive_field: int | None = None
    smallest_side: int = 1
    value_range: list | None = None
    signatures: list = dataclasses.field(default_factory=list)
    desired_depth: list | None = None
    multiply_adds: dict | None = None
    checks: list = dataclasses.field(default_factory=list)


def path_of(file):
    """The path of a model file's sidecar."""
    return Path(file).with_suffix(".json")


def read(file, data):
    """The Sidecar of a model file with the bytes `data`.

    JSON of somebody else, or a file that cannot be read, is ignored with one line on standard error.
    Raises: UserError when the sidecar is ours and damaged, or is made for other bytes.
    """
    path = path_of(file)
    if path == Path(file) or not path.exists():
        return Sidecar()
    value, reason = _load(path)
    digest = sha256(data)
    if reason is None and not is_ours(value, digest):
        reason = "not a sidecar of mobile-sr"
    if reason:
        if path not in _noted:
            print(f"note: {path} is ignored ({reason})", file=sys.stderr)
            _noted.add(path)
        return Sidecar()
    found = from_json(value, path)
    if found.sha256 != digest:
        raise UserError(
            f"{file}: not the file that {path.name} describes (its SHA-256 differs): it is damaged or was replaced;"
            f" export it again, or remove {path.name} if the file is right"
        )
    return found


def _load(path):
    """(JSON value, None), or (None, why it cannot be read)."""
    try:
        if not path.is_file():
            return None, "not a file"
        if path.stat().st_size > MAX_BYTES:
            return None, f"more than {MAX_BYTES:,} bytes"
        return json.loads(path.read_bytes()), None
    except OSError as error:
        return None, f"cannot be read: {error.strerror}"
    except (ValueError, RecursionError):
        return None, "not JSON"


def is_ours(value, digest):
    """Whether a JSON value is one of our sidecars, damaged or not: for the bytes with that SHA-256, or by its field names."""
    if not isinstance(value, dict):
        return False
    named = sum(mark in value for mark in _MARKS)
    return value.get("sha256") == digest or named > len(_MARKS) // 2 or ("sha256" in value and "format" in value)


def write(file, record):
    """Write the JSON object `record` as the sidecar of a model file. Raises: UserError when it is damaged."""
    from_json(record, path_of(file))
    write_json(path_of(file), record)


def from_json(value, path):
    """The Sidecar of a JSON object.

    Files that mobile-sr wrote have a `format` and then all required fields. Handmade ones may say the SHA-256 and some.
    Raises: UserError that names the first field that is missing or not what it should be.
    """

    def refuse(field, wanted):
        shown = repr(value.get(field, "missing"))
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        raise UserError(f"{path}: damaged sidecar: '{field}' is {shown}; it must be {wanted}. Export the model again")

    if "format" in value and not whole(value["format"], FORMAT, FORMAT):
        refuse("format", f"{FORMAT}, which this version reads")
    for field, (wanted, fits, required) in _FIELDS.items():
        if field not in value and not (required and "format" in value):
            continue
        if not (field in value and fits(value[field])):
            refuse(field, wanted)
    if "config" in value:
        _check_config(value, refuse)
    names = [field.name for field in dataclasses.fields(Sidecar)]
    known = {name: value[name] for name in names if value.get(name) is not None}
    return Sidecar(**known, checks=value.get("audit", {}).get("checks", []))


def _check_config(value, refuse):
    """The fields that a network's configuration repeats must be equal; what it implies needs Keras, and is not computed."""
    config = value["config"]
    for field in ("network", "scale"):
        if field in value and (config.get(field) != value[field] or type(config[field]) is not type(value[field])):
            refuse("config", f"of the network and scale that the sidecar names, {value[field]!r}")


def check_graph(found, graph, name):
    """Raises: UserError when a Sidecar does not fit the parsed graph of its .tflite: then tiles would have wrong borders."""
    reach = tflite_receptive_field.reach(graph)
    if found.receptive_field is not None and found.receptive_field < reach:
        raise UserError(
            f"{path_of(name)}: damaged sidecar: 'receptive_field' is {found.receptive_field}, but the kernels of the"
            f" network reach {reach} LR pixels to each side. Export the model again"
        )


def whole(value, smallest, largest):
    """Whether a value is an int (not a bool) in smallest..largest."""
    return type(value) is int and smallest <= value <= largest


def number(value, smallest, largest):
    """Whether a value is a finite int or float (not a bool) in smallest..largest."""
    return type(value) in (int, float) and math.isfinite(value) and smallest <= value <= largest


def _names(value):
    return isinstance(value, list) and all(isinstance(name, str) for name in value) and len(set(value)) == len(value)


def _range(value):
    return isinstance(value, list) and all(type(end) is int for end in value) and value in ([0, 1], [0, 255])


def _depths(value):
    return value is None or (isinstance(value, list) and len(value) == 2 and value[0] == 0 and number(value[1], 1, 10_000))


def _costs(value):
    if not isinstance(value, dict) or not isinstance(value.get("blocks"), list) or not value["blocks"]:
        return False
    pairs = all(isinstance(pair, list) and len(pair) == 2 for pair in value["blocks"])
    counts = pairs and all(number(count, 0, MAX_COST) for pair in value["blocks"] for count in pair)
    fixed = all(number(value.get(key), 0, MAX_COST) for key in ("always", "once"))
    return counts and fixed and number(value.get("dense_above"), 0, 1e6) and whole(value.get("span"), 1, 10_000)


def _audit(value):
    checks = value.get("checks") if isinstance(value, dict) else None
    return isinstance(checks, list) and all(
        isinstance(check, dict) and isinstance(check.get("check"), str) and type(check.get("passed")) is bool
        for check in checks
    )


# Field: (what it must be, whether a value is that, whether a file with a `format` must have it).
_FIELDS = {
    "sha256": ("64 hexadecimal digits", lambda x: isinstance(x, str) and re.fullmatch("[0-9a-f]{64}", x), True),
    "network": ("the name of a network", lambda x: isinstance(x, str) and x in models.NETWORKS, True),
    "config": ("the configuration of a network", lambda x: isinstance(x, dict), True),
    "scale": (f"a whole number from 1 to {MAX_SCALE}", lambda x: whole(x, 1, MAX_SCALE), True),
    "precision": (f"one of {', '.join(PRECISIONS)}", lambda x: isinstance(x, str) and x in PRECISIONS, True),
    "receptive_field": (
        f"null or a whole number from 1 to {MAX_SIDE}",
        lambda x: x is None or whole(x, 1, MAX_SIDE),
        True,
    ),
    "smallest_side": (f"a whole number from 1 to {MAX_SIDE}", lambda x: whole(x, 1, MAX_SIDE), False),
    "value_range": ("[0, 1] or [0, 255]", _range, False),
    "signatures": ("a list of names", _names, False),
    "desired_depth": ("null or [0, number of blocks]", _depths, False),
    "multiply_adds": ("null or the counts that docs/reference/sidecar.md describes", lambda x: x is None or _costs(x), False),
    "audit": ("an object with a list of checks", _audit, True),
}
