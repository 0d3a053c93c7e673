"""Representative inputs for post-training quantization."""

import itertools

import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.files import sha256
from mobile_sr.imaging import flat_colours, sample_images
from mobile_sr.imaging.layouts import find_pairs
from mobile_sr.imaging.pairs import read_pair
from mobile_sr.imaging.resize import downscale

COUNT = 32  # natural crops
CROP = 96  # LR pixels
FLAT_SIDE = 24  # LR pixels of a flat colour or ramp: ranges need few pixels, and weight rounding should see few of them
TRIES = 8  # places in an image of a folder, of which the one with most detail is taken
ORDERS = [list(order) for order in itertools.permutations(range(3))][1:]  # of the channels, all but their own


def calibration_set(folder, scale, seed=0):
    """Seeded LR crops, the same with their colours exchanged, a black and a white one, flat colours and ramps.

    Of a folder's images the crops are the richest of a few random ones: most of a large photograph is plain, and ranges
    measured there are too narrow. Saturated colours are rare in photographs and would leave ranges measured on them: hence the
    exchanged channels, and 27 flat colours and the ramps between them (flat_colours.py). Without these, equalization scales
    channels that only saturated areas use until those areas overflow: xlsr_x3 was off by 50 levels on cyan. Black and white let
    the input's range reach exactly 0 and 1. Chosen by measurement, see docs/measurements/quantization.md.

    Args:
        folder: images taken as HR and reduced by bicubic (or with LR beside them); None takes scikit-image's pictures.
    Returns: (list of [1, h, w, 3] float32 in 0..1, record for the sidecar with source, count, seed and sha256).
    Raises: UserError when no image is usable.
    """
    rng = np.random.default_rng(seed)
    lrs = _lr_images(folder, scale, rng)
    crops = []
    for k in range(COUNT):
        found = [_crop(lrs[k % len(lrs)], rng) for _ in range(TRIES if folder else 1)]
        crops.append(max(found, key=_detail))
    crops += [crop[..., ORDERS[k % len(ORDERS)]] for k, crop in enumerate(crops)]
    crops += [np.full((CROP, CROP, 3), level, np.uint8) for level in (0, 255)]
    natural = len(crops)
    crops += [flat_colours.flat(colour, FLAT_SIDE, FLAT_SIDE) for colour in flat_colours.COLOURS]
    crops += flat_colours.ramps(FLAT_SIDE, FLAT_SIDE).values()
    record = {
        "source": str(folder) if folder else "scikit-image: " + ", ".join(sample_images.CALIBRATION),
        "images": len(lrs),
        "crops": natural,
        "flat_colours_and_ramps": len(crops) - natural,
        "seed": seed,
        "sha256": sha256(b"".join(f"{c.shape}".encode() + c.tobytes() for c in crops)),
    }
    return [crop[None].astype(np.float32) / np.float32(255) for crop in crops], record


def _crop(image, rng):
    height, width = (min(CROP, side) for side in image.shape[:2])
    top, left = (int(rng.integers(side - crop + 1)) for side, crop in zip(image.shape[:2], (height, width), strict=True))
    return image[top : top + height, left : left + width]


def _detail(image):
    """The mean absolute difference between neighbours."""
    return sum(np.abs(np.diff(image.astype(np.int16), axis=axis)).mean() for axis in (0, 1) if image.shape[axis] > 1)


def _lr_images(folder, scale, rng):
    if folder is None:
        return [downscale(image, scale) for _, image in sample_images.images(sample_images.CALIBRATION)]
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
