"""The depth map of a network with AdaDSR's adapter as a picture."""

import numpy as np

# Anchors of the colours from 0 to the maximum depth: dark blue, violet, red, orange, pale yellow; lightness rises evenly.
_COLOURS = np.array([[13, 8, 60], [106, 23, 110], [203, 65, 84], [249, 149, 57], [252, 246, 170]], np.float64)


def colours(share):
    """[...] numbers in 0..1 as [..., 3] uint8 colours."""
    at = np.clip(share, 0, 1) * (len(_COLOURS) - 1)
    low = np.minimum(at.astype(int), len(_COLOURS) - 2)
    part = (at - low)[..., None]
    return (_COLOURS[low] * (1 - part) + _COLOURS[low + 1] * part + 0.5).astype(np.uint8)


def css_gradient():
    """The colours from 0 to the maximum depth as a CSS background, left to right."""
    return f"linear-gradient(90deg, {', '.join('#' + bytes(colour).hex() for colour in _COLOURS.astype(np.uint8))})"


def heat_map(picture, depth_map, max_depth, opacity=0.65):
    """The depth map as colours over the picture in gray.

    Args:
        picture: [H * s, W * s, 3] uint8, the LR picture (s = 1) or a larger one.
        depth_map: [H, W, M] in blocks; of several maps the mean is shown.
        max_depth: the depth of the lightest colour, in blocks.
    Returns: uint8 of the picture's shape.
    """
    factor = picture.shape[0] // depth_map.shape[0]
    share = np.kron(depth_map.mean(axis=2) / max_depth, np.ones((factor, factor)))
    gray = (picture @ np.array([0.299, 0.587, 0.114]))[..., None]
    return (opacity * colours(share) + (1 - opacity) * gray + 0.5).astype(np.uint8)


def overlay(picture, depth_map, max_depth):
    """`heat_map` with a scale below it: [H * s + a bar, W * s, 3] uint8; the bar goes from depth 0 to the maximum."""
    shown = heat_map(picture, depth_map, max_depth)
    width, height = picture.shape[1], max(4, picture.shape[0] // 40)
    bar = np.broadcast_to(colours(np.arange(width) / max(1, width - 1)), (height, width, 3))
    return np.concatenate([shown, np.full((height // 2, width, 3), 255, np.uint8), bar])
