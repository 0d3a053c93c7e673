"""Calibration images for post-training quantization."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.files import sha256
from mobile_sr.imaging import flat_colours, sample_images
from mobile_sr.imaging.layouts import find_pairs
from mobile_sr.imaging.pairs import read_pair
from mobile_sr.imaging.resize import downscale

Sample = np.ndarray | tuple[np.ndarray, np.ndarray]  # calibration image [1, H, W, 3], or (image, second input [1, 1])

COUNT = 32  # natural crops
PHOTOGRAPHS = 2 * COUNT  # with those of permuted channels; they come first in a calibration set
CROP = 96  # LR pixels
FLAT_SIDE = 24  # LR pixels of a flat colour or ramp: enough for ranges, and few of the pixels that weight rounding sees
TRIES = 8  # random crops of an image in a folder; the one with most detail is used
ORDERS = [list(order) for order in itertools.permutations(range(3))][1:]  # of the channels, without the original one


def calibration_set(folder: str | Path | None, scale: int, seed: int = 0) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Returns LR crops, the same crops with permuted channels, black, white, flat colours and ramps.

    Each crop of a folder is the most detailed of a few random ones. Most of a large photograph is plain, and ranges measured
    there are too narrow. Saturated colours are rare in photographs, and their activations exceed ranges measured on
    photographs. The permuted channels, the 27 flat colours and the ramps between them (flat_colours.py) cover them. Without
    these, equalization scales up channels that only saturated areas use, until those areas overflow: xlsr_x3 was off by 50
    levels on cyan. With black and white the range of the input is exactly 0..1. The set was chosen by measurement, see
    docs/measurements/quantization.md.

    Args:
        folder: folder of HR images, reduced by bicubic interpolation unless LR images are beside them. None uses sample images
            of scikit-image.
        scale: scale factor.
        seed: of the random crops.
    Returns: (list of [1, h, w, 3] float32 in 0..1, record for the sidecar with source, count, seed and sha256).
    Raises: UserError when no image is usable.
    """
    rng = np.random.default_rng(seed)
    lrs = _lr_images(folder, scale, rng)
    crops = []
    for k in range(COUNT):
        candidates = [_crop(lrs[k % len(lrs)], rng) for _ in range(TRIES if folder else 1)]
        crops.append(max(candidates, key=_detail))
    crops += [crop[..., ORDERS[k % len(ORDERS)]] for k, crop in enumerate(crops)]
    crops += [np.full((CROP, CROP, 3), level, np.uint8) for level in (0, 255)]
    crop_count = len(crops)
    crops += [flat_colours.flat(colour, FLAT_SIDE, FLAT_SIDE) for colour in flat_colours.COLOURS]
    crops += flat_colours.ramps(FLAT_SIDE, FLAT_SIDE).values()
    record = {
        "source": str(folder) if folder else "scikit-image: " + ", ".join(sample_images.CALIBRATION),
        "images": len(lrs),
        "crops": crop_count,
        "flat_colours_and_ramps": len(crops) - crop_count,
        "seed": seed,
        "sha256": sha256(b"".join(f"{c.shape}".encode() + c.tobytes() for c in crops)),
    }
    return [crop[None].astype(np.float32) / np.float32(255) for crop in crops], record


def _crop(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = (min(CROP, side) for side in image.shape[:2])
    top, left = (int(rng.integers(side - crop + 1)) for side, crop in zip(image.shape[:2], (height, width), strict=True))
    return image[top : top + height, left : left + width]


def _detail(image: np.ndarray) -> float:
    """The mean absolute difference between neighbouring pixels."""
    return sum(np.abs(np.diff(image.astype(np.int16), axis=axis)).mean() for axis in (0, 1) if image.shape[axis] > 1)


def _lr_images(folder: str | Path | None, scale: int, rng: np.random.Generator) -> list[np.ndarray]:
    if folder is None:
        return [downscale(image, scale) for _, image in sample_images.images(sample_images.CALIBRATION)]
    pairs = find_pairs(folder, scale)
    lrs: list[np.ndarray] = []
    problem: UserError | None = None
    for index in rng.permutation(len(pairs)):
        try:
            lrs.append(read_pair(pairs[index][1], pairs[index][2], scale)[1])
        except UserError as error:
            problem = error
        if len(lrs) == COUNT:
            break
    if not lrs:
        raise UserError(f"{folder}: no usable calibration image ({problem})")
    return lrs
