"""Colour management: pixels of an image with an ICC profile are converted to sRGB."""

import io

import numpy as np
from PIL import Image

_SAME = 2  # levels by which a profile that means sRGB may differ: writers round its curve and primaries differently


def to_srgb(image, profile):
    """Convert a PIL image of mode L, RGB, CMYK or LAB to sRGB; `profile` is its ICC profile as bytes, or None.

    Pixels with an sRGB profile are returned unchanged. The rendering intent is perceptual, as in most viewers.

    Returns: (image of mode L or RGB, note). The note says what could not be converted, None for nothing.
    """
    note = None
    if profile:
        try:
            return _apply(image, profile), None
        except Exception as error:  # of LittleCMS, for damaged profiles and for those of another kind of image
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            note = f"its colour profile is ignored ({reason})"
    if image.mode == "LAB":
        from PIL import ImageCms

        return _transform(image, ImageCms.createProfile("LAB"), "LAB"), note
    if image.mode == "CMYK" and note is None:
        note = "CMYK without a colour profile: the colours are an approximation"
    return image if image.mode == "L" else image.convert("RGB"), note


def _apply(image, profile):
    from PIL import ImageCms

    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = opened.profile.xcolor_space.strip()
    mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}.get(space)
    gray = image.mode == "L"
    if mode != image.mode and not (gray and mode == "RGB"):
        raise ValueError(f"a profile for {space} in an image of mode {image.mode}")
    if mode in ("L", "RGB") and _is_srgb(opened, mode):
        return image
    result = _transform(image.convert(mode), opened, mode)
    return result.getchannel("G") if gray else result


def _transform(image, profile, mode):
    from PIL import ImageCms

    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    return ImageCms.applyTransform(image, transform)


def _is_srgb(profile, mode):
    """Whether the profile leaves a grid of colours (or all grays) as they are, but for rounding."""
    if mode == "L":
        probe = np.arange(256, dtype=np.uint8)[None]
        expected = np.repeat(probe[:, :, None], 3, axis=2)
    else:
        levels = np.linspace(0, 255, 16).round().astype(np.uint8)
        expected = probe = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(64, 64, 3)
    found = np.asarray(_transform(Image.fromarray(probe), profile, mode)).astype(int)
    return np.abs(found - expected).max() <= _SAME
