"""Small ICC profiles (version 2), made byte by byte."""

import itertools
import struct

D50 = (0.9642, 1.0, 0.8249)
DISPLAY_P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))  # XYZ of R, G, B under D50
SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))


def _fixed(value):
    return struct.pack(">i", round(value * 65536))


def _xyz(values):
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))


def _srgb_curve(count=1024):
    levels = [k / (count - 1) for k in range(count)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in levels]
    return b"curv\0\0\0\0" + struct.pack(f">I{count}H", count, *(round(x * 65535) for x in linear))


def _gamma(value):
    return b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(value * 256), 0)


def _profile(kind, space, connection, tags):
    text = b"made for a test"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" + b"\0" * 78
    tags = {b"desc": description, b"cprt": b"text\0\0\0\0none\0", b"wtpt": _xyz(D50), **tags}
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    head = struct.pack(">I", start + len(body)) + b"none" + struct.pack(">I", 0x02400000) + kind + space + connection
    head = (head + b"\0" * 12 + b"acsp" + b"\0" * 28 + b"".join(map(_fixed, D50))).ljust(128, b"\0")
    return head + struct.pack(">I", len(tags)) + table + body


def rgb_profile(primaries=DISPLAY_P3, gamma=None):
    """A matrix profile; the curve is sRGB's, or a gamma."""
    curve = _srgb_curve() if gamma is None else _gamma(gamma)
    tags = {name: _xyz(value) for name, value in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    return _profile(b"mntr", b"RGB ", b"XYZ ", {**tags, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


def gray_profile(gamma=None):
    """A profile of one channel; the curve is sRGB's, or a gamma."""
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": _srgb_curve() if gamma is None else _gamma(gamma)})


def cmyk_profile():
    """A printer's profile with two grid points a channel: paper white, and inks without any chroma."""
    grid = b""
    for inks in itertools.product((0, 1), repeat=4):
        grid += bytes([round(255 * max(0, 1 - 0.3 * sum(inks[:3]) - inks[3])), 128, 128])  # Lab, 8 bits a channel
    matrix = b"".join(map(_fixed, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + bytes(range(256)) * 4 + grid + bytes(range(256)) * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})
