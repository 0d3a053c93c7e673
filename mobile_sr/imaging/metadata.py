"""EXIF data and resolution of image files: read, adapted to the result, and what is not carried over."""

import dataclasses
import math

from PIL import Image

_ORIENTATION = 0x0112
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 0x8769, 0x8825, 0xA005
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_DOTS_PER = {2: 1.0, 3: 2.54}  # inch, centimetre: factor to dots per inch
_TURNED = (5, 6, 7, 8)  # orientations that exchange width and height
_SIZE_TAGS = (0xA002, 0xA003)  # PixelXDimension and PixelYDimension, in the Exif IFD
# A TIFF file keeps EXIF among the tags that lay out its own pixels; these are the ones that describe the photograph:
# ImageDescription, Make, Model, Software, DateTime, Artist, HostComputer, Copyright.
_TIFF_TAGS = (270, 271, 272, 305, 306, 315, 316, 33432)
_JPEG_EXIF_BYTES = 65_527  # a JPEG segment, less its length and "Exif\0\0"
_WITH_EXIF = ("PNG", "JPEG", "WEBP")
_WITH_DPI = ("PNG", "JPEG", "BMP")
_KNOWN_TEXT = ("XML:com.adobe.xmp", "exif", "Raw profile type exif")


@dataclasses.dataclass
class Metadata:
    """What describes an image besides its pixels.

    Attributes:
        exif: PIL.Image.Exif without orientation, None when the file has none. dpi: (horizontal, vertical), or None.
        lost: what the file has besides and no result keeps, in words.
    """

    exif: Image.Exif = None
    dpi: tuple = None
    lost: list = dataclasses.field(default_factory=list)

    def options(self, kind, size):
        """Pillow's save options for a format ('PNG', ...) and the size (width, height) of the result."""
        options = {"dpi": self.dpi} if self.dpi and kind in _WITH_DPI else {}
        exif = self.exif
        if exif is None and self.dpi and kind == "WEBP":  # which has no other place for a resolution
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

    def lost_in(self, kind):
        """What a result of a format does not keep, in words."""
        lost = list(self.lost)
        if self.exif is not None and "exif" not in self.options(kind, (1, 1)):
            lost.append("EXIF")
        return lost


def orientation(image):
    """The EXIF orientation of an open PIL image, 1..8; 1 where there is none. Ask before loading: that turns a TIFF."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow raises many types for damaged EXIF data
        return 1


def read_metadata(image, stored_orientation):
    """The Metadata of an open and loaded PIL image, for the upright image."""
    found = Metadata(dpi=_dpi(image.info.get("dpi")))
    try:
        found.exif = _exif(image)
        found.dpi = found.dpi or _exif_dpi(found.exif)
    except Exception:  # as in `orientation`
        found.lost.append("EXIF (damaged)")
    if found.dpi and stored_orientation in _TURNED:
        found.dpi = found.dpi[::-1]
    info = image.info
    if "xmp" in info or "XML:com.adobe.xmp" in info:
        found.lost.append("XMP")
    if "photoshop" in info:
        found.lost.append("IPTC")
    texts = getattr(image, "text", {}) if image.format == "PNG" else {}
    if "comment" in info or any(key not in _KNOWN_TEXT for key in texts):
        found.lost.append("comments")
    return found


def _exif(image):
    source = image.getexif()
    sub = {tag: dict(source.get_ifd(tag)) for tag in (_EXIF_IFD, _GPS_IFD)}
    sub[_EXIF_IFD].pop(_INTEROP_IFD, None)
    result = Image.Exif()
    for tag, value in source.items():
        if tag not in (_ORIENTATION, *sub) and (tag in _TIFF_TAGS or image.format != "TIFF"):
            result[tag] = value
    for tag, values in sub.items():
        if values:
            result.get_ifd(tag).update(values)
            result[tag] = result.get_ifd(tag)
    if not len(result):
        return None
    result.tobytes()  # raises for values of types that cannot be written
    return result


def _exif_dpi(exif):
    factor = _DOTS_PER.get(exif.get(_RESOLUTION_UNIT)) if exif is not None else None
    if factor is None:
        return None
    return _dpi(tuple(float(exif.get(tag, 0)) * factor for tag in (_X_RESOLUTION, _Y_RESOLUTION)))


def _dpi(value):
    """(horizontal, vertical); None for what is no resolution, such as the 1 x 1 of TIFF files without one."""
    try:
        x, y = (float(side) for side in value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return (x, y) if all(math.isfinite(side) and 1 < side < 65_535 for side in (x, y)) else None
