"""The chunks of a PNG file: their checksums, the bit depth, and colour information that Pillow does not apply."""

import struct
import zlib

from mobile_sr.errors import UserError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SRGB_GAMMA = 45455  # gAMA times 100,000 that stands for sRGB's curve
_SRGB_CICP = (1, 13)  # primaries of BT.709 and the transfer function of sRGB


def read_chunks(data, path):
    """{type: content} of the first chunk of each type, up to IEND. `data` is the whole file.

    Pillow leaves the checksums of small and ancillary chunks alone, so they are all checked here.
    Raises: UserError when a chunk is cut off or its CRC is wrong.
    """
    chunks, start = {}, len(SIGNATURE)
    while b"IEND" not in chunks:
        if len(data) < start + 12:
            raise UserError(f"{path}: damaged or truncated image (the PNG file ends before its IEND chunk)")
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 8 + length
        name = kind.decode("ascii", "backslashreplace")
        if len(data) < end + 4:
            raise UserError(f"{path}: damaged or truncated image (its PNG chunk {name!r} is cut off)")
        content = memoryview(data)[start + 8 : end]
        if zlib.crc32(content, zlib.crc32(kind)) != struct.unpack_from(">I", data, end)[0]:
            raise UserError(f"{path}: damaged image (wrong CRC in its PNG chunk {name!r})")
        chunks.setdefault(kind, content)
        start = end + 4
    return chunks


def bit_depth(chunks):
    """Bits of a channel, from IHDR."""
    return chunks[b"IHDR"][8] if len(chunks.get(b"IHDR", b"")) > 8 else 8


def ignored_colour(chunks):
    """What the file says of its colours without an ICC profile and that differs from sRGB, in words; None for nothing."""
    cicp = chunks.get(b"cICP", b"")
    if len(cicp) >= 2:  # it overrides the other colour chunks
        return None if tuple(cicp[:2]) == _SRGB_CICP else "its cICP chunk (wide-gamut or HDR colours)"
    if b"iCCP" in chunks or b"sRGB" in chunks or len(chunks.get(b"gAMA", b"")) != 4:
        return None
    gamma = struct.unpack(">I", chunks[b"gAMA"])[0]
    return None if abs(gamma / _SRGB_GAMMA - 1) < 0.05 else f"its gAMA chunk ({gamma / 1e5:g} instead of sRGB's 0.45455)"
