"""The one image reader and the one image writer. An image is [H, W, 3] uint8 sRGB."""

import contextlib
import dataclasses
import io
import stat
import struct
import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mobile_sr.converters.quiet import say
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
_HEAD = 4096  # bytes of a file that tell its kind, and where AVIF states its bit depth
_WITH_ALPHA = ("PNG", "WEBP")
_GRAY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_LUMA = np.array([19595, 38470, 7471], np.uint32)  # BT.601's weights times 65,536, as Pillow and metrics.py use them

_said = set()  # kinds of notes of read_image that were said already


@dataclasses.dataclass
class ImageFile:
    """A decoded image file.

    Attributes:
        pixels: [H, W, 3] uint8 sRGB, upright. alpha: [H, W] uint8, None when the file has none or is fully opaque.
        gray: the file holds no colours; its three channels are equal.
        metadata: EXIF, DPI and the names of what is not kept.
        notes: what was changed or left out on reading, in words.
    """

    pixels: np.ndarray
    alpha: np.ndarray = None
    gray: bool = False
    metadata: Metadata = dataclasses.field(default_factory=Metadata)
    notes: list = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def _open(path, whole=False):
    """The open PIL image and the first bytes of its file; any failure in the block becomes a UserError.

    With `whole`, all of a PNG's chunks are checked first, and {type: content} of them comes third ({} for other formats).
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"{path}: is a folder, expected an image file")
        if not stat.S_ISREG(mode):  # reading a pipe might never end
            raise UserError(f"{path}: not a regular file, expected an image file")
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, and of odd EXIF or APNG data that is then left alone
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
    except Exception as error:  # Pillow's decoders raise many types on damaged data
        raise UserError(f"{path}: damaged or truncated image ({_first_line(error)})") from None


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _unidentified(head):
    """Why Pillow knows no image in a file that begins with `head`."""
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return "damaged HEIC image" if HAS_HEIF else NEEDS_HEIF
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "a damaged TIFF, or one of a pixel type that is not supported (such as floating-point RGB)"
    if head.startswith((png_chunks.SIGNATURE, b"\xff\xd8\xff", b"GIF8", b"BM")) or head[8:12] in (b"WEBP", b"avif"):
        return "damaged or truncated image"
    return f"not a {_READABLE} image"


def read_file(path):
    """Read an image file with its alpha and metadata.

    An EXIF rotation is applied; an ICC profile (RGB, gray or CMYK) is converted to sRGB; gray is replicated to three
    channels; a palette is expanded; 16 bits are cut to their high byte; of an animation the first frame is read. Colours
    under alpha stay as stored.

    Returns: ImageFile.
    Raises: UserError when the file is missing, empty, truncated, too large, or not an image of a known format.
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


def read_image(path):
    """The pixels of `read_file`, without alpha: [H, W, 3] uint8 sRGB.

    What is lost with it (alpha, 16 bits, frames, a broken profile) is said on standard error, each kind once in a process.
    Raises: UserError as `read_file`.
    """
    found = read_file(path)
    notes = found.notes + (["alpha is dropped, colours are taken as stored"] if found.alpha is not None else [])
    new = [note for note in notes if note.split("(")[0] not in _said]
    if new:
        _said.update(note.split("(")[0] for note in new)
        say(f"{path}: {'; '.join(new)} (said for the first such file)", sys.stderr)
    return found.pixels


def image_size(path):
    """(width, height) as stored, without decoding the pixels. Raises: UserError as `read_file`."""
    with _open(path) as (image, *_):
        return image.size


def is_gray_file(path):
    """Whether the file stores one luminance channel (metrics then measure that channel as it is)."""
    with _open(path) as (image, *_):
        return image.mode in _GRAY_MODES


def _upright(image, notes):
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF data does not make the pixels unusable
        notes.append("its damaged EXIF data is ignored, an orientation in it too")
        return image


def _depth_notes(image, head, chunks):
    """A note when a channel has more than 8 bits."""
    bits = png_chunks.bit_depth(chunks)
    if image.format == "TIFF":
        bits = max(image.tag_v2.get(258) or (8,))
    elif image.mode in _SIXTEEN_BIT_MODES:
        bits = 16
    elif image.format == "AVIF":
        bits = _avif_bits(head)
    elif image.format == "HEIF":
        bits = image.info.get("bit_depth") or 8
    return [f"{bits} bits a channel are reduced to 8"] if bits > 8 else []


def _avif_bits(head):
    """The bits of a channel by the `pixi` box: version and flags in 4 bytes, the number of channels, the bits of each."""
    start = head.find(b"pixi") + 9
    return head[start] if 9 <= start < len(head) else 8


def _ignored_nclx(head):
    """The file's wide gamut or HDR in words, by its `colr` box of type nclx (code points of ITU-T H.273); None for neither."""
    start = head.find(b"colrnclx") + 8
    if not 8 <= start <= len(head) - 4:
        return None
    primaries, transfer = struct.unpack_from(">HH", head, start)
    wide, hdr = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}.get(primaries), {16: "PQ", 18: "HLG"}.get(transfer)
    named = " ".join(filter(None, (wide, hdr)))
    return f"its colour box ({named})" if named else None


def _frame_notes(image):
    try:
        frames = getattr(image, "n_frames", 1)
    except Exception:  # the frames behind a good first one are damaged
        frames = 2
    return ["only the first frame or page is read"] if frames > 1 else []


def _split_alpha(path, image, bits):
    """(image of mode L, RGB, CMYK or LAB, alpha [H, W] uint8 or None)."""
    if image.mode in ("I", "F"):
        raise UserError(f"{path}: 32-bit pixels (mode {image.mode}) have no defined range; convert the file to 8 or 16 bits")
    clear = image.info.get("transparency")
    if image.mode in _SIXTEEN_BIT_MODES:
        values = np.asarray(image).astype(np.uint16)
        alpha = None if clear is None else np.where(values == clear, 0, 255).astype(np.uint8)
        return Image.fromarray((values >> 8).astype(np.uint8)), alpha
    if image.mode == "L" and isinstance(clear, int) and bits < 8:
        clear = clear * 255 // (2**bits - 1)  # PNG stores it in the file's depth; Pillow has spread the pixels over 0..255
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


def file_format(suffix):
    """Pillow's name of the format that results with a suffix are written in. Raises: UserError for an unknown one."""
    kind = _WRITTEN.get(suffix.lower())
    if kind is None:
        raise UserError(f"'{suffix}': unknown image format for a result; use one of {', '.join(_WRITTEN)}")
    return kind


def lost_in(file, suffix):
    """What a result with `suffix` does not keep of an ImageFile, and what was changed on reading, as a list of notes."""
    kind = file_format(suffix)
    notes = list(file.notes)
    if file.alpha is not None and kind not in _WITH_ALPHA:
        notes.append(f"{kind} has no alpha: placed on a white background")
    lost = file.metadata.lost_in(kind)
    return notes + ([f"not kept: {', '.join(lost)}"] if lost else [])


def to_gray(image):
    """[H, W] uint8 luma (BT.601 weights) of [H, W, 3] uint8; equal channels stay as they are."""
    result = np.empty(image.shape[:2], np.uint8)
    for row in range(0, len(image), 256):  # bands keep the intermediate values small
        band = slice(row, row + 256)
        result[band] = (image[band] @ _LUMA + 32768) >> 16
    return result


def encode_image(image, suffix, alpha=None, *, gray=False, metadata=None):
    """Encode [H, W, 3] uint8 sRGB (and optional [H, W] uint8 alpha) by file suffix; returns bytes.

    PNG and BMP are lossless, WebP is written lossless, JPEG with quality 95 and full chroma.
    JPEG and BMP have no alpha: the image is placed on white.

    Args:
        gray: write one channel, the luma of the image. metadata: Metadata to keep where the format can.
    Raises: UserError for another suffix, or a size that the format cannot hold.
    """
    kind = file_format(suffix)
    if alpha is not None and kind not in _WITH_ALPHA:
        image, alpha = alphas.on_white(image, alpha), None
    encoded = Image.fromarray(to_gray(image) if gray else np.ascontiguousarray(image))
    if alpha is not None:
        encoded.putalpha(Image.fromarray(alpha))
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True, "exact": True}}.get(kind, {})
    options |= metadata.options(kind, encoded.size) if metadata else {}
    buffer = io.BytesIO()
    try:
        encoded.save(buffer, kind, **options)
    except (OSError, ValueError) as error:
        raise UserError(f"a {encoded.width}x{encoded.height} image cannot be stored as {kind} ({error})") from None
    return buffer.getvalue()


def write_image(path, image, alpha=None, *, gray=False, metadata=None):
    """Write [H, W, 3] uint8 sRGB atomically; the suffix chooses the format (see `encode_image`)."""
    write_bytes(path, encode_image(image, Path(path).suffix, alpha, gray=gray, metadata=metadata))
