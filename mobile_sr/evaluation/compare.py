"""Comparison of two models, such as float and quantized, on the same images: PSNR drop and the most different crops."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
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


@dataclasses.dataclass
class Outputs:
    """One image and the outputs of several models for it.

    Attributes:
        name: of the image.
        images: "hr" and the SR output of each model by key: [H, W, 3] uint8.
        scores: `evaluate.score` of each model by key.
        gray: whether the HR file is a gray image.
        figures, more_images: of the detailed model, see `Upscaler.with_details`.
        all_figures: `Upscaler.with_figures` of each model by key.
    """

    name: str
    images: dict[str, np.ndarray]
    scores: dict[str, dict[str, float | None]]
    gray: bool
    figures: dict[str, Any]
    more_images: dict[str, np.ndarray]
    all_figures: dict[str, dict[str, Any]]


def each_output(
    sides: Mapping[str, Upscaler],
    folder: evaluate.ImageSource,
    space: str,
    problems: list[str],
    detailed: str | None = None,
    degraded: SeededDegradation | None = None,
) -> Iterator[Outputs]:
    """Yield the outputs of several models of one scale for every usable image.

    Args:
        sides: models by key.
        folder, problems: as for `evaluate.each_pair`.
        space: 'y' or 'rgb'.
        detailed: key of the model for `Upscaler.with_details`; None for none.
        degraded: what degrades the LR images; `Outputs.figures` then has the "degradation" of `evaluate.degrade`.
    Raises: UserError when no image is usable.
    """
    scale = next(iter(sides.values())).scale
    for name, hr, lr, gray in evaluate.each_pair(folder, scale, problems, scale):
        lr, amounts = evaluate.degrade(lr, hr, degraded)
        more: dict[str, np.ndarray] = {}
        outputs: dict[str, np.ndarray] = {}
        every: dict[str, dict[str, Any]] = {}
        for key, side in sides.items():
            if key == detailed:
                outputs[key], every[key], more = side.with_details(lr)
            else:
                outputs[key], every[key] = side.with_figures(lr)
        figures = every[detailed] if detailed is not None else {}
        scores = {key: evaluate.score(sr, hr, space, scale, gray) for key, sr in outputs.items()}
        yield Outputs(name, {"hr": hr, **outputs}, scores, gray, {**figures, **amounts}, more, every)


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

        The report is JSON-able: {"protocol", "reference": {"name", "psnr", "ssim", "gain_db", ...}, "model": {...}, "drop_db",
        "images": [{"name", "reference_psnr", "model_psnr", "drop_db", ...}], "skipped"}. drop_db is the mean PSNR of the
        reference minus that of the model; gain_db is the mean PSNR of a model minus that of bicubic. Both models have
        {"colour_error": `colour_error`} and `Upscaler.where`. If a model has details (the model, or else the reference), each
        image has the figures of `Upscaler.with_details`, and the report has `Upscaler.summarize_details`: "depth" for a
        desired depth. With `degraded` each image also has the "degradation" of `evaluate.degrade`. The report also has
        `Upscaler.summary` of the model: "routing" for a routed one.

        The crops are those of the WORST images by drop, the worst first: {"row": entry of "images", "images": {"hr",
        "bicubic", "reference", "model", "difference"}: [h, w, 3] uint8 each, "whole": {the same without "difference"}:
        [H, W, 3] uint8, "window": [left, top, width, height] in HR pixels, "size": (H, W) of the whole image, "amplified":
        factor of the difference}, and the images of `Upscaler.with_details`: the "heat_map" of the depth.
    Raises: UserError when no image is usable.
    """
    scale = reference.scale
    sides = {"reference": reference, "model": model, "bicubic": upscaler.load("bicubic", scale)}
    detailed = next((key for key in ("model", "reference") if sides[key].has_details), "model")
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    worst: list[tuple[float, int, Outputs]] = []  # (drop, index of row, images)
    scored: dict[str, list[dict[str, float | None]]] = {key: [] for key in sides}
    for found in each_output(sides, folder, space, problems, detailed, degraded):
        scores, images = found.scores, found.images
        for key, value in scores.items():
            scored[key].append(value)
        loss = subtract(scores["reference"]["psnr"], scores["model"]["psnr"])
        rows.append(
            {
                "name": found.name,
                "bicubic_psnr": scores["bicubic"]["psnr"],
                "reference_psnr": scores["reference"]["psnr"],
                "model_psnr": scores["model"]["psnr"],
                "drop_db": loss,
                "reference_ssim": scores["reference"]["ssim"],
                "model_ssim": scores["model"]["ssim"],
                "differing_pixels": float(np.mean(np.any(images["reference"] != images["model"], axis=2))),
                "largest_difference": int(_difference(images["reference"], images["model"]).max()),
                **found.figures,
            }
        )
        worst.append((loss if loss is not None else -1.0, len(rows) - 1, found))
        worst = sorted(worst, key=lambda entry: -entry[0])[:WORST]
        if progress:
            progress(len(rows), found.name)
    means = {key: evaluate.mean(values) for key, values in scored.items()}
    gains = {key: subtract(means[key]["psnr"], means["bicubic"]["psnr"]) for key in ("reference", "model")}
    report: dict[str, Any] = {
        "protocol": metrics.protocol(scale, space, degraded),
        "scale": scale,
        "data": folder_name(folder),
        "reference": {"name": reference.name, **reference.where(), **means["reference"], "gain_db": gains["reference"]},
        "model": {"name": model.name, **model.where(), **means["model"], "gain_db": gains["model"]},
        "bicubic": means["bicubic"],
        "drop_db": subtract(means["reference"]["psnr"], means["model"]["psnr"]),
        "ssim_drop": subtract(means["reference"]["ssim"], means["model"]["ssim"]),
        "images": rows,
        "skipped": problems,
    }
    report |= model.summary()
    for key in ("reference", "model"):  # after model.summary(), which counts natural images only
        report[key] |= {**facts(sides[key]), "colour_error": colour_error(sides[key])}
    report |= sides[detailed].summarize_details(rows, detailed)
    return report, [{"row": rows[index], **_crop(found.images), **found.more_images} for _, index, found in worst]


def facts(model: Upscaler) -> dict[str, Any]:
    """Returns the `file_facts` of a loaded model, and how its values are read."""
    return ({} if model.is_object else file_facts(model.model_string)) | model_io.facts(model.io, model.figures)


def colour_error(model: Upscaler) -> dict[str, Any]:
    """Returns `flat_colours.measure` of a model, with the mean output for each colour.

    The colours are {"colours": [{"colour": [r, g, b], "becomes": [r, g, b], "error": levels}]}.
    """
    outputs: list[np.ndarray] = []

    def run(image: np.ndarray) -> np.ndarray:
        outputs.append(model(image))
        return outputs[-1]

    result = flat_colours.measure(run, model.scale, model.fixed)
    colours = []
    for (image, areas), sr in zip(flat_colours.probes(model.fixed), outputs, strict=True):
        for name, rows, columns in areas:
            if "," in name:  # a colour; the others are ramps
                colour = image[rows.start, columns.start].astype(int)
                part = sr[tuple(slice(s.start * model.scale, s.stop * model.scale) for s in (rows, columns))]
                becomes = part.mean(axis=(0, 1)).round().astype(int).tolist()
                error = int(np.abs(part.astype(int) - colour).max())
                colours.append({"colour": colour.tolist(), "becomes": becomes, "error": error})
    return {**result, "colours": colours}


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


def subtract(a: float | None, b: float | None) -> float | None:
    """Returns a - b, such as a drop or a gain in dB; None if one of them is None or not finite."""
    return None if a is None or b is None or not np.isfinite([a, b]).all() else a - b


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(np.int16) - b.astype(np.int16))


def window(outputs: Sequence[np.ndarray]) -> list[int]:
    """Returns [left, top, width, height] of the window of at most CROP x CROP pixels in which images differ most.

    Args:
        outputs: two or more [H, W, 3] uint8 images.
    """
    spread = np.maximum.reduce(list(outputs)).astype(np.float64) - np.minimum.reduce(list(outputs))
    height, width = (min(CROP, side) for side in spread.shape[:2])
    error = (spread**2).sum(axis=2)
    table = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)))  # summed-area table
    sums = table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]
    top, left = map(int, np.unravel_index(int(sums.argmax()), sums.shape))
    return [left, top, width, height]


def _crop(images: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The window in which the model differs most from the reference, with the amplified difference."""
    left, top, width, height = place = window([images["reference"], images["model"]])
    crops = {key: image[top : top + height, left : left + width] for key, image in images.items()}
    difference = _difference(crops["reference"], crops["model"]).astype(np.int32)
    crops["difference"] = np.clip(difference * _AMPLIFY, 0, 255).astype(np.uint8)
    size = images["reference"].shape[:2]
    return {"images": crops, "whole": dict(images), "window": place, "size": size, "amplified": _AMPLIFY}
