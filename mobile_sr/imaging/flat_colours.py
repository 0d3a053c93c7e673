"""Flat colours and ramps: what a network must reproduce and natural images rarely contain.

A quantized network can lose 0.03 dB on photographs and still turn pure red into pink: the ranges of its activations were
measured on images without saturated areas. PSNR on natural images does not see that; these images do.
"""

import itertools

import numpy as np

from mobile_sr.imaging.resize import imresize

LEVELS = (0, 128, 255)
COLOURS = tuple(itertools.product(LEVELS, repeat=3))  # the corners of the RGB cube, the mid tones of its edges, gray
LIMIT = 3  # levels: what the packaged files keep to
QUANTIZATION_LIMIT = 16  # levels: an export that moves a flat colour farther from the float network is refused
SIDE = 48  # LR pixels; the inner half is measured: zero padding at the border does not count


def flat(colour, height=SIDE, width=SIDE):
    """[height, width, 3] uint8 of one colour."""
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()


def ramps(height=SIDE, width=SIDE):
    """{name: [height, width, 3] uint8}: from black to gray and to each saturated colour, and from there to white."""
    made = {}
    position = np.linspace(0, 1, width)[None, :, None]
    for corner in itertools.product((0, 1), repeat=3):
        colour = np.array(corner) * 255.0
        name = "".join(letter for letter, on in zip("RGB", corner, strict=True) if on) or "K"
        if any(corner):
            made[f"K-{name}"] = position * colour
        if any(corner) and not all(corner):
            made[f"{name}-W"] = colour + position * (255 - colour)
    return {name: np.repeat(np.floor(image + 0.5).astype(np.uint8), height, axis=0) for name, image in made.items()}


def probes(size=None):
    """[([H, W, 3] uint8, [(name, rows, columns), ...])]: images and, of each, the areas that are measured.

    Args:
        size: (H, W) where the network takes one LR size only. Where that holds all colours in cells of SIDE x SIDE, two
            charts stand for the single images.
    """
    height, width = size or (SIDE, SIDE)
    rows, columns = 5, 6  # of a chart's cells, 27 of 30 being used
    if height < rows * SIDE or width < columns * SIDE:
        area = _inner(0, height), _inner(0, width)
        images = {_name(colour): flat(colour, height, width) for colour in COLOURS} | ramps(height, width)
        return [(image, [(name, *area)]) for name, image in images.items()]
    colours, areas = np.zeros((height, width, 3), np.uint8), []
    for k, colour in enumerate(COLOURS):
        top, bottom = k // columns * height // rows, (k // columns + 1) * height // rows
        left, right = k % columns * width // columns, (k % columns + 1) * width // columns
        colours[top:bottom, left:right] = colour
        areas.append((_name(colour), _inner(top, bottom), _inner(left, right)))
    bands = ramps(1, width)
    edges = [k * height // len(bands) for k in range(len(bands) + 1)]
    stacked = [np.repeat(band, edges[k + 1] - edges[k], axis=0) for k, band in enumerate(bands.values())]
    inner = [(name, _inner(*edges[k : k + 2]), _inner(0, width)) for k, name in enumerate(bands)]
    return [(colours, areas), (np.concatenate(stacked), inner)]


def _name(colour):
    return ", ".join(map(str, colour))


def _inner(start, stop):
    return slice(start + (stop - start) // 4, stop - (stop - start) // 4)


def measure(upscale, scale, size=None, reference=None):
    """The largest error of a network on flat colours and on ramps, in levels of 0..255.

    Args:
        upscale: function from [H, W, 3] uint8 to [H * s, W * s, 3] uint8.
        size: as of `probes`.
        reference: as upscale, what the results should be; None is the flat colour itself and the ramp's bicubic
            interpolation.
    Returns: {"flat": int, "colour": "r, g, b", "becomes": "r, g, b", "ramps": int, "ramp": name}: the worst flat colour, what
        its area becomes on average, and the worst ramp, such as "K-R" from black to red or "R-W" from there to white.
    """
    worst = {"flat": -1, "colour": None, "becomes": None, "ramps": -1, "ramp": None}
    for image, areas in probes(size):
        sr = upscale(image).astype(int)
        wanted = (imresize(image, scale) if reference is None else reference(image)).astype(int)
        for name, *area in areas:
            window = tuple(slice(part.start * scale, part.stop * scale) for part in area)
            error = int(np.abs(sr[window] - wanted[window]).max())
            if "," in name and error > worst["flat"]:
                worst.update(flat=error, colour=name, becomes=_name(sr[window].mean(axis=(0, 1)).round().astype(int)))
            elif "," not in name and error > worst["ramps"]:
                worst.update(ramps=error, ramp=name)
    return worst


def describe(found):
    """One line about a result of `measure`."""
    flat_error = f"flat colours within {found['flat']} levels"
    worst = f" (({found['colour']}) becomes ({found['becomes']}))" if found["flat"] > LIMIT else ""
    return f"{flat_error}{worst}, ramps within {found['ramps']}"


def patch(rng, height, width, scale):
    """A random training pair of a flat colour or a linear ramp: ([h, w, 3], [h * s, w * s, 3]) float32 in 0..255.

    Half of the patches are flat, half are ramps between two colours in a random direction. A channel is 0 or 255 with a
    probability of 0.3 each, else uniform: corners, edges and faces of the RGB cube come up as often as its inside.
    """
    ends = rng.uniform(0, 255, (2, 3))
    choice = rng.random((2, 3))
    ends = np.where(choice < 0.3, 0.0, np.where(choice < 0.6, 255.0, ends))
    if rng.random() < 0.5:
        ends[1] = ends[0]
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.sin(angle), np.cos(angle)])
    span = np.abs(direction) @ [height, width]

    def ramp(factor):
        y, x = ((np.arange(side * factor) + 0.5) / factor - side / 2 for side in (height, width))
        position = (y[:, None] * direction[0] + x[None] * direction[1]) / span + 0.5
        image = ends[0] + position[..., None] * (ends[1] - ends[0])
        return np.floor(image + 0.5).astype(np.float32)

    return ramp(1), ramp(scale)
