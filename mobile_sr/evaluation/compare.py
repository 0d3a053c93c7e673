"""The drop-vs-fp32 report: two models on the same images, what the second loses, and where one sees it."""

from pathlib import Path

import numpy as np

from mobile_sr.adadsr import depth_map
from mobile_sr.converters.tflite import audit, delegates
from mobile_sr.evaluation import evaluate
from mobile_sr.files import sha256
from mobile_sr.imaging import flat_colours, metrics
from mobile_sr.imaging.resize import imresize
from mobile_sr.inference import litert, model_files, model_io, sidecar, trial, upscaler

CROP = 96  # HR pixels a side
WORST = 4  # images shown as crops
HEAT_MAP = 320  # pixels of the longer side of a heat map, at most


def compare(reference, model, folder, space="y", progress=None):
    """Measure two Upscalers of one scale on a folder.

    Returns: (report, crops). The report is JSON-able: {"protocol", "reference": {"name", "psnr", "ssim", ...}, "model":
    {...}, "drop_db", "images": [{"name", "reference_psnr", "model_psnr", "drop_db"}], "skipped"}; drop_db is the mean
    PSNR of the reference less that of the model. Where the model takes a desired depth, or else the reference, images
    have {"depth": {"mean", "desired"}} in blocks, and the report the means and {"of", "deepest"}; where the model is routed, it
    has {"routing": route.Tally.summary}. Both sides have {"colour_error": flat_colours.measure}. Crops, of the WORST
    images by drop, have dicts of [h, w, 3] uint8 arrays: hr, bicubic, reference, model, difference; with depths also the
    whole image's heat map, at most HEAT_MAP pixels a side.
    Raises: UserError when no image is usable.
    """
    scale = reference.scale
    sides = {"reference": reference, "model": model, "bicubic": upscaler.load("bicubic", scale)}
    mapped = next((key for key in ("model", "reference") if sides[key].max_depth is not None), None)
    rows, problems, worst, scored = [], [], [], {"reference": [], "model": [], "bicubic": []}
    for name, hr, lr, gray in evaluate.each_pair(folder, scale, problems):
        pictures = {key: side(lr) for key, side in sides.items() if key != mapped}
        depth, heat_map = {}, {}
        if mapped:
            pictures[mapped], depth["depth"], heat_map["heat_map"] = _with_depth(sides[mapped], lr)
        scores = {key: evaluate.score(picture, hr, space, scale, gray) for key, picture in pictures.items()}
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
                "differing_pixels": float(np.mean(np.any(pictures["reference"] != pictures["model"], axis=2))),
                "largest_difference": int(_difference(pictures["reference"], pictures["model"]).max()),
                **depth,
            }
        )
        worst.append((drop if drop is not None else -1.0, len(rows) - 1, {"hr": hr, **pictures}, heat_map))
        worst = sorted(worst, key=lambda entry: -entry[0])[:WORST]
        if progress:
            progress(len(rows), name)
    means = {key: evaluate.mean(values) for key, values in scored.items()}
    report = {
        "protocol": metrics.protocol(scale, space),
        "scale": scale,
        "data": folder_name(folder),
        "reference": {"name": reference.name, **means["reference"], **_facts(reference)},
        "model": {"name": model.name, **means["model"], **_facts(model)},
        "bicubic": means["bicubic"],
        "drop_db": _drop(means["reference"]["psnr"], means["model"]["psnr"]),
        "ssim_drop": _drop(means["reference"]["ssim"], means["model"]["ssim"]),
        "images": rows,
        "skipped": problems,
    }
    report |= model.summary()
    for key in ("reference", "model"):  # after the tally, which counts natural images only
        report[key]["colour_error"] = flat_colours.measure(sides[key], scale, sides[key].fixed)
    if mapped:
        means = {what: float(np.mean([row["depth"][what] for row in rows])) for what in ("mean", "desired")}
        report["depth"] = {"of": mapped, **means, "deepest": sides[mapped].max_depth}
    return report, [{"row": rows[index], **_crop(pictures), **heat_map} for _, index, pictures, heat_map in worst]


def _with_depth(model, lr):
    """(picture, {"mean", "desired"} depth in blocks, heat map over the LR image) of a model that takes a desired depth."""
    desired = model.depth_for(lr)
    picture, found = model.with_depth_map(lr, depth=desired)
    heat_map = depth_map.heat_map(lr, found, model.max_depth, opacity=0.8)  # small pictures: the legend's colours tell more
    shrunk = imresize(heat_map, min(1.0, HEAT_MAP / max(heat_map.shape)))
    return picture, {"mean": float(found.mean()), "desired": float(desired)}, shrunk


def _facts(model):
    return file_facts(model.name) | model_io.facts(model.io, model.figures)


def folder_name(folder):
    """How a report calls its images."""
    return str(folder) if isinstance(folder, (str, Path)) else "scikit-image: " + ", ".join(name for name, _ in folder)


def file_facts(name):
    """Size, hash and, for a .tflite, audit facts of the file behind a model name; {} for bicubic."""
    if name == "bicubic":
        return {}
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


def inspect(model):
    """The facts of a .tflite, which may be given with options as in 'net.tflite@signature=NAME'.

    Returns: {"ops", "partitions", "refused": delegates.refused(), "inputs", "outputs", "size_bytes"}, the checks of its
        sidecar, and where the file has several signatures, their names and which one this is.
    Raises: UserError when the file is missing or damaged, or an option does not fit it.
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
        litert.TFLiteModel(path, options=options)  # raises UserError for options that do not fit
    facts = audit.describe(graph, len(data))
    partitions = litert.delegate_partitions(runs, path)
    facts = {"ops": facts.pop("ops"), "partitions": partitions, "refused": delegates.refused(graph), **facts}
    if len(graph.signatures) > 1:
        facts |= {"signatures": graph.signatures, "signature": graph.signature}
    if known.checks:
        facts["checks"] = known.checks
    return facts


def _drop(reference, model):
    if reference is None or model is None or not np.isfinite([reference, model]).all():
        return None
    return reference - model


def _difference(a, b):
    return np.abs(a.astype(np.int16) - b.astype(np.int16))


def _crop(pictures):
    """The CROP x CROP window in which the model differs most from the reference, and that difference, amplified."""
    difference = _difference(pictures["reference"], pictures["model"])
    height, width = (min(CROP, side) for side in difference.shape[:2])
    error = (difference.astype(np.float64) ** 2).sum(axis=2)
    table = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    place = (slice(top, top + height), slice(left, left + width))
    crops = {key: picture[place] for key, picture in pictures.items()}
    amplify = 32
    crops["difference"] = np.clip(difference[place].astype(np.int32) * amplify, 0, 255).astype(np.uint8)
    place = [int(left), int(top), width, height]
    return {"pictures": crops, "place": place, "size": difference.shape[:2], "amplified": amplify}
