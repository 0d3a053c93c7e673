import struct

import pytest

from mobile_sr.errors import UserError
from mobile_sr.imaging import png_chunks
from mobile_sr.imaging.images import encode_image, read_image
from tests.mobile_sr.imaging.test_images import png_chunk


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT", b"IEND", b"tEXt"])
def test_a_wrong_crc_is_refused(tmp_path, photo, kind):
    png = encode_image(photo[:3, :3], ".png")
    png = png[:33] + png_chunk(b"tEXt", b"Title\0small") + png[33:]
    start = png.index(kind) - 4
    end = start + 8 + struct.unpack_from(">I", png, start)[0]
    (tmp_path / "a.png").write_bytes(png)
    read_image(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(png[:end] + bytes([png[end] ^ 1]) + png[end + 1 :])
    with pytest.raises(UserError, match=f"a.png: .*wrong CRC.*{kind.decode()}"):
        read_image(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(png[: end + 1])
    with pytest.raises(UserError, match="a.png: damaged or truncated"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("kind", [b"PLTE", b"tRNS", b"iCCP", b"acTL", b"eXIf", b"iTXt", b"zTXt", b"pHYs", b"gAMA"])
@pytest.mark.parametrize("content", [b"", b"\0" * 5, b"\xff" * 900])
def test_odd_chunks_in_a_palette_image_give_an_image_or_one_line(tmp_path, photo, kind, content):
    from PIL import Image

    Image.fromarray(photo[:9, :9]).quantize(7).save(tmp_path / "a.png", transparency=2)
    png = (tmp_path / "a.png").read_bytes()
    for start in (33, png.index(b"IDAT") - 4):
        (tmp_path / "a.png").write_bytes(png[:start] + png_chunk(kind, content) + png[start:])
        try:
            assert read_image(tmp_path / "a.png").shape == (9, 9, 3)
        except UserError as error:
            one_line = str(error)
            assert "a.png" in one_line  # noqa: PT017


def test_colours_that_are_not_applied_are_named():
    assert png_chunks.ignored_colour({b"gAMA": struct.pack(">I", 45455)}) is None
    assert "gAMA" in png_chunks.ignored_colour({b"gAMA": struct.pack(">I", 100000)})
    assert png_chunks.ignored_colour({b"gAMA": struct.pack(">I", 100000), b"sRGB": b"\0"}) is None
    assert "cICP" in png_chunks.ignored_colour({b"cICP": bytes([9, 16, 0, 1])})
    assert png_chunks.ignored_colour({b"cICP": bytes([1, 13, 0, 1])}) is None
