"""PSNR and SSIM as the super-resolution literature computes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mobile_sr.imaging.degradation import SeededDegradation
from mobile_sr.imaging.degradation import describe as describe_degradation

SPACES = ("y", "rgb")
BT601_Y = np.array([65.481, 128.553, 24.966]) / 255.0  # weights of R, G and B in the Y of BT.601, which has an offset of 16


def protocol(shave: int, space: str, degraded: SeededDegradation | None = None) -> dict[str, Any]:
    """Describe the measurement protocol; reports store and print it with every figure.

    Args:
        shave: pixels cut from each border; the literature uses the scale.
        space: 'y' or 'rgb'.
        degraded: what degrades the LR images.

    Returns:
        The keys space, shave, rounding, resizer and ssim, and degradation if there is one.
    """
    return {
        "space": {"y": "Y of BT.601 (16..235), float; gray files as they are", "rgb": "RGB"}[space],
        "shave": shave,
        "rounding": "uint8",
        "resizer": "MATLAB bicubic, antialiased, uint8",
        "ssim": "11x11 Gaussian, sigma 1.5, valid region",
        **({"degradation": degraded.to_json()} if degraded else {}),
    }


def describe(protocol: Mapping[str, Any]) -> str:
    """Format a result of `protocol` as one line of text."""
    p = protocol
    degradation = p.get("degradation")
    source = "after the blur" if degradation and degradation["blur"][1] else "where not given"
    more = f"; {describe_degradation(degradation)}" if degradation else ""
    return f"{p['space']}; shave {p['shave']}; {p['rounding']} outputs; LR by {p['resizer']} {source}{more}; SSIM {p['ssim']}"


def rgb_to_y(image: np.ndarray) -> np.ndarray:
    """Compute BT.601 luma as MATLAB's rgb2ycbcr does, without rounding.

    Args:
        image: [H, W, 3] uint8.

    Returns:
        [H, W] float64 in 16..235.
    """
    return image.astype(np.float64) @ BT601_Y + 16.0


def _planes(image: np.ndarray, space: str, shave: int, gray: bool) -> np.ndarray:
    """The channels to compare, with the borders cut: [H, W, C] float64."""
    image = image[shave : image.shape[0] - shave, shave : image.shape[1] - shave]
    if gray:
        # A one-channel file is its own luma. The three-channel SR output is reduced to luma over the full range.
        return (image.astype(np.float64) @ np.array([0.299, 0.587, 0.114]))[:, :, None]
    if space == "y":
        return rgb_to_y(image)[:, :, None]
    return image.astype(np.float64)


def _check(a: np.ndarray, b: np.ndarray, space: str, shave: int) -> None:
    if a.shape != b.shape:
        raise ValueError(f"images differ in shape: {a.shape} and {b.shape}")
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"images must be uint8, got {a.dtype} and {b.dtype}")
    if space not in SPACES:
        raise ValueError(f"space must be one of {SPACES}, got {space!r}")
    if min(a.shape[:2]) <= 2 * shave:
        raise ValueError(f"a {a.shape[1]}x{a.shape[0]} image has no pixels left after a shave of {shave}")


def psnr(a: np.ndarray, b: np.ndarray, space: str = "y", shave: int = 0, gray: bool = False) -> float:
    """Compute the peak signal-to-noise ratio of two images.

    Args:
        a: [H, W, 3] uint8.
        b: [H, W, 3] uint8.
        space: 'y', or 'rgb' for the squared error averaged over the three channels.
        shave: pixels cut from each border; the literature uses the scale.
        gray: whether the reference comes from a one-channel file, which is compared without conversion.

    Returns:
        PSNR in dB; infinity if the images are equal.

    Raises:
        ValueError: the shapes differ, a dtype is not uint8, the space is unknown, or `shave` leaves no pixels.
    """
    _check(a, b, space, shave)
    error = np.mean((_planes(a, space, shave, gray) - _planes(b, space, shave, gray)) ** 2)
    return math.inf if error == 0 else float(10 * np.log10(255.0**2 / error))


def _blur(x: np.ndarray) -> np.ndarray:
    """Filter the first two axes with an 11x11 Gaussian window of sigma 1.5, valid region only."""
    taps = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()
    for axis in (0, 1):
        length = x.shape[axis] - 10
        x = sum(w * x.take(range(k, k + length), axis) for k, w in enumerate(taps))
    return x


def ssim(a: np.ndarray, b: np.ndarray, space: str = "y", shave: int = 0, gray: bool = False) -> float:
    """Compute the structural similarity (Wang et al., TIP 2004) of two images, with K1 0.01, K2 0.03 and L 255.

    Args:
        a, b, space, shave, gray: as in `psnr`.

    Returns:
        SSIM, at most 1; averaged over the channels of 'rgb'.

    Raises:
        ValueError: as `psnr`, and if a side is shorter than the 11-pixel window.
    """
    _check(a, b, space, shave)
    x, y = _planes(a, space, shave, gray), _planes(b, space, shave, gray)
    if min(x.shape[:2]) < 11:
        raise ValueError(f"SSIM needs sides of at least 11 pixels after the shave, got {x.shape[1]}x{x.shape[0]}")
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x**2
    var_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    score = (2 * mean_x * mean_y + c1) * (2 * covariance + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return float(score.mean())
