"""The one image reader and the one image writer. An image is [H, W, 3] uint8 RGB."""

import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mobile_sr.errors import UserError
from mobile_sr.files import check_not_pointer, write_bytes

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MAX_PIXELS = 178_956_970  # Pillow's own limit for a decompression bomb: 2 x 1024**3 / 4 / 3
_GRAY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N")


def _open(path):
    path = Path(path)
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder, expected an image file")
        if path.stat().st_size == 0:
            raise UserError(f"{path}: the file is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, and of odd EXIF or APNG data that is then left alone
            image = Image.open(path, formats=("PNG", "JPEG", "WEBP", "BMP"))
    except Image.DecompressionBombError:
        raise UserError(f"{path}: more than {MAX_PIXELS} pixels; refused as a decompression bomb") from None
    except Image.UnidentifiedImageError:
        check_not_pointer(path)
        raise UserError(f"{path}: not a PNG, JPEG, WebP or BMP image") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (SyntaxError, ValueError, OverflowError, EOFError, MemoryError) as error:
        raise UserError(f"{path}: damaged image ({error})") from None
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise UserError(f"{path}: {image.width}x{image.height} is more than {MAX_PIXELS} pixels; refused")
    return image


def _decode(path):
    """The decoded PIL image, upright; raises UserError on a truncated or damaged file."""
    try:
        with _open(path) as image, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
            return ImageOps.exif_transpose(image)
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise many types on damaged data
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: damaged or truncated image ({text})") from None


def read_image(path):
    """Read an image file.

    Gray is replicated to three channels, a palette is expanded, CMYK is converted, an EXIF rotation is applied,
    alpha is dropped, 16 bits are cut to their high byte, of an animation the first frame is taken.

    Returns: [H, W, 3] uint8 RGB.
    Raises: UserError when the file is missing, empty, truncated, too large or no PNG, JPEG, WebP or BMP image.
    """
    return read_with_alpha(path)[0]


def read_with_alpha(path):
    """As read_image, but (image, alpha): alpha is [H, W] uint8, or None when the file has none or is fully opaque."""
    image = _decode(path)
    if image.mode in _SIXTEEN_BIT_MODES:
        high = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(high[:, :, None], 3, axis=2), None
    if image.mode in ("I", "F"):
        raise UserError(f"{path}: 32-bit pixels (mode {image.mode}) have no defined range; convert the file to 8 or 16 bits")
    if "A" not in image.getbands() and "transparency" not in image.info:
        return np.array(image.convert("RGB")), None
    image = image.convert("RGBA")  # a palette or gray image with a transparent entry too
    alpha = np.array(image.getchannel("A"))
    return np.array(image.convert("RGB")), None if alpha.min() == 255 else alpha


def is_gray_file(path):
    """Whether the file stores one luminance channel (metrics then measure that channel as it is)."""
    with _open(path) as image:
        return image.mode in _GRAY_MODES


def encode_image(image, suffix, alpha=None):
    """Encode [H, W, 3] uint8 RGB (and optional [H, W] uint8 alpha) by file suffix; returns bytes.

    PNG and BMP are lossless, WebP is written lossless, JPEG with quality 95 and full chroma.
    JPEG and BMP have no alpha: it is dropped. Raises UserError for another suffix.
    """
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP"}
    kind = formats.get(suffix.lower())
    if kind is None:
        raise UserError(f"'{suffix}': unknown image format; use one of {', '.join(SUFFIXES)}")
    picture = Image.fromarray(np.ascontiguousarray(image))
    if alpha is not None and kind in ("PNG", "WEBP"):
        picture.putalpha(Image.fromarray(alpha))
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True, "exact": True}}.get(kind, {})
    buffer = io.BytesIO()
    try:
        picture.save(buffer, kind, **options)
    except (OSError, ValueError) as error:
        raise UserError(f"a {picture.width}x{picture.height} image cannot be stored as {kind} ({error})") from None
    return buffer.getvalue()


def write_image(path, image, alpha=None):
    """Write [H, W, 3] uint8 RGB atomically; the suffix chooses the format (see `encode_image`)."""
    write_bytes(path, encode_image(image, Path(path).suffix, alpha))


def list_images(folder):
    """All image files below `folder`, sorted by relative path. Raises UserError when there is none.

    Links to folders are followed; of a folder that is reached in two ways the first counts, so that a link upwards ends.
    """
    folder = Path(folder)
    if not folder.exists():
        raise UserError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise UserError(f"{folder}: not a folder")
    found = sorted(
        (p for p in _files(folder) if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()),
        key=lambda p: p.relative_to(folder).as_posix(),
    )
    if not found:
        raise UserError(f"{folder}: no image in it (looked for {', '.join(SUFFIXES)})")
    return found


def _files(folder):
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
        else:
            seen.add(real)
            yield from (Path(place) / name for name in names)
