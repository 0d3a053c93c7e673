import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mobile_sr.errors import UserError
from mobile_sr.images import encode_image, is_gray_file, list_images, read_image, read_file, write_image


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp"])
def test_lossless_formats_return_the_same_pixels(tmp_path, photo, suffix):
    write_image(tmp_path / f"a{suffix}", photo)
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), photo)


def test_jpeg_is_close(tmp_path, photo):
    write_image(tmp_path / "a.jpg", photo)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - photo).mean() < 4


def test_gray_palette_rgba_and_16_bit(tmp_path, photo):
    gray = photo[:, :, 0]
    Image.fromarray(gray).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(read_image(tmp_path / "gray.png"), np.repeat(gray[:, :, None], 3, 2))
    assert is_gray_file(tmp_path / "gray.png")

    palette = Image.fromarray(photo).quantize(16)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), np.asarray(palette.convert("RGB")))
    assert not is_gray_file(tmp_path / "palette.png")

    alpha = np.arange(gray.size, dtype=np.uint8).reshape(gray.shape)
    write_image(tmp_path / "rgba.png", photo, alpha)
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), photo)  # colours as stored, not blended
    np.testing.assert_array_equal(read_file(tmp_path / "rgba.png").alpha, alpha)
    write_image(tmp_path / "opaque.png", photo, np.full_like(gray, 255))
    assert read_file(tmp_path / "opaque.png").alpha is None

    sixteen = gray.astype(np.uint16) * 257
    Image.fromarray(sixteen).save(tmp_path / "sixteen.png")
    np.testing.assert_array_equal(read_image(tmp_path / "sixteen.png")[:, :, 1], gray)
    assert is_gray_file(tmp_path / "sixteen.png")


def test_16_bit_colour_is_cut_to_its_high_byte(tmp_path):
    """Pillow writes no such PNG, so one is put together here."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    pixels = np.random.default_rng(0).integers(0, 65536, (5, 6, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", 6, 5, 16, 2, 0, 0, 0)
    png = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "colour16.png").write_bytes(b"\x89PNG\r\n\x1a\n" + png)
    np.testing.assert_array_equal(read_image(tmp_path / "colour16.png"), pixels >> 8)


def test_exif_rotation_is_applied(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to show
    Image.fromarray(photo).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), np.rot90(photo, -1))


def test_unusable_files_are_refused_by_name(tmp_path, photo):
    png = encode_image(photo, ".png")
    jpeg = encode_image(photo, ".jpg")
    cases = {
        "empty.png": b"",
        "text.png": b"hello, no image at all",
        "cut.png": png[: len(png) // 2],
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "head.png": png[:20],
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            read_image(tmp_path / name)
    with pytest.raises(UserError, match="absent.png"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(UserError, match="folder"):
        read_image(tmp_path)


def test_odd_exif_data_is_left_alone_silently(tmp_path, photo, recwarn):
    exif = Image.Exif()
    exif[0x010E] = "a description that is cut off below"
    Image.fromarray(photo).save(tmp_path / "a.jpg", exif=exif)
    whole = (tmp_path / "a.jpg").read_bytes()
    place = whole.index(b"\x01\x0e\x00\x02") + 4  # the tag's length
    (tmp_path / "odd.jpg").write_bytes(whole[:place] + struct.pack(">I", 10**6) + whole[place + 4 :])
    np.testing.assert_array_equal(read_image(tmp_path / "odd.jpg"), read_image(tmp_path / "a.jpg"))
    assert not is_gray_file(tmp_path / "odd.jpg")
    assert [str(w.message) for w in recwarn] == []


def test_a_decompression_bomb_is_refused(tmp_path):
    buffer = io.BytesIO()
    Image.new("1", (20000, 20000)).save(buffer, "PNG")
    (tmp_path / "bomb.png").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="bomb.png"):
        read_image(tmp_path / "bomb.png")


def test_unknown_output_format_writes_nothing(tmp_path, photo):
    with pytest.raises(UserError, match=r"\.gif"):
        write_image(tmp_path / "a.gif", photo)
    with pytest.raises(UserError, match="cannot"):
        write_image(tmp_path / ("x" * 300 + ".png"), photo)
    assert os.listdir(tmp_path) == []


def test_list_images_is_sorted_recursive_and_says_when_empty(tmp_path, photo):
    for name in ("b/2.png", "a.PNG", "b/1.jpg", "note.txt", ".hidden.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [p.relative_to(tmp_path).as_posix() for p in list_images(tmp_path)] == ["a.PNG", "b/1.jpg", "b/2.png"]
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "c").symlink_to(tmp_path / "b")
    assert [p.name for p in list_images(tmp_path)] == ["a.PNG", "1.jpg", "2.png"]  # b's once, and no loop
    assert "c/2.png" in [p.relative_to(tmp_path / "linked").as_posix() for p in list_images(tmp_path / "linked")]
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="no image"):
        list_images(tmp_path / "none")
    with pytest.raises(UserError, match="no such folder"):
        list_images(tmp_path / "nowhere")
