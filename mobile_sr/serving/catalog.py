"""The list of models that the browser page reads, models.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mobile_sr import zoo
from mobile_sr.errors import UserError
from mobile_sr.files import read_json, sha256
from mobile_sr.inference import litert, tensor_values
from mobile_sr.inference.model_files import locate_tflite

DTYPES = ("float32", "uint8")  # of inputs and outputs; LiteRT.js reads and writes no other image tensors


def facts(model: str | Path) -> tuple[dict[str, Any], Path]:
    """Collects what the page needs to know about a model.

    Args:
        model: a .tflite file or a packaged one ('xlsr_x3:uint8'), with options after '@'.

    Returns:
        (entry of models.json without `file`, path of the file). The entry has the name, sha256, size_bytes, scale,
        receptive_field (LR pixels, null if unknown or the whole image), smallest_side (LR pixels), values (keys of
        `tensor_values.RANGES` as text, and the channel order) and layout of the input.

    Raises:
        UserError: the file is unusable, or the page cannot run it.
    """
    path, options = locate_tflite(model)
    data = litert.read_file(path)
    file = litert.TFLiteModel(path, 1, options)
    graph = litert.parse_graph(file.data, str(model))
    if len(graph.inputs) != 1 or len(graph.outputs) != 1 or len(graph.signatures) > 1:
        raise UserError(f"{model}: the browser page runs networks with one input and one output, both images")
    for tensor in (file.image, file.sr):
        if tensor.dtype not in DTYPES:
            raise UserError(f"{model}: its images are {tensor.dtype}; LiteRT.js supports float32 and uint8")
    assert file.io.range_in in tensor_values.RANGES
    values = {"range_in": str(file.io.range_in), "range_out": str(file.io.range_out), "order": file.io.order}
    known = file.sidecar
    entry = {
        "name": str(model) if path.parent == zoo.FOLDER else path.name,
        "sha256": sha256(data),
        "size_bytes": len(data),
        "scale": file.scale,
        "receptive_field": known.receptive_field,
        "smallest_side": known.smallest_side,
        "values": values,
        "layout": file.layout.input,
    }
    file.close()
    return entry, path


def packaged() -> list[str]:
    """Lists the packaged .tflite files that the page can run, xlsr_x3 first: those without several signatures."""
    sidecars = {name: read_json(zoo.resolve(f"{name}:uint8").with_suffix(".json")) for name in zoo.names()}
    names = sorted(name for name, sidecar in sidecars.items() if not sidecar.get("signatures"))
    names.sort(key=lambda name: name != "xlsr_x3")
    return [f"{name}:{variant}" for name in names for variant in ("uint8", "float32")]


def catalog(models: Sequence[str | Path], served: bool) -> tuple[dict[str, Any], dict[str, Path]]:
    """Makes models.json.

    Args:
        models: model strings, see `facts`.
        served: whether the page can send results to where it comes from.

    Returns:
        (content of models.json, {address of a model's file relative to the page: its path}).

    Raises:
        UserError: as `facts`.
    """
    entries: list[dict[str, Any]] = []
    files: dict[str, Path] = {}
    for number, model in enumerate(models):
        entry, path = facts(model)
        taken = sum(other["name"] == entry["name"] for other in entries)
        name = f"{entry['name']} ({number + 1})" if taken else entry["name"]
        address = f"models/{number}.tflite"
        entries.append({**entry, "name": name, "file": address})
        files[address] = path
    return {"format": "mobile-sr models 1", "served": served, "models": entries}, files
