"""EXIF data and resolution of image files: reads them, adapts them to the output and lists what is lost."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from PIL import Image

_ORIENTATION = 0x0112
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 0x8769, 0x8825, 0xA005
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_DPI_FACTOR = {2: 1.0, 3: 2.54}  # from dots per inch and dots per centimetre to dots per inch
_TRANSPOSED = (5, 6, 7, 8)  # orientations that exchange width and height
_SIZE_TAGS = (0xA002, 0xA003)  # PixelXDimension and PixelYDimension, in the Exif IFD
# A TIFF file stores EXIF among the tags for its own pixel layout. These tags describe the photograph:
# ImageDescription, Make, Model, Software, DateTime, Artist, HostComputer, Copyright.
_TIFF_TAGS = (270, 271, 272, 305, 306, 315, 316, 33432)
_JPEG_EXIF_BYTES = 65_527  # a JPEG segment, less its length and "Exif\0\0"
_WITH_EXIF = ("PNG", "JPEG", "WEBP")
_WITH_DPI = ("PNG", "JPEG", "BMP")
_KNOWN_TEXT = ("XML:com.adobe.xmp", "exif", "Raw profile type exif")


@dataclasses.dataclass
class Metadata:
    """The metadata of an image file.

    Attributes:
        exif: EXIF data without the orientation; None if the file has none.
        dpi: (horizontal, vertical) resolution in dots per inch, or None.
        lost: other data of the file that no output keeps, in words.
    """

    exif: Image.Exif | None = None
    dpi: tuple[float, float] | None = None
    lost: list[str] = dataclasses.field(default_factory=list)

    def options(self, kind: str, size: tuple[int, int]) -> dict[str, Any]:
        """Pillow's save options for this metadata.

        Args:
            kind: Pillow's name of the output format, such as 'PNG'.
            size: (width, height) of the output.
        """
        options: dict[str, Any] = {"dpi": self.dpi} if self.dpi and kind in _WITH_DPI else {}
        exif = self.exif
        if exif is None and self.dpi and kind == "WEBP":  # WebP stores a resolution only in EXIF
            exif = Image.Exif()
        if exif is None or kind not in _WITH_EXIF:
            return options
        if self.dpi and (kind == "WEBP" or _X_RESOLUTION in exif):
            exif[_X_RESOLUTION], exif[_Y_RESOLUTION], exif[_RESOLUTION_UNIT] = *self.dpi, 2
        sizes = exif.get_ifd(_EXIF_IFD)
        for tag, side in zip(_SIZE_TAGS, size, strict=True):
            if tag in sizes:
                sizes[tag] = side
        data = exif.tobytes()
        if kind != "JPEG" or len(data) <= _JPEG_EXIF_BYTES:
            options["exif"] = data
        return options

    def lost_in(self, kind: str) -> list[str]:
        """List what an output of a format (Pillow's name) does not keep, in words."""
        lost = list(self.lost)
        if self.exif is not None and "exif" not in self.options(kind, (1, 1)):
            lost.append("EXIF")
        return lost


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of an open PIL image, 1..8; 1 if there is none.

    Call it before the image is loaded: Pillow rotates a TIFF image when it loads it.
    """
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow raises many types for damaged EXIF data
        return 1


def read_metadata(image: Image.Image, stored_orientation: int) -> Metadata:
    """Read the metadata of an open and loaded PIL image.

    Args:
        image: the image.
        stored_orientation: result of `orientation`; width and height of the resolution are exchanged accordingly.

    Returns:
        The metadata of the upright image.
    """
    metadata = Metadata(dpi=_dpi(image.info.get("dpi")))
    try:
        metadata.exif = _exif(image)
        metadata.dpi = metadata.dpi or _exif_dpi(metadata.exif)
    except Exception:  # as in `orientation`
        metadata.lost.append("EXIF (damaged)")
    if metadata.dpi and stored_orientation in _TRANSPOSED:
        horizontal, vertical = metadata.dpi
        metadata.dpi = (vertical, horizontal)
    info = image.info
    if "xmp" in info or "XML:com.adobe.xmp" in info:
        metadata.lost.append("XMP")
    if "photoshop" in info:
        metadata.lost.append("IPTC")
    texts = getattr(image, "text", {}) if image.format == "PNG" else {}
    if "comment" in info or any(key not in _KNOWN_TEXT for key in texts):
        metadata.lost.append("comments")
    return metadata


def _exif(image: Image.Image) -> Image.Exif | None:
    source = image.getexif()
    ifds = {tag: dict(source.get_ifd(tag)) for tag in (_EXIF_IFD, _GPS_IFD)}
    ifds[_EXIF_IFD].pop(_INTEROP_IFD, None)
    result = Image.Exif()
    for tag, value in source.items():
        if tag not in (_ORIENTATION, *ifds) and (tag in _TIFF_TAGS or image.format != "TIFF"):
            result[tag] = value
    for tag, values in ifds.items():
        if values:
            result.get_ifd(tag).update(values)
            result[tag] = result.get_ifd(tag)
    if not len(result):
        return None
    result.tobytes()  # raises if a value has a type that cannot be written
    return result


def _exif_dpi(exif: Image.Exif | None) -> tuple[float, float] | None:
    if exif is None:
        return None
    factor = _DPI_FACTOR.get(exif.get(_RESOLUTION_UNIT, 0))
    if factor is None:
        return None
    return _dpi(tuple(float(exif.get(tag, 0)) * factor for tag in (_X_RESOLUTION, _Y_RESOLUTION)))


def _dpi(value: Any) -> tuple[float, float] | None:
    """(horizontal, vertical); None if the value is not a resolution, such as 1 x 1 in TIFF files without one."""
    try:
        x, y = (float(side) for side in value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return (x, y) if all(math.isfinite(side) and 1 < side < 65_535 for side in (x, y)) else None
