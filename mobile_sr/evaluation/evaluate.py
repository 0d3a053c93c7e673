"""PSNR and SSIM of a model on a folder of images."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.imaging import images, layouts, metrics, pairs
from mobile_sr.imaging.degradation import SeededDegradation
from mobile_sr.imaging.resize import imresize
from mobile_sr.inference import model_io

if TYPE_CHECKING:
    from mobile_sr.inference.upscaler import Upscaler

ImageSource = str | Path | Sequence[tuple[str, np.ndarray]]  # a folder, or (name, HR image [H, W, 3] uint8) pairs
Progress = Callable[[int, str], None]  # called with (number of images done, name)


def each_pair(
    folder: ImageSource, scale: int, problems: list[str], shave: int = 0
) -> Iterator[tuple[str, np.ndarray, np.ndarray, bool]]:
    """Yield (name, HR, LR, gray) for every usable image of a folder.

    HR and LR are [H, W, 3] uint8; `gray` tells that the HR file is a gray image. Unusable files are skipped.

    Args:
        folder: folder as for `imaging.layouts.find_pairs`, or a list of (name, HR image).
        scale: scale factor; the LR images are reduced from HR where the folder has none.
        problems: receives one line per skipped file; each line is also printed on standard error.
        shave: pixels that are cut from each border of HR; an image must be larger.
    Raises: UserError when no image is usable, when the scale is 1 and there are no LR images, or as
        `imaging.layouts.find_pairs`.
    """
    if not isinstance(folder, (str, Path)):
        layouts.refuse_scale_one("sample images", scale, [(name, Path(name), None) for name, _ in folder])
        for name, image in folder:
            hr, lr = pairs.prepare_pair(image, None, scale, name)
            _check_size(name, hr, shave)
            yield name, hr, lr, False
        return
    count = 0
    files = layouts.find_pairs(folder, scale, part="valid")
    layouts.refuse_scale_one(folder, scale, files)
    for name, hr_file, lr_file in files:
        try:
            hr, lr = pairs.read_pair(hr_file, lr_file, scale)
            _check_size(hr_file, hr, shave)
            gray = images.is_gray_file(hr_file)
        except UserError as error:
            problems.append(str(error))
            print(f"skipped: {error}", file=sys.stderr)
            continue
        count += 1
        yield name, hr, lr, gray
    if not count:
        raise UserError(f"{folder}: no usable image; the first problem: {problems[0]}")


def _check_size(name: object, hr: np.ndarray, shave: int) -> None:
    """Raises UserError if no pixel of an HR image is left to measure."""
    height, width = hr.shape[:2]
    if min(height, width) <= 2 * shave:
        cut = f"{shave} pixels are cut from each side"
        raise UserError(f"{name}: {width}x{height} pixels (after modcrop) are too few to measure, {cut}")


def degrade(
    lr: np.ndarray, hr: np.ndarray, degraded: SeededDegradation | None
) -> tuple[np.ndarray, dict[str, dict[str, float | None]]]:
    """Degrade an LR image.

    Args:
        lr: [H, W, 3] uint8.
        hr: [H * s, W * s, 3] uint8.
        degraded: the degradation; None leaves the image as it is.
    Returns: (LR image [H, W, 3] uint8, entries for the image's row: {"degradation": `Amounts` as a dict}, {} without one).
    """
    if not degraded:
        return lr, {}
    lr, amounts = degraded.apply(lr, hr)
    return lr, {"degradation": amounts._asdict()}


def score(sr: np.ndarray, hr: np.ndarray, space: str, shave: int, gray: bool, ssim: bool = True) -> dict[str, float | None]:
    """Compare an SR output with the HR image under the protocol (docs/reference/protocol.md).

    Args:
        sr, hr: [H, W, 3] uint8.
        space: 'y' or 'rgb'.
        shave: pixels cut from each border.
        gray: whether the HR file is a gray image.
        ssim: whether to compute SSIM.
    Returns: {"psnr": in dB, "ssim"}. A value is None when the image is too small for it or SSIM is not computed; the PSNR of
        equal images is infinity.
    """
    result: dict[str, float | None] = {"psnr": None, "ssim": None}
    if min(hr.shape[:2]) > 2 * shave:
        result["psnr"] = metrics.psnr(sr, hr, space, shave, gray)
    if ssim and min(hr.shape[:2]) >= 2 * shave + 11:
        result["ssim"] = metrics.ssim(sr, hr, space, shave, gray)
    return result


def mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Returns the mean {"psnr", "ssim"} of rows; each as `mean_of`."""
    return {key: mean_of(rows, key) for key in ("psnr", "ssim")}


def mean_of(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """Returns the mean of one figure over the rows with a finite value, None when there are none.

    None (image too small) and infinity (equal images) do not count.
    """
    values = [row[key] for row in rows if row[key] is not None and math.isfinite(row[key])]
    return float(np.mean(values)) if values else None


def evaluate(
    upscaler: Upscaler,
    folder: ImageSource,
    space: str = "y",
    progress: Progress | None = None,
    shave: int | None = None,
    ssim: bool = True,
    degraded: SeededDegradation | None = None,
) -> dict[str, Any]:
    """Measure a model on a folder.

    Args:
        upscaler: the model.
        folder: as for `each_pair`.
        space: 'y' or 'rgb'.
        progress: called after each image.
        shave: pixels cut from each border; the scale by default.
        ssim: whether to compute SSIM, which takes a hundred times as long as PSNR.
        degraded: what degrades the LR images, for the model and for bicubic alike.
    Returns: {"model", "protocol", "images": [{"name", "psnr", "ssim", "bicubic_psnr"} and with
        `degraded` {"degradation": Amounts as a dict}], "mean": {"psnr", "ssim"},
        "bicubic": {"psnr"} (mean), "skipped": [lines], "values" and "sample" (`model_io.facts`)} and the entries of
        `Upscaler.where`, `Upscaler.summary` and `Upscaler.summarize_details`; each image also has those of
        `Upscaler.with_figures`.
    Raises: UserError as `each_pair`.
    """
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    shave = upscaler.scale if shave is None else shave
    for name, hr, lr, gray in each_pair(folder, upscaler.scale, problems, shave):
        lr, amounts = degrade(lr, hr, degraded)
        bicubic = score(imresize(lr, upscaler.scale), hr, space, shave, gray, ssim=False)["psnr"]
        sr, figures = upscaler.with_figures(lr)
        scores = score(sr, hr, space, shave, gray, ssim)
        rows.append({"name": name, **scores, "bicubic_psnr": bicubic, **figures, **amounts})
        if progress:
            progress(len(rows), name)
    return {
        "model": upscaler.name,
        **upscaler.where(),
        "protocol": metrics.protocol(shave, space, degraded),
        "images": rows,
        "mean": mean(rows),
        "bicubic": {"psnr": mean_of(rows, "bicubic_psnr")},
        "skipped": problems,
        **model_io.facts(upscaler.io, upscaler.figures),
        **upscaler.summary(),
        **upscaler.summarize_details(rows, "model"),
    }
