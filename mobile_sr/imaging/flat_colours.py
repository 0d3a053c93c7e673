"""Flat-colour and ramp test: measures colour errors that natural images rarely show.

A quantized network can lose only 0.03 dB on photographs and still turn pure red into pink, because the ranges of its
activations were measured on images without saturated areas. PSNR on natural images does not reveal this. These test images do.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mobile_sr.imaging.resize import imresize

LEVELS = (0, 128, 255)
COLOURS = tuple(itertools.product(LEVELS, repeat=3))  # the RGB cube's corners, the midpoints of its edges and faces, gray
LIMIT = 3  # levels; the packaged files stay within it
QUANTIZATION_LIMIT = 16  # levels; an export that moves a flat colour farther from the float network is refused
SIDE = 48  # LR pixels; only the inner half is measured, to exclude the zero padding at the border

Area = tuple[str, slice, slice]  # name, rows and columns


def flat(colour: tuple[int, ...], height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """Make an image of one colour: [height, width, 3] uint8."""
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()


def ramps(height: int = SIDE, width: int = SIDE) -> dict[str, np.ndarray]:
    """Make horizontal ramps from black to each saturated colour and white, and from each saturated colour to white.

    Returns:
        {name: [height, width, 3] uint8}, with names such as "K-R" (black to red) and "R-W" (red to white).
    """
    images = {}
    position = np.linspace(0, 1, width)[None, :, None]
    for corner in itertools.product((0, 1), repeat=3):
        colour = np.array(corner) * 255.0
        name = "".join(letter for letter, on in zip("RGB", corner, strict=True) if on) or "K"
        if any(corner):
            images[f"K-{name}"] = position * colour
        if any(corner) and not all(corner):
            images[f"{name}-W"] = colour + position * (255 - colour)
    return {name: np.repeat(np.floor(image + 0.5).astype(np.uint8), height, axis=0) for name, image in images.items()}


def probes(size: tuple[int, int] | None = None) -> list[tuple[np.ndarray, list[Area]]]:
    """Make the test images.

    Args:
        size: (H, W) if the network accepts a single LR size; None for images of SIDE x SIDE. If all colours fit into the
            size in cells of SIDE x SIDE, two charts replace the separate images.

    Returns:
        [(image, areas)]: [H, W, 3] uint8 and the (name, rows, columns) of each area to measure.
    """
    height, width = size or (SIDE, SIDE)
    rows, columns = 5, 6  # of a chart; 27 of its 30 cells are used
    if height < rows * SIDE or width < columns * SIDE:
        inner_rows, inner_columns = _inner(0, height), _inner(0, width)
        images = {_name(colour): flat(colour, height, width) for colour in COLOURS} | ramps(height, width)
        return [(image, [(name, inner_rows, inner_columns)]) for name, image in images.items()]
    colours = np.zeros((height, width, 3), np.uint8)
    areas: list[Area] = []
    for k, colour in enumerate(COLOURS):
        top, bottom = k // columns * height // rows, (k // columns + 1) * height // rows
        left, right = k % columns * width // columns, (k % columns + 1) * width // columns
        colours[top:bottom, left:right] = colour
        areas.append((_name(colour), _inner(top, bottom), _inner(left, right)))
    bands = ramps(1, width)
    edges = [k * height // len(bands) for k in range(len(bands) + 1)]
    stacked = [np.repeat(band, edges[k + 1] - edges[k], axis=0) for k, band in enumerate(bands.values())]
    inner = [(name, _inner(edges[k], edges[k + 1]), _inner(0, width)) for k, name in enumerate(bands)]
    return [(colours, areas), (np.concatenate(stacked), inner)]


def _name(colour: tuple[int, ...] | np.ndarray) -> str:
    return ", ".join(map(str, colour))


def _inner(start: int, stop: int) -> slice:
    """The inner half of a range."""
    return slice(start + (stop - start) // 4, stop - (stop - start) // 4)


def measure(
    upscale: Callable[[np.ndarray], np.ndarray],
    scale: int,
    size: tuple[int, int] | None = None,
    reference: Callable[[np.ndarray], np.ndarray] | None = None,
) -> dict[str, Any]:
    """Measure the largest error of a network on flat colours and on ramps, in levels of 0..255.

    Args:
        upscale: function from [H, W, 3] uint8 to [H * scale, W * scale, 3] uint8.
        scale: its scale factor.
        size: as in `probes`.
        reference: function as `upscale` that returns the expected output; None expects the flat colour itself and the
            bicubic interpolation of a ramp.

    Returns:
        {"flat": int, "colour": "r, g, b", "becomes": "r, g, b", "ramps": int, "ramp": name}: the error of the worst flat
        colour, that colour and the mean output for it; the error of the worst ramp and its name, such as "K-R" (black to
        red) or "R-W" (red to white).
    """
    worst: dict[str, Any] = {"flat": -1, "colour": None, "becomes": None, "ramps": -1, "ramp": None}
    for image, areas in probes(size):
        sr = upscale(image).astype(int)
        expected = (imresize(image, scale) if reference is None else reference(image)).astype(int)
        for name, *area in areas:
            window = tuple(slice(part.start * scale, part.stop * scale) for part in area)
            error = int(np.abs(sr[window] - expected[window]).max())
            if "," in name and error > worst["flat"]:
                worst.update(flat=error, colour=name, becomes=_name(sr[window].mean(axis=(0, 1)).round().astype(int)))
            elif "," not in name and error > worst["ramps"]:
                worst.update(ramps=error, ramp=name)
    return worst


def describe(errors: Mapping[str, Any]) -> str:
    """Format a result of `measure` as one line of text."""
    flat_error = f"flat colours within {errors['flat']} levels"
    worst = f" (({errors['colour']}) becomes ({errors['becomes']}))" if errors["flat"] > LIMIT else ""
    return f"{flat_error}{worst}, ramps within {errors['ramps']}"


def patch(rng: np.random.Generator, height: int, width: int, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Make a random training pair of a flat colour or a linear ramp.

    Half of the patches are flat, half are ramps between two colours in a random direction. A channel is 0 or 255 with a
    probability of 0.3 each, and uniform otherwise. This samples the corners, edges and faces of the RGB cube as well as its
    interior.

    Args:
        rng: source of randomness.
        height: of the LR patch, in pixels.
        width: of the LR patch, in pixels.
        scale: scale factor of the pair.

    Returns:
        (LR, HR): [height, width, 3] and [height * scale, width * scale, 3] float32 in 0..255.
    """
    ends = rng.uniform(0, 255, (2, 3))
    choice = rng.random((2, 3))
    ends = np.where(choice < 0.3, 0.0, np.where(choice < 0.6, 255.0, ends))
    if rng.random() < 0.5:
        ends[1] = ends[0]
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.sin(angle), np.cos(angle)])
    span = np.abs(direction) @ [height, width]

    def ramp(factor: int) -> np.ndarray:
        y, x = ((np.arange(side * factor) + 0.5) / factor - side / 2 for side in (height, width))
        position = (y[:, None] * direction[0] + x[None] * direction[1]) / span + 0.5
        image = ends[0] + position[..., None] * (ends[1] - ends[0])
        return np.floor(image + 0.5).astype(np.float32)

    return ramp(1), ramp(scale)
