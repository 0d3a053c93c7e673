"""PSNR and SSIM as the super-resolution literature computes them."""

import math

import numpy as np

SPACES = ("y", "rgb")
BT601_Y = np.array([65.481, 128.553, 24.966]) / 255.0  # what R, G and B add to the Y of BT.601, which starts at 16


def protocol(shave, space):
    """The measuring protocol in words, stored and printed beside every figure; the literature shaves the scale."""
    return {
        "space": {"y": "Y of BT.601 (16..235), float; gray files as they are", "rgb": "RGB"}[space],
        "shave": shave,
        "rounding": "uint8",
        "resizer": "MATLAB bicubic, antialiased, uint8",
        "ssim": "11x11 Gaussian, sigma 1.5, valid region",
    }


def describe(protocol_):
    """One line for people."""
    p = protocol_
    return f"{p['space']}; shave {p['shave']}; {p['rounding']} outputs; LR by {p['resizer']} where not given; SSIM {p['ssim']}"


def rgb_to_y(image):
    """Luma of BT.601 as MATLAB's rgb2ycbcr defines it, unrounded: [H, W, 3] uint8 -> [H, W] float64 in 16..235."""
    return image.astype(np.float64) @ BT601_Y + 16.0


def _planes(image, space, shave, gray):
    """[H, W, C] float64 of what is compared, borders cut."""
    image = image[shave : image.shape[0] - shave, shave : image.shape[1] - shave]
    if gray:
        # A one-channel file is its own luma; a network's answer to it is weighed to one channel over the full range.
        return (image.astype(np.float64) @ np.array([0.299, 0.587, 0.114]))[:, :, None]
    if space == "y":
        return rgb_to_y(image)[:, :, None]
    return image.astype(np.float64)


def _check(a, b, space, shave):
    if a.shape != b.shape:
        raise ValueError(f"images differ in shape: {a.shape} and {b.shape}")
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"images must be uint8, got {a.dtype} and {b.dtype}")
    if space not in SPACES:
        raise ValueError(f"space must be one of {SPACES}, got {space!r}")
    if min(a.shape[:2]) <= 2 * shave:
        raise ValueError(f"an image of {a.shape[1]}x{a.shape[0]} has nothing left after a shave of {shave}")


def psnr(a, b, space="y", shave=0, gray=False):
    """Peak signal-to-noise ratio in dB of two [H, W, 3] uint8 images; infinity when they are equal.

    Args:
        space: 'y' or 'rgb' (the squared error is averaged over the three channels).
        shave: pixels cut from each border; the literature uses the scale.
        gray: the reference came from a one-channel file; that channel is compared as it is.
    Raises: ValueError on shapes, dtypes or spaces that do not fit.
    """
    _check(a, b, space, shave)
    error = np.mean((_planes(a, space, shave, gray) - _planes(b, space, shave, gray)) ** 2)
    return math.inf if error == 0 else float(10 * np.log10(255.0**2 / error))


def _blur(x):
    """Valid 11x11 Gaussian window of sigma 1.5 over the first two axes."""
    taps = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()
    for axis in (0, 1):
        length = x.shape[axis] - 10
        x = sum(w * x.take(range(k, k + length), axis) for k, w in enumerate(taps))
    return x


def ssim(a, b, space="y", shave=0, gray=False):
    """Structural similarity (Wang et al., TIP 2004) with K1 0.01, K2 0.03, L 255; arguments as `psnr`.

    Raises: ValueError as `psnr`, and when a side is shorter than the 11-pixel window.
    """
    _check(a, b, space, shave)
    x, y = _planes(a, space, shave, gray), _planes(b, space, shave, gray)
    if min(x.shape[:2]) < 11:
        raise ValueError(f"SSIM needs at least 11 pixels a side after the shave, got {x.shape[1]}x{x.shape[0]}")
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x**2
    var_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    score = (2 * mean_x * mean_y + c1) * (2 * covariance + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return float(score.mean())
