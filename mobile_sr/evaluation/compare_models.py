"""Comparison of any number of models on the same images: scores, gain over bicubic, colour error, size, instructions, time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.benchmarking import benchmark
from mobile_sr.converters import user_code
from mobile_sr.errors import UserError
from mobile_sr.evaluation import compare, evaluate
from mobile_sr.imaging import metrics, perceptual, sample_images
from mobile_sr.imaging.degradation import SeededDegradation
from mobile_sr.inference import upscaler
from mobile_sr.inference.upscaler import Upscaler

TIME_SIZE = (128, 128)  # LR (H, W) of the timed image, unless a model has a larger fixed size
ROUNDS = 5  # timed rounds, interleaved; one more is not timed

Metric = Callable[[np.ndarray, np.ndarray], float]  # of (SR, HR), both [H, W, 3] uint8


def compare_models(
    models: Sequence[Upscaler],
    reference: Upscaler | None,
    folder: evaluate.ImageSource,
    space: str = "y",
    progress: evaluate.Progress | None = None,
    own_metrics: Mapping[str, Metric] | None = None,
    threads: int = 1,
    degraded: SeededDegradation | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measure several models of one scale on a folder.

    Args:
        models: one or more models.
        reference: a further model, such as a float network, from which the drop is counted; None for none.
        folder: as for `evaluate.each_pair`.
        space: 'y' or 'rgb'.
        progress: called after each image and each timed round.
        own_metrics: further metrics by name. They get the images without the shaved border.
        threads: CPU threads that the models were loaded with. With one, the time is CPU time, else wall time.
        degraded: what degrades the LR images, for all models and bicubic; each of "images" then has a "degradation".
    Returns: (record, crops).

        The record is JSON-able: {"protocol", "scale", "data", "has_reference", "models": [{"name", "psnr", "ssim", "gain_db"
        (over bicubic), "drop_db" (from the reference; None without), "colour_error": `compare.colour_error`, "size_bytes",
        "instructions_per_lr_pixel" (None unless the file is an 8-bit .tflite), "time_ms" (None on a virtual device),
        "metrics": {name: mean}, ...}], "bicubic": {"psnr", "ssim", "metrics"}, "images": [{"name", "bicubic_psnr",
        "models": [{"psnr", "ssim", "drop_db", "metrics"}]}], "time": {"of", "size", "rounds"}, "skipped"}. The reference is
        the first of "models". Each model also has `Upscaler.where`, `Upscaler.summary` and `Upscaler.summarize_details`.

        The crops are those of `compare.WORST` images, on which the models differ most in PSNR, the worst first: {"row":
        entry of "images", "hr", "bicubic": [H, W, 3] uint8, "outputs": one [H, W, 3] uint8 for each model, "window": [left,
        top, width, height] in HR pixels}.
    Raises: UserError when the scales differ, no image is usable, or an own metric fails.
    """
    every = [*([] if reference is None else [reference]), *models]
    scale = every[0].scale
    for other in every:
        if other.scale != scale:
            raise UserError(f"{every[0].name} has scale {scale}, {other.name} has {other.scale}; compare models of one scale")
    own_metrics = own_metrics or {}
    sides = {str(k): model for k, model in enumerate(every)}
    keys = list(sides)
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    worst: list[tuple[float, int, compare.Outputs]] = []  # (spread of PSNR, index of row, images)
    scored: dict[str, list[dict[str, Any]]] = {key: [] for key in (*keys, "bicubic")}
    figures: dict[str, list[dict[str, Any]]] = {key: [] for key in keys}
    for found in compare.each_output(
        sides | {"bicubic": upscaler.load("bicubic", scale)}, folder, space, problems, degraded=degraded
    ):
        for key in scored:
            values = {name: _own(name, own_metrics[name], found, key, scale) for name in own_metrics}
            scored[key].append({**found.scores[key], "metrics": values})
        for key in keys:
            figures[key].append(found.all_figures[key])
        first = found.scores[keys[0]]["psnr"] if reference else None
        row = [{**scored[key][-1], "drop_db": compare.subtract(first, found.scores[key]["psnr"])} for key in keys]
        rows.append({"name": found.name, "bicubic_psnr": found.scores["bicubic"]["psnr"], "models": row, **found.figures})
        finite = [score["psnr"] for score in found.scores.values() if score["psnr"] is not None and np.isfinite(score["psnr"])]
        worst.append((max(finite) - min(finite) if finite else -1.0, len(rows) - 1, found))
        worst = sorted(worst, key=lambda entry: -entry[0])[: compare.WORST]
        if progress:
            progress(len(rows), found.name)
    means = {key: _mean(values, own_metrics) for key, values in scored.items()}
    summaries = [model.summary() for model in every]  # before further runs: they count natural images only
    times = time(every, progress)
    record: dict[str, Any] = {
        "protocol": metrics.protocol(scale, space, degraded),
        "scale": scale,
        "data": compare.folder_name(folder),
        "has_reference": reference is not None,
        "models": [],
        "bicubic": means["bicubic"],
        "images": rows,
        "time": {"of": "CPU time" if threads == 1 else "wall time", "size": list(time_size(every)), "rounds": ROUNDS},
        "skipped": problems,
    }
    for key, model, measured, summary in zip(keys, every, times, summaries, strict=True):
        details = model.summarize_details(figures[key], "model")
        about = {**compare.facts(model), **summary, **details, "colour_error": compare.colour_error(model)}
        psnr = means[key]["psnr"]
        record["models"].append(
            {
                "name": model.name,
                **model.where(),
                **means[key],
                "gain_db": compare.subtract(psnr, means["bicubic"]["psnr"]),
                "drop_db": compare.subtract(means[keys[0]]["psnr"] if reference else None, psnr),
                "instructions_per_lr_pixel": ((about.get("audit") or {}).get("arm64") or {}).get("per_lr_pixel"),
                "time_ms": measured and measured["cpu_ms" if threads == 1 else "wall_ms"],
                "times": measured,
                **about,
            }
        )
    return record, [_crop(rows[index], found, keys) for _, index, found in worst]


def _own(name: str, metric: Metric, found: compare.Outputs, key: str, shave: int) -> float | None:
    """One metric of one output without its border; None for an image with nothing left."""
    hr, sr = found.images["hr"], found.images[key]
    if min(hr.shape[:2]) <= 2 * shave:
        return None
    inner = (slice(shave, -shave), slice(shave, -shave))
    try:
        with user_code.reported(name, (UserError,)):
            value = float(metric(np.ascontiguousarray(sr[inner]), np.ascontiguousarray(hr[inner])))
    except user_code.UserCodeError as error:
        raise UserError(f"--metric {name}: {found.name}: {error}") from None
    if np.isnan(value):
        raise UserError(f"--metric {name}: {found.name}: the result is not a number")
    return value


def _mean(rows: Sequence[Mapping[str, Any]], own_metrics: Mapping[str, Metric]) -> dict[str, Any]:
    own = {name: evaluate.mean_of([row["metrics"] for row in rows], name) for name in own_metrics}
    return {**evaluate.mean(rows), "metrics": own}


def load_metrics(references: Sequence[str]) -> dict[str, Metric]:
    """Load further metrics: functions of the user's files, and perceptual metrics.

    Args:
        references: 'FILE.py:FUNCTION' each, or the name of a perceptual metric, see `perceptual.load`. The function gets
            (SR, HR), both [H, W, 3] uint8, and returns a number.
    Returns: {name of the function, or the whole text if two functions share a name: function}.
    Raises: UserError when there is no such function or metric, or its file fails.
    """
    names = [reference.rpartition(":")[2] for reference in references]
    loaded: dict[str, Metric] = {}
    for reference, name in zip(references, names, strict=True):
        if ":" not in reference and not reference.endswith(".py"):
            loaded[reference] = perceptual.load(reference)
            continue
        try:
            loaded[reference if names.count(name) > 1 else name] = user_code.load(reference, "lpips")
        except user_code.UserCodeError as error:
            raise UserError(f"--metric: {error}") from None
    return loaded


def time_size(models: Sequence[Upscaler]) -> tuple[int, int]:
    """Returns the LR (H, W) of the image on which models are timed: TIME_SIZE, or the largest fixed sides of the models."""
    sizes = [model.fixed for model in models if model.fixed] or [TIME_SIZE]
    return max(height for height, _ in sizes), max(width for _, width in sizes)


def time(models: Sequence[Upscaler], progress: evaluate.Progress | None = None) -> list[dict[str, float] | None]:
    """Time models on one image of `time_size`, interleaved, from the uint8 LR image to the uint8 SR image.

    Args:
        models: the models.
        progress: called after each round.
    Returns: {"cpu_ms", "wall_ms"} of each model, medians of ROUNDS rounds; None on a virtual device and for bicubic, which
        runs in NumPy.
    """
    image = sample_images.generated(*time_size(models))
    timed = [k for k, model in enumerate(models) if not model.device and model.name != "bicubic"]
    runs = [lambda model=models[k]: model(image) for k in timed]
    wall, cpu = benchmark.interleave(runs, ROUNDS, 1, progress)
    medians = np.median(wall, axis=1), np.median(cpu, axis=1)
    found = {k: {"cpu_ms": float(medians[1][row]), "wall_ms": float(medians[0][row])} for row, k in enumerate(timed)}
    return [found.get(k) for k in range(len(models))]


def _crop(row: Mapping[str, Any], found: compare.Outputs, keys: Sequence[str]) -> dict[str, Any]:
    """The window in which the models differ most; a single model is compared with bicubic."""
    outputs = [found.images[key] for key in keys]
    bicubic = found.images["bicubic"]
    window = compare.window(outputs if len(outputs) > 1 else [*outputs, bicubic])
    return {"row": row, "hr": found.images["hr"], "bicubic": bicubic, "outputs": outputs, "window": window}


def short_names(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns names of a record's models without folders where they stay distinct; ' on DEVICE' is added as in reports."""
    names = [Path(model["name"]).name or model["name"] for model in models]
    full = [name if names.count(name) == 1 else model["name"] for name, model in zip(names, models, strict=True)]
    return [f"{name} on {model['device']}" if "device" in model else name for name, model in zip(full, models, strict=True)]
