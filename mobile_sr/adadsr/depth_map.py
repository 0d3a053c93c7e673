"""Visualization of the depth map of a network with AdaDSR's adapter."""

import numpy as np

# Anchor colours from 0 to the maximum depth: dark blue, violet, red, orange, pale yellow. Lightness rises evenly.
_COLOURS = np.array([[13, 8, 60], [106, 23, 110], [203, 65, 84], [249, 149, 57], [252, 246, 170]], np.float64)


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


def overlay(image: np.ndarray, depth_map: np.ndarray, max_depth: float) -> np.ndarray:
    """Like `heat_map`, with a colour bar from depth 0 to the maximum below it: [H * s + bar, W * s, 3] uint8."""
    shown = heat_map(image, depth_map, max_depth)
    width, height = image.shape[1], max(4, image.shape[0] // 40)
    bar = np.broadcast_to(colours(np.arange(width) / max(1, width - 1)), (height, width, 3))
    return np.concatenate([shown, np.full((height // 2, width, 3), 255, np.uint8), bar])
