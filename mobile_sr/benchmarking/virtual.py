"""Figures of .tflite files on a virtual device: supported operators, output values, counts. Never a time."""

from __future__ import annotations

import datetime
import importlib.metadata
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.benchmarking import benchmark
from mobile_sr.converters.tflite import truncation
from mobile_sr.devices.device import Device
from mobile_sr.errors import UserError
from mobile_sr.files import sha256_file
from mobile_sr.imaging.sample_images import generated
from mobile_sr.inference import litert, model_io
from mobile_sr.inference.model_files import locate_tflite

DEFAULT_SIZE = (64, 64)  # LR (H, W) of a file with a dynamic size
RUNS = 2  # the first one also sets up what later ones reuse; the last one counts
COUNTS = ("instructions", "instructions_per_lr_pixel")


def measure(
    models: Sequence[str | Path],
    device: Device,
    size: tuple[int, int] | None = None,
    layers: bool = False,
    progress: Callable[[int, str], object] | None = None,
    image: np.ndarray | None = None,
) -> dict[str, Any]:
    """Runs .tflite files on a virtual device, or compiles them for one that only compiles.

    Args:
        models: .tflite files or packaged ones ('xlsr_x3:uint8'), with options after '@'. Ratios refer to the first one.
        device: the device.
        size: LR (H, W); None means the fixed size of the files that have one, else DEFAULT_SIZE.
        layers: also count the instructions of each operator, on a device that counts them.
        progress: called with (models or operators done, description).
        image: [H, W, 3] uint8, the LR image to run; None for a generated one. Its size replaces `size`.

    Returns:
        A JSON-able dict, see docs/reference/benchmark.schema.json: {"format", "where": "virtual", "environment", "results"}.

    Raises:
        UserError: a file is unusable, has another size, or the device refuses it; or layers of a device that counts none.
    """
    files = [_open(model, device) for model in models]
    size = size if image is None else (image.shape[0], image.shape[1])
    height, width = size = benchmark.common_size(files, size or next((f.fixed for f in files if f.fixed), DEFAULT_SIZE))
    image = generated(height, width) if image is None else image
    report: dict[str, Any] = {
        "format": benchmark.FORMAT,
        "where": "virtual",
        "environment": _environment(device, size),
        "results": [],
    }
    for model, file in zip(models, files, strict=True):
        report["results"].append(_result(str(model), file, device, image, layers, progress))
        file.close()
        if progress:
            progress(len(report["results"]), "models")
    first = report["results"][0]["instructions"]
    for row in report["results"]:
        row["ratio_to_first"] = row["instructions"] / first if first else None
    return report


def compile_for(model: str | Path, device: Device) -> dict[str, Any]:
    """Opens a .tflite on a virtual device without running it, for `inspect`.

    Args:
        model: a .tflite file or a packaged one, with options after '@'.
        device: the device.

    Returns:
        JSON-able {"device", "label", "height", "width", "residency": `Residency.facts`, "figures": those of the compiler}. The
        size is DEFAULT_SIZE for a file with a dynamic size.

    Raises:
        UserError: the file is unusable, or the device refuses it.
    """
    file = _open(model, device)
    height, width = file.fixed or DEFAULT_SIZE
    file.prepare((height, width))
    residency, figures = file.device_facts()
    file.close()
    found = {key: value for key, value in figures.items() if value is not None}
    about = {"device": device.name, "label": device.label, "height": height, "width": width}
    return {**about, "residency": residency.facts(), "figures": found}


def _open(model: str | Path, device: Device) -> litert.TFLiteModel:
    path, options = locate_tflite(model)
    return litert.TFLiteModel(path, 1, options, device)


def _result(
    model: str,
    file: litert.TFLiteModel,
    device: Device,
    image: np.ndarray,
    layers: bool,
    progress: Callable[[int, str], object] | None,
) -> dict[str, Any]:
    assert file.path is not None
    on_host = file.on_host
    sample = benchmark.check(model, on_host)
    file.prepare((image.shape[0], image.shape[1]))
    against_host = None
    if device.runs:
        file.set(image)
        for _ in range(RUNS):
            file.invoke()
        against_host = _difference(file, image)
    residency, figures = file.device_facts()
    result = {
        "model": model,
        "sha256": sha256_file(file.path),
        "size_bytes": file.path.stat().st_size,
        "device": device.name,
        "residency": residency.facts(),
        **{key: figures.pop(key, None) for key in COUNTS},
        "figures": figures,
        "against_host": against_host,
        **model_io.facts(file.io, sample),
    }
    if layers:
        if result["instructions"] is None:
            raise UserError(f"--layers: {device.name} does not count instructions; use virtual:arm64")
        result["layers"] = layer_counts(file, image, progress)
    return result


def _difference(file: litert.TFLiteModel, image: np.ndarray) -> dict[str, float]:
    """Compares the SR output of the last run with XNNPACK's on this machine, as raw values (levels of an integer file)."""
    host = file.on_host
    host.set(image)
    host.invoke()
    ours, theirs = (np.asarray(one.raw(), np.float64) for one in (file, host))
    difference = np.abs(ours - theirs)
    host.close()
    return {"differing_fraction": float(np.mean(difference > 0)), "max_difference": float(difference.max())}


def layer_counts(
    file: litert.TFLiteModel, image: np.ndarray, progress: Callable[[int, str], object] | None = None
) -> list[dict[str, Any]]:
    """Counts each operator's instructions as the difference between the graph's prefixes that end after and before it.

    Unlike times, the counts repeat to a few instructions in ten thousand. A delegate fuses and lays out each prefix
    differently, so small counts can be negative.

    Args:
        file: the model, on a device that counts instructions.
        image: [H, W, 3] uint8.
        progress: called with (operators done, description).

    Returns:
        [{"index", "op", "output", "instructions", "instructions_per_lr_pixel"}].
    """
    tensors = litert.parse_graph(file.data, file.name).tensors
    rows: list[dict[str, Any]] = []
    before, pixels = 0, math.prod(image.shape[:2])
    for index, op, data in truncation.prefixes(file.data):
        prefix = file.with_graph(data, f"{file.name} up to operator {index}")
        prefix.set(image)
        for _ in range(RUNS):
            prefix.invoke()
        count = prefix.device_facts()[1]["instructions"]
        prefix.close()
        row = {"index": index, "op": op.name, "output": tensors[op.outputs[0]].name}
        rows.append({**row, "instructions": count - before, "instructions_per_lr_pixel": (count - before) / pixels})
        before = count
        if progress:
            progress(len(rows), f"layers of {file.name}")
    return rows


def _environment(device: Device, size: tuple[int, int]) -> dict[str, Any]:
    return {
        "device": device.name,
        "label": device.label,
        "runs_models": device.runs,
        "litert": importlib.metadata.version("ai-edge-litert"),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "height": size[0],
        "width": size[1],
    }
