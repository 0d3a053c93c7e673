"""Transparency: fills the colours of hidden pixels, and composites an image on white for formats without alpha."""

import numpy as np

_RIM = 16  # pixels to fill around the visible ones; about the receptive field of a network to each side


def fill_hidden(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Fill the pixels under alpha 0 with the colours of their visible neighbours.

    The stored colours of hidden pixels are often black. Upscaling would blend them into the visible edge.

    Args:
        image: [H, W, 3] uint8.
        alpha: [H, W] uint8.

    Returns:
        [H, W, 3] uint8; `image` itself if all pixels are visible, or none is.
    """
    known = alpha > 0
    if known.all() or not known.any():
        return image
    result = image.copy()
    result[~known] = np.round(image[known].mean(axis=0))
    for _ in range(_RIM):
        rows, columns = np.nonzero(_dilate(known) & ~known)
        if not len(rows):
            break
        total, count = np.zeros((len(rows), 3), np.float32), np.zeros((len(rows), 1), np.float32)
        for down, right in _NEIGHBOURS:
            r = np.clip(rows + down, 0, known.shape[0] - 1)
            c = np.clip(columns + right, 0, known.shape[1] - 1)
            weight = known[r, c].astype(np.float32)[:, None]
            total += weight * result[r, c]
            count += weight
        result[rows, columns] = np.round(total / count)
        known[rows, columns] = True
    return result


_NEIGHBOURS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]


def _dilate(mask: np.ndarray) -> np.ndarray:
    """Dilate a mask by its eight neighbours."""
    padded = np.pad(mask, 1)
    rows = padded[:, :-2] | padded[:, 1:-1] | padded[:, 2:]
    return rows[:-2] | rows[1:-1] | rows[2:]


def on_white(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Composite an image on a white background.

    Args:
        image: [H, W, 3] uint8.
        alpha: [H, W] uint8.

    Returns:
        [H, W, 3] uint8.
    """
    result = np.empty_like(image)
    for row in range(0, len(image), 256):  # bands of rows limit the memory for intermediate values
        band = slice(row, row + 256)
        weight = alpha[band].astype(np.uint32)[:, :, None]
        result[band] = (image[band] * weight + 255 * (255 - weight) + 127) // 255
    return result
