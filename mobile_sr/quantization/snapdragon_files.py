"""Additional files for Snapdragon NPUs: a QDQ ONNX and a .tflite compiled for each chip, made from an 8-bit .tflite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mobile_sr.converters import to_qdq_onnx
from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.devices import snapdragon
from mobile_sr.errors import UserError
from mobile_sr.files import sha256


def check(chips: Sequence[str], target: str | None) -> list[str]:
    """Returns Snapdragon chips by their names in `snapdragon.CHIPS`, without duplicates.

    Args:
        chips: their names.
        target: name of the export's target.

    Raises:
        UserError: a chip is unknown, the target is another one, or the extra is missing.
    """
    if chips and target != "snapdragon":
        raise UserError(f"--soc {','.join(chips)}: requires --target snapdragon")
    names = list(dict.fromkeys(snapdragon.check_chip(chip) for chip in chips))
    if names:
        snapdragon.qualcomm_libraries()
    return names


def make(data: bytes, file: Path, chips: Sequence[str]) -> tuple[dict[Path, bytes], dict[str, Any]]:
    """Convert a .tflite to QDQ ONNX, NAME_qdq.onnx, and compile it for chips, NAME_CHIP.tflite.

    Args:
        data: bytes of the .tflite, uint8 or int8 and of fixed size.
        file: its path.
        chips: names of `check`.

    Returns:
        ({path: bytes}, entries of the sidecar of `file`: {"qdq_onnx": {"file", "sha256", "size_bytes"}, "compiled": {chip:
        {"file", "sha256", "size_bytes", "compiler", "nodes", "taken", "refused", "partitions"}}}).

    Raises:
        UserError: an operator is not supported, a package is missing, or the compiler fails.
    """
    graph = flatbuffer.parse(data)
    shape = tuple(graph.tensors[graph.image_inputs()[0]].shape)
    try:
        onnx = to_qdq_onnx.convert(data, shape)
    except ImportError as error:
        raise UserError(f"--soc needs onnx for the QDQ file: pip install 'mobile-sr[onnx]' ({error})") from None
    except ValueError as error:
        raise UserError(f"{file.name}: cannot be written as QDQ ONNX ({error})") from None
    path = file.with_name(f"{file.stem}_qdq.onnx")
    files = {path: onnx}
    entry: dict[str, Any] = {}
    for chip in chips:
        compiled = snapdragon.compile_for(data, file.name, chip)
        target = file.with_name(f"{file.stem}_{chip}.tflite")
        files[target] = compiled.data
        entry[chip] = {**_facts(target, compiled.data), "compiler": compiled.compiler, **compiled.residency.facts()}
    return files, {"qdq_onnx": _facts(path, onnx), "compiled": entry}


def _facts(path: Path, data: bytes) -> dict[str, Any]:
    return {"file": path.name, "sha256": sha256(data), "size_bytes": len(data)}
