"""Bit-exact copy of MATLAB's bicubic `imresize` for uint8 images, the resizer behind published super-resolution figures."""

import numpy as np

_BAND_ROWS = 256  # output rows computed at once; limits the memory for float64 intermediates
_TILE = 64  # side of the tiles of blurred_downscale: large enough for a fast matrix product, small enough for a narrow band


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -0.5, support [-2, 2]."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _contributions(length: int, out_length: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices [out_length, taps] and weights [out_length, taps] of one axis.

    When downscaling, the kernel is stretched by 1/scale (antialiasing). Weights are normalised; indices clamp at the edge.
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


def _out_length(length: int, scale: float) -> int:
    return int(np.ceil(round(length * scale, 6)))


def axis_matrix(length: int, scale: float) -> np.ndarray:
    """Bicubic interpolation of one axis as a matrix, without rounding.

    Args:
        length: input length in pixels.
        scale: positive factor; above 1 enlarges.

    Returns:
        [ceil(length * scale), length] float64.
    """
    out_length = _out_length(length, scale)
    indices, weights = _contributions(length, out_length, scale)
    matrix = np.zeros((out_length, length))
    np.add.at(matrix, (np.arange(out_length)[:, None], indices), weights)
    return matrix


def _resize_rows(image: np.ndarray, out_length: int, scale: float) -> np.ndarray:
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


def imresize(image: np.ndarray, scale: float) -> np.ndarray:
    """Resize an image as MATLAB's `imresize(image, scale, 'bicubic')` does for uint8.

    The vertical pass comes first. Each pass rounds half up and clips to uint8.

    Args:
        image: [H, W] or [H, W, C] uint8.
        scale: positive factor; above 1 enlarges. Use 1/s to downscale an image with sides divisible by s.

    Returns:
        [ceil(H * scale), ceil(W * scale)] or [ceil(H * scale), ceil(W * scale), C] uint8.

    Raises:
        ValueError: the dtype is not uint8, or `scale` is not positive.
    """
    if image.dtype != np.uint8 or scale <= 0:
        raise ValueError(f"imresize expects a uint8 image and a positive scale, got {image.dtype} and {scale}")
    height, width = (_out_length(side, scale) for side in image.shape[:2])
    resized_rows = _resize_rows(image, height, scale)
    return np.ascontiguousarray(_resize_rows(resized_rows.swapaxes(0, 1), width, scale).swapaxes(0, 1))


def modcrop(image: np.ndarray, scale: int) -> np.ndarray:
    """Crop the bottom and right edges to make both sides divisible by `scale`, as the published protocol does."""
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]


def downscale(image: np.ndarray, scale: int) -> np.ndarray:
    """Make the LR image of an HR image: modcrop, then bicubic by 1/scale.

    Args:
        image: [H, W, 3] uint8.
        scale: positive whole factor.

    Returns:
        [H // scale, W // scale, 3] uint8.
    """
    return imresize(modcrop(image, scale), 1.0 / scale)


def blurred_downscale(image: np.ndarray, scale: int, sigma: float, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """Blur an HR image with a Gaussian and downscale it with bicubic, as one filter per axis.

    As in `downscale`, the vertical pass comes first, each pass rounds to uint8, and pixels beyond the edge repeat it. A part of
    the result equals the same part of the whole result.

    Args:
        image: [H * scale, W * scale, 3] uint8.
        scale: positive whole factor.
        sigma: standard deviation of the Gaussian in HR pixels, above 0.
        box: (top, left, height, width) of the part to make, in LR pixels; None for all of it.

    Returns:
        [height, width, 3] uint8.
    """
    top, left, height, width = box or (0, 0, image.shape[0] // scale, image.shape[1] // scale)
    taps, first = _blurred_taps(scale, sigma)
    result = np.empty((height, width, 3), np.uint8)
    for y in range(0, height, _TILE):
        for x in range(0, width, _TILE):
            tile = result[y : y + _TILE, x : x + _TILE]
            source = _window(image, [(top + y) * scale + first, (left + x) * scale + first], scale, tile.shape, len(taps))
            tall = _strided(taps, scale, tile.shape[0]) @ source.reshape(len(source), -1)
            wide = _strided(taps, scale, tile.shape[1]) @ _to_uint8(tall).reshape(len(tile), -1, 3)
            tile[:] = _to_uint8(wide)
    return result


def _blurred_taps(scale: int, sigma: float) -> tuple[np.ndarray, int]:
    """The weights of bicubic by 1/scale after a Gaussian, and the position of the first one relative to HR pixel 0."""
    radius = int(np.ceil(4 * sigma))
    gaussian = np.exp(-((np.arange(-radius, radius + 1) / sigma) ** 2) / 2)
    center = (scale - 1) / 2
    positions = np.arange(int(np.floor(center - 2 * scale)), int(np.ceil(center + 2 * scale)) + 1)
    taps = np.convolve(_cubic((positions - center) / scale), gaussian)
    return taps / taps.sum(), int(positions[0]) - radius


def _window(image: np.ndarray, start: list[int], scale: int, size: tuple[int, ...], taps: int) -> np.ndarray:
    """The HR pixels, float64, that `size` LR pixels depend on. Pixels beyond the edges of the image repeat them."""
    ends = [begin + (count - 1) * scale + taps for begin, count in zip(start, size, strict=False)]
    inside = tuple(slice(max(begin, 0), end) for begin, end in zip(start, ends, strict=True))
    beyond = [(max(-begin, 0), max(end - side, 0)) for begin, end, side in zip(start, ends, image.shape, strict=False)]
    part = image[inside].astype(np.float64)
    return np.pad(part, (*beyond, (0, 0)), mode="edge") if any(map(any, beyond)) else part


def _strided(taps: np.ndarray, stride: int, count: int) -> np.ndarray:
    """The matrix [count, (count - 1) * stride + len(taps)] of a filter that is applied at every `stride`-th pixel."""
    matrix = np.zeros((count, (count - 1) * stride + len(taps)))
    for row in range(count):
        matrix[row, row * stride : row * stride + len(taps)] = taps
    return matrix


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """Round half up and clip, in place. Exact halves go up whatever the order of the sums, which a matrix product changes."""
    values += 0.5 + 1e-9
    return np.clip(np.floor(values, out=values), 0, 255, out=values)
