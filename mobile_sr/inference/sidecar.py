"""Sidecar files: NAME.json beside NAME.tflite or NAME.onnx, written by `export` and `qat`.

docs/reference/sidecar.md lists the fields.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mobile_sr import models
from mobile_sr.converters.tflite import receptive_field as tflite_receptive_field
from mobile_sr.errors import UserError
from mobile_sr.files import sha256, write_json
from mobile_sr.imaging import luminance

if TYPE_CHECKING:
    from mobile_sr.converters.tflite.flatbuffer import Graph

FORMAT = 1
MAX_BYTES = 16 * 1024**2  # far larger than any sidecar
MAX_SIDE = 4096  # LR pixels
MAX_SCALE = 16
MAX_CHANNELS = 65536
MAX_COST = 1e15  # multiply-adds
ORDERS = {3: ("rgb", "bgr"), 1: (luminance.STUDIO, luminance.FULL)}  # by number of channels, the usual one first
PRECISIONS = ("float32", "float16", "uint8", "int8", "int16", "dynamic", "onnx")
# JSON files of other programs may have one or two of these names by chance.
_MARKS = ("format", "network", "config", "scale", "precision", "receptive_field", "sha256", "audit")
_noted: set[Path] = set()  # ignored files that were already reported


@dataclasses.dataclass(frozen=True)
class Sidecar:
    """The recorded facts about a model file. Without a sidecar every field is None or empty.

    Attributes:
        sha256: SHA-256 of the model file, hex.
        network, config, scale, precision: the exported network and the export precision. network and config are None for a
            network from elsewhere.
        receptive_field: LR pixels to each side that an output pixel depends on; None if unknown or the whole image.
        smallest_side: minimum side in LR pixels that the network supports.
        value_range: [0, 1], [0, 255] or [-1, 1] of float inputs and outputs.
        layout: 'nhwc' or 'nchw', the axes of the image input.
        channels: 3 for RGB, 1 for luminance (Y).
        order: 'rgb' or 'bgr' of 3 channels; 'y' (16..235) or 'y_full' (0..255) of 1 channel.
        signatures: names of the file's signatures, [] if it has a single unnamed one.
        exits: of a file with a signature for each exit of a network, the one with the fewest layers first, {"signature",
            "layers", "receptive_field", "multiply_adds", "instructions"}: the last two per LR pixel, the last one may be None.
        desired_depth: [0, D] in blocks for networks with a desired depth.
        multiply_adds: `depth_counts.costs` of networks with depth masks.
        spare_channels: of 8-bit files and steered float files, `spare_channels.choose` (converters/quantization/channels).
        checks: checks of the audit, [{"check": text, "passed": bool, "found": anything}].
    """

    sha256: str | None = None
    network: str | None = None
    config: dict[str, Any] | None = None
    scale: int | None = None
    precision: str | None = None
    receptive_field: int | None = None
    smallest_side: int = 1
    value_range: list[int] | None = None
    layout: str | None = None
    channels: int | None = None
    order: str | None = None
    signatures: list[str] = dataclasses.field(default_factory=list)
    exits: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    desired_depth: list[float] | None = None
    multiply_adds: dict[str, Any] | None = None
    spare_channels: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    checks: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def limits(self, scalar: str) -> Sequence[float] | None:
        """Returns (min, max) of a scalar input of the file; None if the sidecar does not record them."""
        return {"desired_depth": self.desired_depth}.get(scalar)

    def of_signature(self, signature: str | None) -> Sidecar:
        """Returns the facts about one signature of the file: with those of an exit, and without `exits`, if it is one."""
        for entry in self.exits:
            if entry["signature"] == signature:
                return dataclasses.replace(self, receptive_field=entry["receptive_field"], exits=[])
        return self


def path_of(file: str | Path) -> Path:
    """Returns the path of a model file's sidecar."""
    return Path(file).with_suffix(".json")


def read(file: str | Path, data: bytes) -> Sidecar:
    """Reads the sidecar of a model file.

    JSON of another program, or a file that cannot be read, is ignored with one line on standard error.

    Args:
        file: the model file.
        data: its bytes.

    Raises:
        UserError: the sidecar was written by mobile-sr and is damaged, or belongs to other bytes.
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
    sidecar = from_json(value, path)
    if sidecar.sha256 != digest:
        raise UserError(
            f"{file}: not the file that {path.name} describes (its SHA-256 differs): it is damaged or was replaced;"
            f" export it again, or remove {path.name} if the file is right"
        )
    return sidecar


def _load(path: Path) -> tuple[Any, str | None]:
    """Returns (JSON value, None), or (None, reason) if the file cannot be read."""
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


def is_ours(value: Any, digest: str) -> bool:
    """Returns whether a JSON value is a mobile-sr sidecar, damaged or not, by its SHA-256 or by its field names."""
    if not isinstance(value, dict):
        return False
    matches = sum(mark in value for mark in _MARKS)
    return value.get("sha256") == digest or matches > len(_MARKS) // 2 or ("sha256" in value and "format" in value)


def write(file: str | Path, record: Mapping[str, Any]) -> None:
    """Writes a JSON-able dict as the sidecar of a model file. Raises UserError if a field of it is invalid."""
    from_json(record, path_of(file))
    write_json(path_of(file), record)


def from_json(value: Mapping[str, Any], path: str | Path) -> Sidecar:
    """Builds the Sidecar of a JSON object.

    Files that mobile-sr wrote have a `format` and all required fields. Files written by hand can have the SHA-256 and any
    of the other fields.

    Args:
        value: the JSON object.
        path: its file, for messages.

    Raises:
        UserError: a field is missing or invalid; the message names the first one.
    """

    def refuse(field: str, expected: str) -> NoReturn:
        shown = repr(value.get(field, "missing"))
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        raise UserError(f"{path}: damaged sidecar: '{field}' is {shown}; expected {expected}. Export the model again")

    if "format" in value and not is_int_in(value["format"], FORMAT, FORMAT):
        refuse("format", f"{FORMAT}, the format of this version")
    for field, (expected, is_valid, required) in _FIELDS.items():
        if field not in value and not (required and "format" in value):
            continue
        if not (field in value and is_valid(value[field])):
            refuse(field, expected)
    if "network" in value and "config" in value and (value["network"] is None) != (value["config"] is None):
        refuse("config", "the network's configuration, or null for a network from elsewhere")
    if value.get("config") is not None:
        _check_config(value, refuse)
    if "channels" in value and value.get("order", ORDERS[value["channels"]][0]) not in ORDERS[value["channels"]]:
        refuse("order", f"{' or '.join(ORDERS[value['channels']])} for {value['channels']} channel(s)")
    names = [field.name for field in dataclasses.fields(Sidecar)]
    known = {name: value[name] for name in names if value.get(name) is not None}
    return Sidecar(**known, checks=value.get("audit", {}).get("checks", []))


def _check_config(value: Mapping[str, Any], refuse: Callable[[str, str], NoReturn]) -> None:
    """Checks that fields repeated in the configuration are equal. Values derived from it need Keras and are not checked."""
    config = value["config"]
    for field in ("network", "scale"):
        if field in value and (config.get(field) != value[field] or type(config[field]) is not type(value[field])):
            refuse("config", f"a configuration of the sidecar's network and scale, {value[field]!r}")


def check_graph(sidecar: Sidecar, graph: Graph, name: str | Path) -> None:
    """Raises UserError if a Sidecar does not fit the graph of its .tflite: tiles would get wrong borders."""
    reach = tflite_receptive_field.lower_bound(graph)
    if sidecar.receptive_field is not None and sidecar.receptive_field < reach:
        raise UserError(
            f"{path_of(name)}: damaged sidecar: 'receptive_field' is {sidecar.receptive_field}, but the kernels of the"
            f" network reach {reach} LR pixels to each side. Export the model again"
        )


def is_int_in(value: Any, smallest: int, largest: int) -> bool:
    """Returns whether a value is an int (not a bool) in smallest..largest."""
    return type(value) is int and smallest <= value <= largest


def number(value: Any, smallest: float, largest: float) -> bool:
    """Returns whether a value is a finite int or float (not a bool) in smallest..largest."""
    return type(value) in (int, float) and math.isfinite(value) and smallest <= value <= largest


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value) and len(set(value)) == len(value)


def _exits(value: Any) -> bool:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        return False
    for entry in value:
        counts = [entry.get("multiply_adds"), 0 if entry.get("instructions") is None else entry["instructions"]]
        fields = [entry.get("layers"), entry.get("receptive_field")]
        if not all(is_int_in(field, 1, MAX_SIDE) for field in fields) or not all(number(n, 0, MAX_COST) for n in counts):
            return False
    layers = [entry["layers"] for entry in value]
    return _names([entry.get("signature") for entry in value]) and layers == sorted(set(layers))


def _copies(value: Any) -> bool:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        return False
    shifts = [entry.get("shifts") for entry in value]
    if any(entry.get("channel") == entry.get("copies") for entry in value):
        return False
    numbers = all(is_int_in(entry.get(key), 0, MAX_CHANNELS) for entry in value for key in ("channel", "copies"))
    return numbers and all(isinstance(own, dict) and own and all(number(x, 0, 1e6) for x in own.values()) for own in shifts)


def _range(value: Any) -> bool:
    return isinstance(value, list) and all(type(end) is int for end in value) and value in ([0, 1], [0, 255], [-1, 1])


def _depths(value: Any) -> bool:
    return value is None or (isinstance(value, list) and len(value) == 2 and value[0] == 0 and number(value[1], 1, 10_000))


def _costs(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("blocks"), list) or not value["blocks"]:
        return False
    pairs = all(isinstance(pair, list) and len(pair) == 2 for pair in value["blocks"])
    counts = pairs and all(number(count, 0, MAX_COST) for pair in value["blocks"] for count in pair)
    fixed = all(number(value.get(key), 0, MAX_COST) for key in ("always", "once"))
    return counts and fixed and number(value.get("dense_above"), 0, 1e6) and is_int_in(value.get("span"), 1, 10_000)


def _audit(value: Any) -> bool:
    checks = value.get("checks") if isinstance(value, dict) else None
    return isinstance(checks, list) and all(
        isinstance(check, dict) and isinstance(check.get("check"), str) and type(check.get("passed")) is bool
        for check in checks
    )


# Field: (expected value, function that checks a value, whether it is required in a file with a `format`).
_FIELDS: dict[str, tuple[str, Callable[[Any], Any], bool]] = {
    "sha256": ("64 hexadecimal digits", lambda x: isinstance(x, str) and re.fullmatch("[0-9a-f]{64}", x), True),
    "network": (
        "the name of a network, or null",
        lambda x: x is None or (isinstance(x, str) and x in (*models.NETWORKS, models.CUSTOM)),
        True,
    ),
    "config": ("the configuration of a network, or null", lambda x: x is None or isinstance(x, dict), True),
    "scale": (f"an integer from 1 to {MAX_SCALE}", lambda x: is_int_in(x, 1, MAX_SCALE), True),
    "precision": (f"one of {', '.join(PRECISIONS)}", lambda x: isinstance(x, str) and x in PRECISIONS, True),
    "receptive_field": (
        f"null or an integer from 1 to {MAX_SIDE}",
        lambda x: x is None or is_int_in(x, 1, MAX_SIDE),
        True,
    ),
    "smallest_side": (f"an integer from 1 to {MAX_SIDE}", lambda x: is_int_in(x, 1, MAX_SIDE), False),
    "value_range": ("[0, 1], [0, 255] or [-1, 1]", _range, False),
    "layout": ("nhwc or nchw", lambda x: x in ("nhwc", "nchw"), False),
    "channels": ("3 or 1", lambda x: type(x) is int and x in ORDERS, False),
    "order": ("rgb, bgr, y or y_full", lambda x: any(x in orders for orders in ORDERS.values()), False),
    "signatures": ("a list of names", _names, False),
    "exits": ("a list of exits that docs/reference/sidecar.md describes", _exits, False),
    "spare_channels": ("a list of channels, the channels that they copy, and their shifts", _copies, False),
    "desired_depth": ("null or [0, number of blocks]", _depths, False),
    "multiply_adds": ("null or the counts that docs/reference/sidecar.md describes", lambda x: x is None or _costs(x), False),
    "audit": ("an object with a list of checks", _audit, True),
}
