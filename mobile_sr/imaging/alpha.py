"""Transparency: colours hidden under alpha 0, and formats without alpha."""

import numpy as np

_RIM = 16  # pixels around the visible ones that take their neighbours' colours; about what a network sees to each side


def fill_hidden(image, alpha):
    """Give the pixels under alpha 0 the colours of their visible neighbours.

    Nobody sees their stored colours, often black, but upscaling would mix them into the visible rim.

    Args:
        image: [H, W, 3] uint8. alpha: [H, W] uint8.
    Returns: [H, W, 3] uint8; the image itself when nothing, or everything, is hidden.
    """
    known = alpha > 0
    if known.all() or not known.any():
        return image
    result = image.copy()
    result[~known] = np.round(image[known].mean(axis=0))
    for _ in range(_RIM):
        rows, columns = np.nonzero(_grown(known) & ~known)
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


def _grown(mask):
    """The mask and its eight neighbours."""
    wide = np.pad(mask, 1)
    tall = wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]
    return tall[:-2] | tall[1:-1] | tall[2:]


def on_white(image, alpha):
    """The [H, W, 3] uint8 image as it looks over a white background."""
    result = np.empty_like(image)
    for row in range(0, len(image), 256):  # bands keep the intermediate values small
        band = slice(row, row + 256)
        weight = alpha[band].astype(np.uint32)[:, :, None]
        result[band] = (image[band] * weight + 255 * (255 - weight) + 127) // 255
    return result
