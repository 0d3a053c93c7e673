"""PSNR and SSIM of one model over a folder, and the drop of a second model against a first."""

import math
import sys
from pathlib import Path

import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.imaging import images, layouts, metrics, pairs
from mobile_sr.imaging.resize import imresize
from mobile_sr.inference import model_io


def each_pair(folder, scale, problems):
    """Yield (name, HR, LR, gray) of every usable image of a folder; unusable ones are named and counted in `problems`.

    Args:
        folder: see data.find_pairs; or a list of (name, HR image).
        problems: list that receives one line per unusable file, also printed on standard error.
    Raises: UserError when no image at all is usable, when the scale is 1 without LR images, or as data.find_pairs.
    """
    if not isinstance(folder, (str, Path)):
        layouts.refuse_scale_one("sample images", scale, [(*pair, None) for pair in folder])
        for name, image in folder:
            yield name, *pairs.prepare_pair(image, None, scale, name), False
        return
    count = 0
    files = layouts.find_pairs(folder, scale, part="valid")
    layouts.refuse_scale_one(folder, scale, files)
    for name, hr_file, lr_file in files:
        try:
            hr, lr = pairs.read_pair(hr_file, lr_file, scale)
            gray = images.is_gray_file(hr_file)
        except UserError as error:
            problems.append(str(error))
            print(f"skipped: {error}", file=sys.stderr)
            continue
        count += 1
        yield name, hr, lr, gray
    if not count:
        raise UserError(f"{folder}: no usable image; the first problem: {problems[0]}")


def score(sr, hr, space, shave, gray, ssim=True):
    """{"psnr", "ssim"} under the protocol; None where the image is too small or no SSIM is wanted, infinity stays a float."""
    result = {"psnr": None, "ssim": None}
    if min(hr.shape[:2]) > 2 * shave:
        result["psnr"] = metrics.psnr(sr, hr, space, shave, gray)
    if ssim and min(hr.shape[:2]) >= 2 * shave + 11:
        result["ssim"] = metrics.ssim(sr, hr, space, shave, gray)
    return result


def mean(rows):
    """Mean PSNR and SSIM over rows that have them, None when none has; equal images (infinite PSNR) are left out."""
    return {key: mean_of(rows, key) for key in ("psnr", "ssim")}


def mean_of(rows, key):
    """Mean of one figure over rows, as `mean`."""
    values = [row[key] for row in rows if row[key] is not None and math.isfinite(row[key])]
    return float(np.mean(values)) if values else None


def evaluate(upscaler, folder, space="y", progress=None, shave=None, ssim=True):
    """Measure an Upscaler on a folder.

    Args:
        shave: pixels cut from each border; None is the scale.
        ssim: False leaves it out (None); it takes a hundred times as long as PSNR.
    Returns: {"model", "protocol", "images": [{"name", "psnr", "ssim", "bicubic_psnr"}], "mean": {"psnr", "ssim"},
        "bicubic": {"psnr"} of the mean, "skipped": [lines], "values" and "sample" (model_io.facts)},
        and Upscaler.summary.
    Raises: UserError as each_pair.
    """
    rows, problems = [], []
    shave = upscaler.scale if shave is None else shave
    for name, hr, lr, gray in each_pair(folder, upscaler.scale, problems):
        bicubic = score(imresize(lr, upscaler.scale), hr, space, shave, gray, ssim=False)["psnr"]
        rows.append({"name": name, **score(upscaler(lr), hr, space, shave, gray, ssim), "bicubic_psnr": bicubic})
        if progress:
            progress(len(rows), name)
    return {
        "model": upscaler.name,
        "protocol": metrics.protocol(shave, space),
        "images": rows,
        "mean": mean(rows),
        "bicubic": {"psnr": mean_of(rows, "bicubic_psnr")},
        "skipped": problems,
        **model_io.facts(upscaler.io, upscaler.figures),
        **upscaler.summary(),
    }
