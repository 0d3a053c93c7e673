"""Colour management: converts images with an ICC profile to sRGB."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from PIL import ImageCms

_SRGB_TOLERANCE = 2  # levels; writers of sRGB profiles round the curve and the primaries differently


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str | None]:
    """Convert a PIL image to sRGB.

    An image with an sRGB profile is returned unchanged. The rendering intent is perceptual, as in most viewers.

    Args:
        image: image of mode L, RGB, CMYK or LAB.
        profile: its ICC profile, or None.

    Returns:
        (image of mode L or RGB, note). The note says what could not be converted; None if everything was.
    """
    note = None
    if profile:
        try:
            return _apply(image, profile), None
        except Exception as error:  # LittleCMS: the profile is damaged or describes another colour space
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            note = f"its colour profile is ignored ({reason})"
    if image.mode == "LAB":
        from PIL import ImageCms

        return _transform(image, ImageCms.createProfile("LAB"), "LAB"), note
    if image.mode == "CMYK" and note is None:
        note = "CMYK without a colour profile: the colours are an approximation"
    return image if image.mode == "L" else image.convert("RGB"), note


def _apply(image: Image.Image, profile: bytes) -> Image.Image:
    from PIL import ImageCms

    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = opened.profile.xcolor_space.strip()
    mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}.get(space)
    gray = image.mode == "L"
    if mode is None or (mode != image.mode and not (gray and mode == "RGB")):
        raise ValueError(f"a profile for {space} in an image of mode {image.mode}")
    if mode in ("L", "RGB") and _is_srgb(opened, mode):
        return image
    result = _transform(image.convert(mode), opened, mode)
    return result.getchannel("G") if gray else result


def _transform(image: Image.Image, profile: ImageCms.ImageCmsProfile | ImageCms.core.CmsProfile, mode: str) -> Image.Image:
    from PIL import ImageCms

    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    result = ImageCms.applyTransform(image, transform)
    assert result is not None  # without inPlace, applyTransform returns a new image
    return result


def _is_srgb(profile: ImageCms.ImageCmsProfile, mode: str) -> bool:
    """Whether the profile maps a grid of colours (or all gray levels) to themselves, up to rounding."""
    if mode == "L":
        probe = np.arange(256, dtype=np.uint8)[None]
        expected = np.repeat(probe[:, :, None], 3, axis=2)
    else:
        levels = np.linspace(0, 255, 16).round().astype(np.uint8)
        expected = probe = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(64, 64, 3)
    result = np.asarray(_transform(Image.fromarray(probe), profile, mode)).astype(int)
    return bool(np.abs(result - expected).max() <= _SRGB_TOLERANCE)
