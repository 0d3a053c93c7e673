"""MATLAB's bicubic `imresize` for uint8 images, bit for bit; the resizer of all published super-resolution figures."""

import numpy as np

_BAND_ROWS = 256  # rows of the result made at once, so that float64 intermediates stay small


def _cubic(x):
    """Keys' cubic convolution kernel with a = -0.5, support [-2, 2]."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _contributions(length, out_length, scale):
    """Indices [out_length, taps] and weights [out_length, taps] of one axis.

    The kernel is stretched by 1/scale when shrinking (antialiasing), weights are normalised, indices clamp at the edge.
    """
    shrink = min(scale, 1.0)
    width = 4.0 / shrink
    center = (np.arange(1, out_length + 1) / scale) + 0.5 * (1 - 1 / scale)
    left = np.floor(center - width / 2)
    taps = int(np.ceil(width)) + 2
    indices = left[:, None] + np.arange(taps)
    weights = shrink * _cubic(shrink * (center[:, None] - indices))
    weights /= weights.sum(axis=1, keepdims=True)
    used = np.any(weights != 0, axis=0)
    indices = np.clip(indices[:, used] - 1, 0, length - 1).astype(np.intp)
    return indices, weights[:, used]


def _out_length(length, scale):
    return int(np.ceil(round(length * scale, 6)))


def axis_matrix(length, scale):
    """[ceil(length * scale), length] float64: what bicubic does to one axis, without rounding."""
    out_length = _out_length(length, scale)
    indices, weights = _contributions(length, out_length, scale)
    matrix = np.zeros((out_length, length))
    np.add.at(matrix, (np.arange(out_length)[:, None], indices), weights)
    return matrix


def _resize_rows(image, out_length, scale):
    indices, weights = _contributions(image.shape[0], out_length, scale)
    result = np.empty((out_length,) + image.shape[1:], np.uint8)
    for start in range(0, out_length, _BAND_ROWS):
        band = slice(start, min(start + _BAND_ROWS, out_length))
        total = np.zeros((band.stop - start,) + image.shape[1:], np.float64)
        for tap in range(weights.shape[1]):
            weight = weights[band, tap].reshape((-1,) + (1,) * (image.ndim - 1))
            total += weight * image[indices[band, tap]]
        total += 0.5
        np.floor(total, out=total)
        result[band] = np.clip(total, 0, 255, out=total)
    return result


def imresize(image, scale):
    """Resize as MATLAB's imresize(image, scale, 'bicubic') does for uint8.

    Vertical pass first; the result is rounded half up and clipped to uint8 after each pass.

    Args:
        image: [H, W] or [H, W, C] uint8.
        scale: positive number; above 1 enlarges. Use 1/s to make an LR image of an HR one whose sides s divides.
    Returns: uint8 of ceil(H * scale) x ceil(W * scale).
    Raises: ValueError when the dtype is not uint8 or scale is not positive.
    """
    if image.dtype != np.uint8 or scale <= 0:
        raise ValueError(f"imresize takes uint8 and a positive scale, got {image.dtype} and {scale}")
    height, width = (_out_length(side, scale) for side in image.shape[:2])
    tall = _resize_rows(image, height, scale)
    return np.ascontiguousarray(_resize_rows(tall.swapaxes(0, 1), width, scale).swapaxes(0, 1))


def modcrop(image, scale):
    """Cut the bottom and right edge so that `scale` divides both sides, as the published protocol does."""
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]


def downscale(image, scale):
    """The LR image of an HR image: modcrop, then bicubic by 1/scale. [H, W, 3] uint8 -> [H//s, W//s, 3] uint8."""
    return imresize(modcrop(image, scale), 1.0 / scale)
