"""PNG chunks: verifies their checksums, and reads the bit depth and the colour information that Pillow does not apply."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

from mobile_sr.errors import UserError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SRGB_GAMMA = 45455  # gAMA chunk of sRGB: gamma times 100,000
_SRGB_CICP = (1, 13)  # cICP chunk of sRGB: BT.709 primaries and the sRGB transfer function


def read_chunks(data: bytes, path: str | Path) -> dict[bytes, memoryview]:
    """Read the chunks of a PNG file up to IEND and verify their checksums.

    Pillow does not verify the checksums of small and ancillary chunks, so all chunks are verified here.

    Args:
        data: the whole file.
        path: its name for error messages.

    Returns:
        {type: content}, with the first chunk of each type.

    Raises:
        UserError: a chunk is truncated or its CRC is wrong.
    """
    chunks: dict[bytes, memoryview] = {}
    start = len(SIGNATURE)
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


def bit_depth(chunks: Mapping[bytes, memoryview]) -> int:
    """Bits per channel from the IHDR chunk; 8 if there is none."""
    return chunks[b"IHDR"][8] if len(chunks.get(b"IHDR", b"")) > 8 else 8


def ignored_colour(chunks: Mapping[bytes, memoryview]) -> str | None:
    """Describe the cICP or gAMA chunk if it differs from sRGB, where no ICC profile overrides it; None otherwise."""
    cicp = chunks.get(b"cICP", b"")
    if len(cicp) >= 2:  # overrides the other colour chunks
        return None if tuple(cicp[:2]) == _SRGB_CICP else "its cICP chunk (wide-gamut or HDR colours)"
    if b"iCCP" in chunks or b"sRGB" in chunks or len(chunks.get(b"gAMA", b"")) != 4:
        return None
    gamma = struct.unpack(">I", chunks[b"gAMA"])[0]
    return None if abs(gamma / _SRGB_GAMMA - 1) < 0.05 else f"its gAMA chunk ({gamma / 1e5:g} instead of sRGB's 0.45455)"
