"""HR and LR image pairs: reads them from files, or makes the LR image by bicubic downscaling."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.imaging.images import read_image
from mobile_sr.imaging.resize import downscale, modcrop


def read_pair(hr_file: str | Path, lr_file: str | Path | None, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Read an HR image and its LR image.

    Args:
        hr_file: image file.
        lr_file: image file; None makes the LR image by bicubic downscaling.
        scale: scale factor of the pair.

    Returns:
        (HR, LR): [H * scale, W * scale, 3] uint8, modcropped, and [H, W, 3] uint8.

    Raises:
        UserError: an image is unreadable or smaller than the scale, or the two sizes do not match.
    """
    lr = None if lr_file is None else read_image(lr_file)
    return prepare_pair(read_image(hr_file), lr, scale, hr_file if lr_file is None else lr_file)


def prepare_pair(hr: np.ndarray, lr: np.ndarray | None, scale: int, name: object) -> tuple[np.ndarray, np.ndarray]:
    """Like `read_pair`, from arrays.

    Args:
        hr: [H, W, 3] uint8.
        lr: [H // scale, W // scale, 3] uint8; None makes it by bicubic downscaling.
        scale: scale factor of the pair.
        name: name of the pair in error messages.

    Returns:
        (HR, LR) as `read_pair`.

    Raises:
        UserError: the HR image is smaller than the scale, or the two sizes do not match.
    """
    hr = modcrop(hr, scale)
    if min(hr.shape[:2]) < scale:
        raise UserError(f"{name}: the HR image is smaller than the scale {scale}")
    if lr is None:
        return hr, downscale(hr, scale)
    if (lr.shape[0] * scale, lr.shape[1] * scale) != hr.shape[:2]:
        sizes = f"{lr.shape[1]}x{lr.shape[0]} is not 1/{scale} of its HR image's {hr.shape[1]}x{hr.shape[0]} (after modcrop)"
        raise UserError(f"{name}: {sizes}")
    return hr, lr
