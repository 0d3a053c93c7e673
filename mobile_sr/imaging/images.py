"""Reads and writes image files. An image is [H, W, 3] uint8 sRGB."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import stat
import struct
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from mobile_sr.converters.quiet import print_line
from mobile_sr.errors import UserError
from mobile_sr.files import check_not_pointer, write_bytes
from mobile_sr.imaging import alpha as alphas
from mobile_sr.imaging import colour, png_chunks
from mobile_sr.imaging.metadata import Metadata, orientation, read_metadata

try:
    import pillow_heif
except ImportError:  # the extra `heif` is not installed
    HAS_HEIF = False
else:
    pillow_heif.register_heif_opener()
    HAS_HEIF = True

MAX_PIXELS = 178_956_970  # Pillow's own limit for a decompression bomb: 2 x 1024**3 / 4 / 3
NEEDS_HEIF = "HEIC needs the extra heif: pip install 'mobile-sr[heif]'"
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF", "GIF", *(["HEIF"] if HAS_HEIF else []))
_READABLE = "PNG, JPEG, WebP, BMP, TIFF, AVIF, GIF or HEIC"
_WRITTEN = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".webp": "WEBP", ".bmp": "BMP"}
_HEAD = 4096  # bytes at the start of a file; they identify the format and contain the bit depth of an AVIF file
_WITH_ALPHA = ("PNG", "WEBP")
_GRAY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_LUMA = np.array([19595, 38470, 7471], np.uint32)  # BT.601's weights times 65,536, as Pillow and metrics.py use them

_reported: set[str] = set()  # kinds of notes that read_image has already reported


@dataclasses.dataclass
class ImageFile:
    """A decoded image file.

    Attributes:
        pixels: [H, W, 3] uint8 sRGB, upright.
        alpha: [H, W] uint8; None if the file has no alpha or is fully opaque.
        gray: whether the file has no colours; the three channels are then equal.
        metadata: EXIF, DPI and the names of what results do not keep.
        notes: what reading changed or left out, in words.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    gray: bool = False
    metadata: Metadata = dataclasses.field(default_factory=Metadata)
    notes: list[str] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def _open(path: str | Path, whole: bool = False) -> Iterator[tuple[Image.Image, bytes, dict[bytes, memoryview]]]:
    """Open an image file; any failure in the block becomes a UserError.

    Yields the PIL image, the first bytes of the file and its PNG chunks by type. The chunks are read and verified only with
    `whole`; the dict is empty without it and for other formats.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"{path}: is a folder, expected an image file")
        if not stat.S_ISREG(mode):  # reading a pipe could block forever
            raise UserError(f"{path}: not a regular file, expected an image file")
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large images, and about invalid EXIF or APNG data, which is ignored
            head = file.read(_HEAD)
            if not head:
                raise UserError(f"{path}: the file is empty")
            file.seek(0)
            png = whole and head.startswith(png_chunks.SIGNATURE)
            chunks = png_chunks.read_chunks(file.read(), path) if png else {}
            file.seek(0)
            with Image.open(file, formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UserError(f"{path}: {image.width}x{image.height} is more than {MAX_PIXELS} pixels; refused")
                yield image, head, chunks
    except UserError:
        raise
    except MemoryError:
        raise UserError(f"{path}: not enough memory to read it") from None
    except Image.DecompressionBombError:
        raise UserError(f"{path}: more than {MAX_PIXELS} pixels; refused as a decompression bomb") from None
    except Image.UnidentifiedImageError:
        check_not_pointer(path)
        raise UserError(f"{path}: {_unidentified(head)}") from None
    except OSError as error:
        if error.errno is not None:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        raise UserError(f"{path}: damaged or truncated image ({_first_line(error)})") from None
    except Exception as error:  # Pillow's decoders raise many types for damaged data
        raise UserError(f"{path}: damaged or truncated image ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _unidentified(head: bytes) -> str:
    """Returns the reason why Pillow does not recognise an image in a file that starts with `head`."""
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return "damaged HEIC image" if HAS_HEIF else NEEDS_HEIF
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "a damaged TIFF, or one of a pixel type that is not supported (such as floating-point RGB)"
    if head.startswith((png_chunks.SIGNATURE, b"\xff\xd8\xff", b"GIF8", b"BM")) or head[8:12] in (b"WEBP", b"avif"):
        return "damaged or truncated image"
    return f"not a {_READABLE} image"


def read_file(path: str | Path) -> ImageFile:
    """Read an image file with its alpha and metadata.

    Applies an EXIF rotation, converts an ICC profile (RGB, gray or CMYK) to sRGB, replicates gray to three channels and
    expands a palette. 16-bit channels are cut to their high byte. Only the first frame of an animation is read. Colours
    under alpha are not changed.

    Raises:
        UserError: the file is missing, empty, truncated, too large, or not an image of a supported format.
    """
    with _open(path, whole=True) as (image, head, chunks):
        stored_orientation = orientation(image)
        image.load()
        notes = _depth_notes(image, head, chunks) + _frame_notes(image)
        metadata = read_metadata(image, stored_orientation)
        profile = image.info.get("icc_profile")
        ignored = png_chunks.ignored_colour(chunks)
        if image.format in ("AVIF", "HEIF") and not profile:
            ignored = _ignored_nclx(head)
        if ignored:
            notes.append(f"{ignored} is ignored")
        palette = image.mode in ("P", "PA")
        image, alpha = _split_alpha(path, _upright(image, notes), png_chunks.bit_depth(chunks))
        image, note = colour.to_srgb(image, profile)
        if note:
            notes.append(note)
        gray = image.mode == "L"
        pixels = np.array(image.convert("RGB"))
    if palette and not gray:
        gray = bool((pixels == pixels[:, :, :1]).all())
    return ImageFile(pixels, None if alpha is None or alpha.min() == 255 else alpha, gray, metadata, notes)


def read_image(path: str | Path) -> np.ndarray:
    """Read the pixels of an image file, without alpha.

    Losses (alpha, 16 bits, frames, a broken profile) are reported on standard error, each kind once per process.

    Returns:
        [H, W, 3] uint8 sRGB.

    Raises:
        UserError: as `read_file`.
    """
    file = read_file(path)
    notes = file.notes + (["alpha is dropped, colours are used as stored"] if file.alpha is not None else [])
    new = [note for note in notes if note.split("(")[0] not in _reported]
    if new:
        _reported.update(note.split("(")[0] for note in new)
        print_line(f"{path}: {'; '.join(new)} (reported for the first such file only)", sys.stderr)
    return file.pixels


def image_size(path: str | Path) -> tuple[int, int]:
    """(width, height) as stored, without decoding the pixels. Raises UserError as `read_file`."""
    with _open(path) as (image, *_):
        return image.size


def is_gray_file(path: str | Path) -> bool:
    """Whether the file stores a single luminance channel, which the metrics then compare without conversion."""
    with _open(path) as (image, *_):
        return image.mode in _GRAY_MODES


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the pixels are usable without the EXIF data
        notes.append("its damaged EXIF data is ignored, including any orientation")
        return image


def _depth_notes(image: Image.Image, head: bytes, chunks: Mapping[bytes, memoryview]) -> list[str]:
    """A note if a channel has more than 8 bits."""
    bits = png_chunks.bit_depth(chunks)
    if image.format == "TIFF":
        bits = max(image.tag_v2.get(258) or (8,))  # type: ignore[attr-defined]  # an attribute of Pillow's TIFF images only
    elif image.mode in _SIXTEEN_BIT_MODES:
        bits = 16
    elif image.format == "AVIF":
        bits = _avif_bits(head)
    elif image.format == "HEIF":
        bits = image.info.get("bit_depth") or 8
    return [f"{bits} bits per channel are reduced to 8"] if bits > 8 else []


def _avif_bits(head: bytes) -> int:
    """Bits per channel from the `pixi` box: version and flags in 4 bytes, the number of channels, the bits of each."""
    start = head.find(b"pixi") + 9
    return head[start] if 9 <= start < len(head) else 8


def _ignored_nclx(head: bytes) -> str | None:
    """Describe a wide gamut or HDR in the `colr` box of type nclx (code points of ITU-T H.273); None for neither."""
    start = head.find(b"colrnclx") + 8
    if not 8 <= start <= len(head) - 4:
        return None
    primaries, transfer = struct.unpack_from(">HH", head, start)
    wide, hdr = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}.get(primaries), {16: "PQ", 18: "HLG"}.get(transfer)
    description = " ".join(filter(None, (wide, hdr)))
    return f"its colour box ({description})" if description else None


def _frame_notes(image: Image.Image) -> list[str]:
    try:
        frames = getattr(image, "n_frames", 1)
    except Exception:  # the first frame is readable and a later one is damaged
        frames = 2
    return ["only the first frame or page is read"] if frames > 1 else []


def _split_alpha(path: str | Path, image: Image.Image, bits: int) -> tuple[Image.Image, np.ndarray | None]:
    """Split an image into one of mode L, RGB, CMYK or LAB and its alpha, [H, W] uint8 or None."""
    if image.mode in ("I", "F"):
        raise UserError(f"{path}: 32-bit pixels (mode {image.mode}) have no defined range; convert the file to 8 or 16 bits")
    clear = image.info.get("transparency")
    if image.mode in _SIXTEEN_BIT_MODES:
        values = np.asarray(image).astype(np.uint16)
        alpha = None if clear is None else np.where(values == clear, 0, 255).astype(np.uint8)
        return Image.fromarray((values >> 8).astype(np.uint8)), alpha
    if image.mode == "L" and isinstance(clear, int) and bits < 8:
        clear = clear * 255 // (2**bits - 1)  # PNG stores it at the file's bit depth; Pillow has scaled the pixels to 0..255
    if image.mode in ("1", "L") and isinstance(clear, int):
        levels = np.asarray(image.convert("L"))
        return Image.fromarray(levels), np.where(levels == clear, 0, 255).astype(np.uint8)
    if image.mode == "RGB" and bits == 16 and isinstance(clear, tuple):
        image.info["transparency"] = tuple(level >> 8 for level in clear)
    if "A" not in image.getbands() and "a" not in image.getbands() and clear is None:
        if image.mode in ("L", "CMYK", "LAB"):
            return image, None
        return image.convert("L" if image.mode == "1" else "RGB"), None
    gray = image.mode in ("LA", "La")
    image = image.convert("LA" if gray else "RGBA")
    alpha = np.array(image.getchannel("A"))
    if gray:
        return image.getchannel("L"), alpha
    return image.convert("RGB"), alpha


def file_format(suffix: str) -> str:
    """Pillow's name of the output format for a file suffix. Raises UserError if the suffix is unknown."""
    kind = _WRITTEN.get(suffix.lower())
    if kind is None:
        raise UserError(f"'{suffix}': unknown image format for a result; use one of {', '.join(_WRITTEN)}")
    return kind


def lost_in(file: ImageFile, suffix: str) -> list[str]:
    """List what was changed on reading `file` and what an output file with `suffix` does not keep.

    Raises:
        UserError: the suffix is unknown.
    """
    kind = file_format(suffix)
    notes = list(file.notes)
    if file.alpha is not None and kind not in _WITH_ALPHA:
        notes.append(f"{kind} has no alpha: placed on a white background")
    lost = file.metadata.lost_in(kind)
    return notes + ([f"not kept: {', '.join(lost)}"] if lost else [])


def to_gray(image: np.ndarray) -> np.ndarray:
    """Convert an image to luma with the weights of BT.601; three equal channels give the same values.

    Args:
        image: [H, W, 3] uint8.

    Returns:
        [H, W] uint8.
    """
    result = np.empty(image.shape[:2], np.uint8)
    for row in range(0, len(image), 256):  # bands of rows limit the memory for intermediate values
        band = slice(row, row + 256)
        result[band] = (image[band] @ _LUMA + 32768) >> 16
    return result


def encode_image(
    image: np.ndarray, suffix: str, alpha: np.ndarray | None = None, *, gray: bool = False, metadata: Metadata | None = None
) -> bytes:
    """Encode an image in the format of a file suffix.

    PNG, BMP and WebP are lossless. JPEG has quality 95 and full chroma. JPEG and BMP have no alpha: the image is composited
    on white.

    Args:
        image: [H, W, 3] uint8 sRGB.
        suffix: of the output file, such as '.png'.
        alpha: [H, W] uint8, or None.
        gray: write one channel, the luma of the image.
        metadata: metadata to keep if the format supports it.

    Returns:
        The content of the file.

    Raises:
        UserError: the suffix is unknown, or the format does not support an image of this size.
    """
    kind = file_format(suffix)
    if alpha is not None and kind not in _WITH_ALPHA:
        image, alpha = alphas.on_white(image, alpha), None
    encoded = Image.fromarray(to_gray(image) if gray else np.ascontiguousarray(image))
    if alpha is not None:
        encoded.putalpha(Image.fromarray(alpha))
    options: dict[str, Any] = {}
    if kind == "JPEG":
        options = {"quality": 95, "subsampling": 0}
    elif kind == "WEBP":
        options = {"lossless": True, "exact": True}
    options |= metadata.options(kind, encoded.size) if metadata else {}
    buffer = io.BytesIO()
    try:
        encoded.save(buffer, kind, **options)
    except (OSError, ValueError) as error:
        raise UserError(f"a {encoded.width}x{encoded.height} image cannot be stored as {kind} ({error})") from None
    return buffer.getvalue()


def write_image(
    path: str | Path,
    image: np.ndarray,
    alpha: np.ndarray | None = None,
    *,
    gray: bool = False,
    metadata: Metadata | None = None,
) -> None:
    """Write an image file atomically, in the format of the suffix.

    Args:
        path: file to write.
        image, alpha, gray, metadata: as in `encode_image`.

    Raises:
        UserError: as `encode_image`, and if the file cannot be written.
    """
    write_bytes(path, encode_image(image, Path(path).suffix, alpha, gray=gray, metadata=metadata))
