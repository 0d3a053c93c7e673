"""Visualization of the depth map of a network with AdaDSR's adapter."""

from collections.abc import Sequence

import numpy as np

# Anchor colours from 0 to the maximum depth: dark blue, violet, red, orange, pale yellow. Lightness rises evenly.
_COLOURS = np.array([[13, 8, 60], [106, 23, 110], [203, 65, 84], [249, 149, 57], [252, 246, 170]], np.float64)

WIDTH_OF_TEXT = 320  # pixels from which a legend has labels


def colours(share: np.ndarray) -> np.ndarray:
    """Maps [...] numbers in 0..1 to [..., 3] uint8 colours."""
    position = np.clip(share, 0, 1) * (len(_COLOURS) - 1)
    low = np.minimum(position.astype(int), len(_COLOURS) - 2)
    part = (position - low)[..., None]
    return (_COLOURS[low] * (1 - part) + _COLOURS[low + 1] * part + 0.5).astype(np.uint8)


def css_gradient() -> str:
    """Returns the colours from 0 to the maximum depth as a CSS background, left to right."""
    return f"linear-gradient(90deg, {', '.join('#' + bytes(colour).hex() for colour in _COLOURS.astype(np.uint8))})"


def heat_map(image: np.ndarray, depth_map: np.ndarray, max_depth: float, opacity: float = 0.65) -> np.ndarray:
    """Draws the depth map in colour over an image in gray.

    Args:
        image: [H * s, W * s, 3] uint8, the LR image (s = 1) or a larger one.
        depth_map: [H, W, M] in blocks; the mean of several maps is shown.
        max_depth: depth of the lightest colour, in blocks.
        opacity: opacity of the colours, 0..1.

    Returns:
        uint8 of the image's shape.
    """
    factor = image.shape[0] // depth_map.shape[0]
    share = np.kron(depth_map.mean(axis=2) / max_depth, np.ones((factor, factor)))
    gray = (image @ np.array([0.299, 0.587, 0.114]))[..., None]
    return (opacity * colours(share) + (1 - opacity) * gray + 0.5).astype(np.uint8)


def overlay(image: np.ndarray, depth_map: np.ndarray, max_depth: float, active: Sequence[float] | None = None) -> np.ndarray:
    """Like `heat_map`, with a legend below it.

    The legend has a colour bar from depth 0 to the maximum with a mark at the mean depth, and a column for each block as high
    as its share of active pixels. From WIDTH_OF_TEXT pixels on it also has labels.

    Args:
        image, depth_map, max_depth: as for `heat_map`.
        active: shares of active pixels of all blocks, 0..1; None leaves them out.

    Returns:
        [H * s + legend, W * s, 3] uint8.
    """
    height, width = image.shape[:2]
    unit = max(4, height // 40)
    mean = float(depth_map.mean())
    bar = np.repeat(colours(np.arange(width) / max(1, width - 1))[None], unit, axis=0)
    at = min(width - 1, round(min(mean / max_depth, 1) * (width - 1)))
    bar[:, max(0, at - 1) : at + 2] = (0, 160, 255)  # a colour that the scale does not have
    white = np.full((unit // 2, width, 3), 255, np.uint8)
    parts = [heat_map(image, depth_map, max_depth), white, bar]
    if width >= WIDTH_OF_TEXT:
        parts.append(_labels(width, ("0", f"mean depth {mean:.2f}", f"{max_depth:g} blocks")))
    if active is not None:
        parts += [white, _columns(active, 4 * unit, width)]
        if width >= WIDTH_OF_TEXT:
            parts.append(_labels(width, ("block 1", "pixels that compute it, 0 to 100 %", f"block {len(active)}")))
    return np.concatenate(parts)


def _columns(shares: Sequence[float], height: int, width: int) -> np.ndarray:
    """A column for each share in 0..1, blue on light gray: [height, width, 3] uint8."""
    share = np.asarray(shares)[np.minimum(np.arange(width) * len(shares) // width, len(shares) - 1)]
    result = np.full((height, width, 3), 235, np.uint8)
    result[np.arange(height)[:, None] >= height * (1 - share)] = (50, 100, 160)
    edges = np.flatnonzero(np.diff(np.arange(width) * len(shares) // width))
    if len(shares) * 8 <= width:  # else the gaps would hide the columns
        result[:, edges] = 255
    return result


def _labels(width: int, texts: tuple[str, str, str]) -> np.ndarray:
    """Texts at the left, in the middle and at the right: [h, width, 3] uint8."""
    from PIL import Image, ImageDraw, ImageFont

    size = max(10, min(width // 40, 28))
    row = Image.new("RGB", (width, size + 6), "white")
    draw, font = ImageDraw.Draw(row), ImageFont.load_default(size)
    for text, share, anchor in zip(texts, (0.0, 0.5, 1.0), ("lt", "mt", "rt"), strict=True):
        draw.text((share * (width - 1), 3), text, "black", font, anchor)
    return np.asarray(row)
