"""Comparison of two models, such as float and quantized, on the same images: PSNR drop and the most different crops."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.converters.tflite import audit, delegates
from mobile_sr.evaluation import evaluate, instructions
from mobile_sr.files import sha256
from mobile_sr.imaging import flat_colours, metrics
from mobile_sr.imaging.degradation import SeededDegradation
from mobile_sr.importing import foreign
from mobile_sr.inference import litert, model_files, model_io, sidecar, trial, upscaler
from mobile_sr.inference.upscaler import Upscaler

CROP = 96  # HR pixels a side
WORST = 4  # images shown as crops
_AMPLIFY = 32  # factor by which crops show the difference


def compare(
    reference: Upscaler,
    model: Upscaler,
    folder: evaluate.ImageSource,
    space: str = "y",
    progress: evaluate.Progress | None = None,
    degraded: SeededDegradation | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measure two models of the same scale on a folder.

    Args:
        reference: the model to compare with, such as the float file.
        model: the model under test, such as the integer file.
        folder: as for `evaluate.each_pair`.
        space: 'y' or 'rgb'.
        progress: called after each image.
        degraded: what degrades the LR images.
    Returns: (report, crops).

        The report is JSON-able: {"protocol", "reference": {"name", "psnr", "ssim", ...}, "model": {...}, "drop_db",
        "images": [{"name", "reference_psnr", "model_psnr", "drop_db", ...}], "skipped"}. drop_db is the mean PSNR of the
        reference minus that of the model. Both models have {"colour_error": `flat_colours.measure`} and
        `Upscaler.where`. If a model has
        details (the model, or else the reference), each image has the figures of `Upscaler.with_details`, and the report has
        `Upscaler.summarize_details`: "depth" for a desired depth. With `degraded` each image also has the "degradation" of
        `evaluate.degrade`. It also has `Upscaler.summary` of the model: "routing" for
        a routed one.

        The crops are those of the WORST images by drop, the worst first: {"row": entry of "images", "images": {"hr",
        "bicubic", "reference", "model", "difference"}: [h, w, 3] uint8 each, "window": [left, top, width, height] in HR
        pixels, "size": (H, W) of the whole image, "amplified": factor of the difference}, and the images of
        `Upscaler.with_details`: the "heat_map" of the depth.
    Raises: UserError when no image is usable.
    """
    scale = reference.scale
    sides = {"reference": reference, "model": model, "bicubic": upscaler.load("bicubic", scale)}
    detailed = next((key for key in ("model", "reference") if sides[key].has_details), "model")
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    worst: list[tuple[float, int, dict[str, np.ndarray], dict[str, np.ndarray]]] = []  # (drop, index of row, images, more)
    scored: dict[str, list[dict[str, float | None]]] = {key: [] for key in sides}
    for name, hr, lr, gray in evaluate.each_pair(folder, scale, problems):
        lr, amounts = evaluate.degrade(lr, hr, degraded)
        outputs = {key: side(lr) for key, side in sides.items() if key != detailed}
        outputs[detailed], figures, more_images = sides[detailed].with_details(lr)
        scores = {key: evaluate.score(sr, hr, space, scale, gray) for key, sr in outputs.items()}
        for key, value in scores.items():
            scored[key].append(value)
        drop = _drop(scores["reference"]["psnr"], scores["model"]["psnr"])
        rows.append(
            {
                "name": name,
                "bicubic_psnr": scores["bicubic"]["psnr"],
                "reference_psnr": scores["reference"]["psnr"],
                "model_psnr": scores["model"]["psnr"],
                "drop_db": drop,
                "reference_ssim": scores["reference"]["ssim"],
                "model_ssim": scores["model"]["ssim"],
                "differing_pixels": float(np.mean(np.any(outputs["reference"] != outputs["model"], axis=2))),
                "largest_difference": int(_difference(outputs["reference"], outputs["model"]).max()),
                **figures,
                **amounts,
            }
        )
        worst.append((drop if drop is not None else -1.0, len(rows) - 1, {"hr": hr, **outputs}, more_images))
        worst = sorted(worst, key=lambda entry: -entry[0])[:WORST]
        if progress:
            progress(len(rows), name)
    means = {key: evaluate.mean(values) for key, values in scored.items()}
    report: dict[str, Any] = {
        "protocol": metrics.protocol(scale, space, degraded),
        "scale": scale,
        "data": folder_name(folder),
        "reference": {"name": reference.name, **reference.where(), **means["reference"], **_facts(reference)},
        "model": {"name": model.name, **model.where(), **means["model"], **_facts(model)},
        "bicubic": means["bicubic"],
        "drop_db": _drop(means["reference"]["psnr"], means["model"]["psnr"]),
        "ssim_drop": _drop(means["reference"]["ssim"], means["model"]["ssim"]),
        "images": rows,
        "skipped": problems,
    }
    report |= model.summary()
    for key in ("reference", "model"):  # after model.summary(), which counts natural images only
        report[key]["colour_error"] = flat_colours.measure(sides[key], scale, sides[key].fixed)
    report |= sides[detailed].summarize_details(rows, detailed)
    return report, [{"row": rows[index], **_crop(images), **more} for _, index, images, more in worst]


def _facts(model: Upscaler) -> dict[str, Any]:
    return ({} if model.is_object else file_facts(model.name)) | model_io.facts(model.io, model.figures)


def folder_name(folder: evaluate.ImageSource) -> str:
    """Returns the name of the images in a report: the folder's path, or the names of the sample images."""
    return str(folder) if isinstance(folder, (str, Path)) else "scikit-image: " + ", ".join(name for name, _ in folder)


def file_facts(name: str) -> dict[str, Any]:
    """Returns {"size_bytes", "sha256"} of the file of a model name, and "audit" (`inspect`) of a .tflite; {} for bicubic.

    Args:
        name: path or zoo name of a model, with options after '@'; of a run folder, best.npz counts.
    Raises: UserError when there is no such model or the file is damaged.
    """
    if name == "bicubic":
        return {}
    if model_files.needs_conversion(model_files.split(name)[0]):
        return foreign.facts(name)
    path, _ = model_files.locate(name)
    if path.is_dir():
        path = path / "best.npz"
    data = path.read_bytes()
    kind = upscaler.extension(path)
    if kind:
        return {"size_bytes": sum(file.stat().st_size for file in kind.files(path)), "sha256": sha256(data)}
    facts = {"size_bytes": len(data), "sha256": sha256(data)}
    if path.suffix == ".tflite":
        facts["audit"] = inspect(name)
    return facts


def inspect(model: str | Path) -> dict[str, Any]:
    """Returns the facts of a .tflite file.

    Args:
        model: path or zoo name, with options as in 'net.tflite@signature=NAME'.
    Returns: {"ops", "partitions", "refused": `delegates.refused`, "arm64": `instructions.estimate`, "inputs", "outputs",
        "size_bytes"}, "checks" of the sidecar if there is one, and "signatures" and "signature" (the one used) if the file has
        several.
    Raises: UserError when the file is missing or damaged, or an option does not match it.
    """
    path, options = model_files.locate_tflite(model)
    data = litert.read_file(path)
    known = sidecar.read(path, data)
    graph = litert.parse_graph(data, path, options.get("signature", model_files.own_signature(known)))
    sidecar.check_graph(known, graph, path)
    runs = litert.as_first_subgraph(data, graph, path)
    if not known.sha256:
        trial.run(runs, path)
    if options.keys() - {"signature"}:
        litert.TFLiteModel(path, options=options)  # raises UserError for options that do not match
    facts = audit.describe(graph, len(data))
    partitions = litert.delegate_partitions(runs, path)
    judged = {"refused": delegates.refused(graph), "arm64": instructions.estimate(runs, graph)}
    facts = {"ops": facts.pop("ops"), "partitions": partitions, **judged, **facts}
    if len(graph.signatures) > 1:
        facts |= {"signatures": graph.signatures, "signature": graph.signature}
    if known.checks:
        facts["checks"] = known.checks
    return facts


def _drop(reference: float | None, model: float | None) -> float | None:
    if reference is None or model is None or not np.isfinite([reference, model]).all():
        return None
    return reference - model


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(np.int16) - b.astype(np.int16))


def _crop(images: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The CROP x CROP window in which the model differs most from the reference, with the amplified difference."""
    difference = _difference(images["reference"], images["model"])
    height, width = (min(CROP, side) for side in difference.shape[:2])
    error = (difference.astype(np.float64) ** 2).sum(axis=2)
    table = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)))  # summed-area table
    sums = table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]
    top, left = map(int, np.unravel_index(int(sums.argmax()), sums.shape))
    window = (slice(top, top + height), slice(left, left + width))
    crops = {key: image[window] for key, image in images.items()}
    crops["difference"] = np.clip(difference[window].astype(np.int32) * _AMPLIFY, 0, 255).astype(np.uint8)
    return {"images": crops, "window": [left, top, width, height], "size": difference.shape[:2], "amplified": _AMPLIFY}
