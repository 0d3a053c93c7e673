"""Representative inputs for post-training quantization."""

import itertools

import numpy as np

from mobile_sr import samples
from mobile_sr.data import find_pairs, read_pair
from mobile_sr.errors import UserError
from mobile_sr.files import sha256
from mobile_sr.resize import downscale

COUNT = 32  # natural crops
CROP = 96  # LR pixels
ORDERS = [list(order) for order in itertools.permutations(range(3))][1:]  # of the channels, all but their own


def calibration_set(folder, scale, seed=0):
    """Seeded LR crops, the same with their colours exchanged, a black and a white one.

    Exchanged colours stand for the saturated ones that few photographs hold and that would leave the measured ranges; black
    and white let the input's range reach exactly 0 and 1. Chosen by measurement, see docs/quantization.md.

    Args:
        folder: images taken as HR and reduced by bicubic (or with LR beside them); None takes scikit-image's pictures.
    Returns: (list of [1, h, w, 3] float32 in 0..1, record for the sidecar with source, count, seed and sha256).
    Raises: UserError when no image is usable.
    """
    rng = np.random.default_rng(seed)
    lrs = _lr_images(folder, scale, rng)
    crops = []
    for k in range(COUNT):
        lr = lrs[k % len(lrs)]
        height, width = (min(CROP, side) for side in lr.shape[:2])
        top, left = (int(rng.integers(side - crop + 1)) for side, crop in zip(lr.shape[:2], (height, width), strict=True))
        crops.append(lr[top : top + height, left : left + width])
    crops += [crop[..., ORDERS[k % len(ORDERS)]] for k, crop in enumerate(crops)]
    crops += [np.full((CROP, CROP, 3), level, np.uint8) for level in (0, 255)]
    record = {
        "source": str(folder) if folder else "scikit-image: " + ", ".join(samples.CALIBRATION),
        "images": len(lrs),
        "crops": len(crops),
        "seed": seed,
        "sha256": sha256(b"".join(f"{c.shape}".encode() + c.tobytes() for c in crops)),
    }
    return [crop[None].astype(np.float32) / np.float32(255) for crop in crops], record


def _lr_images(folder, scale, rng):
    if folder is None:
        return [downscale(image, scale) for _, image in samples.images(samples.CALIBRATION)]
    pairs = find_pairs(folder, scale)
    lrs, problem = [], None
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
