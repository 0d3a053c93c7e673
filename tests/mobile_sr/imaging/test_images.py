import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mobile_sr import load
from mobile_sr.errors import UserError
from mobile_sr.imaging import images
from mobile_sr.imaging.images import encode_image, is_gray_file, read_file, read_image, to_gray, write_image
from mobile_sr.inference import batch
from tests.icc_profiles import SRGB, rgb_profile


def png_chunk(kind, content):
    """Encode one PNG chunk with its CRC."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


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
    """Pillow cannot write such a PNG, so the test builds one."""
    pixels = np.random.default_rng(0).integers(0, 65536, (5, 6, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", 6, 5, 16, 2, 0, 0, 0)
    png = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
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


def test_invalid_exif_data_is_ignored_silently(tmp_path, photo, recwarn):
    exif = Image.Exif()
    exif[0x010E] = "a description that is cut off below"
    Image.fromarray(photo).save(tmp_path / "a.jpg", exif=exif)
    whole = (tmp_path / "a.jpg").read_bytes()
    index = whole.index(b"\x01\x0e\x00\x02") + 4  # the tag's length
    (tmp_path / "odd.jpg").write_bytes(whole[:index] + struct.pack(">I", 10**6) + whole[index + 4 :])
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
    with pytest.raises(UserError, match=r"\.gif.*unknown image format"):
        write_image(tmp_path / "a.gif", photo)
    with pytest.raises(UserError, match="cannot"):
        write_image(tmp_path / ("x" * 300 + ".png"), photo)
    assert os.listdir(tmp_path) == []


def test_a_colour_profile_is_converted_for_every_reader(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "p3.png", icc_profile=rgb_profile())
    found = read_image(tmp_path / "p3.png")
    assert 5 < np.abs(found.astype(int) - photo).mean() < 20
    Image.fromarray(photo).save(tmp_path / "srgb.png", icc_profile=rgb_profile(SRGB))
    np.testing.assert_array_equal(read_image(tmp_path / "srgb.png"), photo)


def test_losses_of_read_image_are_reported_once_per_kind(tmp_path, photo, capsys, monkeypatch):
    monkeypatch.setattr(images, "_reported", set())
    Image.fromarray(photo).save(tmp_path / "broken.png", icc_profile=b"no profile")
    for _ in range(2):
        np.testing.assert_array_equal(read_image(tmp_path / "broken.png"), photo)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "broken.png: its colour profile is ignored" in lines[0]


def test_gray_is_the_luma_of_bt601():
    """Golden levels of the RGB cube's corners, of a gray, and of 15.528."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 255, 255), (77, 77, 77), (10, 20, 7)]
    assert to_gray(np.array([colours], np.uint8)).tolist() == [[76, 150, 29, 226, 255, 77, 16]]


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "I;16"])
def test_gray_files_are_known_and_written_as_gray(tmp_path, photo, mode):
    gray = Image.fromarray(photo[:, :, 0])
    if mode == "P":
        gray = gray.convert("P")
        gray.putpalette([level for k in range(256) for level in (k, k, k)])
    elif mode == "I;16":
        gray = Image.fromarray(photo[:, :, 0].astype(np.uint16) * 257)
    else:
        gray = gray.convert(mode)
    gray.save(tmp_path / "a.png")
    file = read_file(tmp_path / "a.png")
    assert file.gray
    tinted = file.pixels + np.array([3, 0, 2], np.uint8)
    for suffix in (".png", ".jpg", ".bmp"):
        encoded = Image.open(io.BytesIO(encode_image(tinted, suffix, gray=True)))
        assert encoded.mode == "L"
    np.testing.assert_array_equal(to_gray(file.pixels), file.pixels[:, :, 0])
    assert not read_file_of(tmp_path, photo).gray


def read_file_of(folder, pixels):
    write_image(folder / "colour.png", pixels)
    return read_file(folder / "colour.png")


@pytest.mark.parametrize("suffix", ["tif", "gif", "png", "webp"])
def test_only_the_first_frame_is_read_with_a_note(tmp_path, suffix):
    frames = [Image.fromarray(np.full((8, 9, 3), level, np.uint8)) for level in (40, 200)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    file = read_file(tmp_path / f"a.{suffix}")
    assert np.abs(file.pixels.astype(int) - 40).max() <= 3
    assert file.notes == ["only the first frame or page is read"]


def test_sixteen_bits_are_noted(tmp_path, photo):
    for name in ("a.png", "a.tif"):
        Image.fromarray(photo[:, :, 0].astype(np.uint16) * 257).save(tmp_path / name)
        assert read_file(tmp_path / name).notes == ["16 bits per channel are reduced to 8"]
    assert images._avif_bits(b"....ftypavif......pixi\0\0\0\0\3\x0a\x0a\x0a") == 10
    assert images._avif_bits(b"....ftypavif") == 8


def test_wide_gamut_without_a_profile_is_named():
    box = b"....ftypavif......colrnclx"
    assert images._ignored_nclx(box + struct.pack(">HH", 12, 13)) == "its colour box (Display P3)"
    assert images._ignored_nclx(box + struct.pack(">HH", 9, 16)) == "its colour box (BT.2020 PQ)"
    for other in (box + struct.pack(">HH", 1, 13), box, b"....ftypavif"):
        assert images._ignored_nclx(other) is None


def test_floating_point_tiff_is_refused(tmp_path, photo):
    Image.fromarray(photo[:, :, 0].astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match="no defined range"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["tif", "avif", "gif", "jfif"])
def test_more_formats_are_read(tmp_path, suffix):
    pixels = np.full((16, 24, 3), (200, 40, 90), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", format="JPEG" if suffix == "jfif" else None)
    assert np.abs(read_image(tmp_path / f"a.{suffix}").astype(int) - pixels).max() <= 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\0\x18ftypheic" + b"\0" * 12, "HEIC"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"II*\0" + b"\0" * 20, "TIFF"),
        (b"plain text", "not a PNG, JPEG"),
    ],
)
def test_files_that_are_not_images_are_identified(tmp_path, content, message):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=f"a.png: .*{message}"):
        read_image(tmp_path / "a.png")


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for read in (read_image, is_gray_file):
        with pytest.raises(UserError, match="not a regular file"):
            read(tmp_path / "a.png")


def test_transparent_levels_of_low_and_high_bit_depths(tmp_path):
    def png(depth, colour, row, clear):
        header = struct.pack(">IIBBBBB", 2, 1, depth, colour, 0, 0, 0)
        parts = ((b"IHDR", header), (b"tRNS", clear), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)

    for name, args in {
        "gray1": (1, 0, b"\x40", b"\0\1"),  # the levels 0 and 1, of which 1 is transparent
        "gray4": (4, 0, b"\x36", b"\0\6"),
        "gray16": (16, 0, b"\0\3\1\2", b"\1\2"),
        "rgb16": (16, 2, b"\0\3\0\3\0\3\1\2\1\2\1\2", b"\1\2\1\2\1\2"),
    }.items():
        (tmp_path / f"{name}.png").write_bytes(png(*args))
        assert read_file(tmp_path / f"{name}.png").alpha.tolist() == [[255, 0]], name


def test_formats_without_alpha_are_placed_on_white_with_a_note(tmp_path, photo):
    alpha = np.zeros(photo.shape[:2], np.uint8)
    file = images.ImageFile(photo, alpha)
    for suffix in (".bmp", ".jpg"):
        write_image(tmp_path / f"a{suffix}", photo, alpha)
        assert read_image(tmp_path / f"a{suffix}").min() == 255
        assert images.lost_in(file, suffix) == [f"{images.file_format(suffix)} has no alpha: placed on a white background"]
    assert images.lost_in(file, ".png") == []


def test_png_suite(data_dir, tmp_path):
    """Willem van Schaik's PngSuite: every valid file upscales, every corrupt one (x*.png) is refused."""
    suite = data_dir / "suites" / "pngsuite"
    if not suite.is_dir():
        pytest.skip("needs suites/pngsuite beside Set5")
    for path in sorted(suite.glob("*.png")):
        result = batch._upscale(load("bicubic", 2), path, tmp_path / path.name, None, None, False)
        assert bool(result.error) == path.name.startswith("x"), (path.name, result.error)
        assert (tmp_path / path.name).exists() != path.name.startswith("x")
