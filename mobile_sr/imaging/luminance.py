"""Luminance (Y) of RGB images, for networks that upscale Y alone.

Two definitions of Y are in use. SRCNN, FSRCNN, ESPCN and VDSR are trained on MATLAB's rgb2ycbcr: BT.601 in 16..235. JPEG uses
the same weights in 0..255.
"""

from __future__ import annotations

import numpy as np

from mobile_sr.imaging import metrics
from mobile_sr.imaging.resize import imresize

STUDIO, FULL = "y", "y_full"
RANGES = {STUDIO: (16, 235), FULL: (0, 255)}  # levels of black and white; the usual definition of SR networks first
REACH = 2  # LR pixels to each side that bicubic interpolation of Cb and Cr depends on


def of_rgb(image: np.ndarray, kind: str = STUDIO) -> np.ndarray:
    """Computes the Y of an image, not rounded.

    Args:
        image: [H, W, 3] uint8.
        kind: a key of RANGES.

    Returns:
        [H, W, 1] float32 in the levels of RANGES.
    """
    black, white = RANGES[kind]
    weights = metrics.BT601_Y * ((white - black) / metrics.BT601_Y.sum() / 255)
    return (image.astype(np.float32) @ weights.astype(np.float32))[:, :, None] + np.float32(black)


def upscale_chroma(lr: np.ndarray, y: np.ndarray, kind: str = STUDIO) -> np.ndarray:
    """Combines an upscaled Y with the Cb and Cr of the LR image, upscaled by bicubic interpolation.

    RGB is linear in Y, Cb and Cr, and a change of Y alone changes R, G and B by the same amount. The result is therefore the
    bicubic RGB image plus the difference between `y` and the Y of that image.

    Args:
        lr: [H, W, 3] uint8.
        y: [H * s, W * s, 1] float32, the levels of RANGES divided by 255.
        kind: a key of RANGES.

    Returns:
        [H * s, W * s, 3] float32, white at 1.0, not clipped.
    """
    black, white = RANGES[kind]
    bicubic = imresize(lr, y.shape[0] // lr.shape[0])
    difference = y - of_rgb(bicubic, kind) / np.float32(255)
    return bicubic.astype(np.float32) / np.float32(255) + difference * np.float32(255 / (white - black))
