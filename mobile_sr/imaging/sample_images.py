"""Sample images that need no download: colour photographs from scikit-image's wheel, and synthetic images."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.imaging.resize import imresize

# Large ones are halved: HR images of about 0.2 megapixels keep the demo short.
CALIBRATION = ("rocket", "immunohistochemistry", "stereo_motorcycle")
EVALUATION = ("astronaut", "chelsea", "coffee", "hubble_deep_field")
# Soil, skin, shaded blue, leaves, orange, yellow, grass, red, dark blue, gold, green, sky, black, white, wood, forest; most
# are patches of the Macbeth ColorChecker, which represent colours of nature.
_COLOURS = np.array(
    [
        (115, 82, 68),
        (194, 150, 130),
        (98, 122, 157),
        (87, 108, 67),
        (214, 126, 44),
        (231, 199, 31),
        (157, 188, 64),
        (175, 54, 60),
        (56, 61, 150),
        (224, 163, 46),
        (70, 148, 73),
        (135, 190, 235),
        (40, 30, 25),
        (255, 255, 255),
        (120, 60, 20),
        (60, 100, 30),
    ],
    np.float32,
)


def images(names: Iterable[str]) -> list[tuple[str, np.ndarray]]:
    """Load images of scikit-image by name, such as those in CALIBRATION and EVALUATION.

    Returns:
        [(name, [H, W, 3] uint8)].

    Raises:
        UserError: scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError:
        raise UserError(
            "scikit-image, which provides the default images, is not installed: "
            "pip install 'mobile-sr[demo]', or give a folder of images"
        ) from None
    return [(name, _load(data, name)) for name in names]


def _load(data: ModuleType, name: str) -> np.ndarray:
    image = getattr(data, name)()
    image = np.ascontiguousarray(image[0] if isinstance(image, tuple) else image)[..., :3]
    while image.shape[0] * image.shape[1] > 500_000:
        image = imresize(image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2], 0.5)
    return image


def generated(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Make a synthetic image of smooth shapes with a little noise, similar to a photograph.

    Args:
        height: in pixels.
        width: in pixels.
        seed: the same seed gives the same image.

    Returns:
        [height, width, 3] uint8.
    """
    rng = np.random.default_rng(seed)
    side = min(16, 1 + min(height, width) // 4)  # of a shape; small images have several, too
    shapes = rng.integers(0, 256, (-(-height // side), -(-width // side), 3), np.uint8)
    noise = rng.normal(0, 4, (height, width, 3))
    return np.clip(imresize(shapes, side)[:height, :width] + noise + 0.5, 0, 255).astype(np.uint8)


def pair(height: int, width: int, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Make a colourful synthetic HR and LR pair: smooth colours with hard-edged discs on top.

    The colours are those of photographs. Red and blue differ in them, which reveals a network with swapped channels.

    At scale 1 the LR image is the HR image after bicubic downscaling to a half and back, the usual input of such networks.

    Args:
        height: of the LR image, in pixels.
        width: of the LR image, in pixels.
        scale: scale factor of the pair.

    Returns:
        (HR, LR): [height * scale, width * scale, 3] and [height, width, 3] uint8.
    """
    rng = np.random.default_rng(0)
    block, anti_aliasing = 8, 4

    def colours(*shape: int) -> np.ndarray:
        return _COLOURS[rng.integers(0, len(_COLOURS), shape)] * rng.uniform(0.3, 1.0, (*shape, 1)).astype(np.float32)

    blocks = colours(-(-height // block) + 1, -(-width // block) + 1).astype(np.uint8)
    fine = scale * anti_aliasing
    image = imresize(blocks, block * fine)[: height * fine, : width * fine].astype(np.float32)
    for _ in range(min(64, max(4, height * width // 40))):
        y, x = rng.random(2) * (height, width) * fine
        radius = (1 + 4 * rng.random()) * fine
        top, left = (max(0, int(center - radius)) for center in (y, x))
        part = image[top : int(y + radius) + 1, left : int(x + radius) + 1]
        rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
        inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        part[inside] = 0.3 * part[inside] + 0.7 * colours()
    hr = imresize((image + 0.5).astype(np.uint8), 1 / anti_aliasing)
    return hr, imresize(imresize(hr, 0.5), 2)[:height, :width] if scale == 1 else imresize(hr, 1 / scale)
