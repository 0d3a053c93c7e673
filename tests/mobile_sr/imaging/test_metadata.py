import io

import numpy as np
import pytest
from PIL import Image

from mobile_sr.imaging.images import encode_image, lost_in, read_file

EXIF_IFD, GPS_IFD = 0x8769, 0x8825


def result_of(path, suffix):
    """Upscale a file to twice its size: (PIL image of the result, notes)."""
    file = read_file(path)
    doubled = file.pixels.repeat(2, 0).repeat(2, 1)
    return Image.open(io.BytesIO(encode_image(doubled, suffix, metadata=file.metadata))), lost_in(file, suffix)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("source", ["jpg", "png", "tif"])
def test_exif_and_dpi_are_kept_for_the_upright_image(tmp_path, photo, source, orientation):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    if source != "tif":  # Pillow writes no sub-folders of tags into a TIFF
        exif.get_ifd(EXIF_IFD).update({0xA002: 120, 0xA003: 96})
        exif.get_ifd(GPS_IFD)[1] = "N"
    Image.fromarray(photo).save(tmp_path / f"a.{source}", exif=exif, dpi=(300, 200))
    turned = orientation > 4
    for suffix in (".png", ".jpg", ".webp"):
        image, notes = result_of(tmp_path / f"a.{source}", suffix)
        found = image.getexif()
        assert notes == []
        assert image.size == ((192, 240) if turned else (240, 192))
        assert found.get(0x0112, 1) == 1
        assert found[0x010F] == "Maker"
        if source != "tif":
            assert [found.get_ifd(EXIF_IFD)[tag] for tag in (0xA002, 0xA003)] == list(image.size)
            assert found.get_ifd(GPS_IFD)[1] == "N"
        dpi = (found[0x011A], found[0x011B]) if suffix == ".webp" else image.info["dpi"]
        assert np.allclose([float(side) for side in dpi], (200, 300) if turned else (300, 200), atol=0.01)
    image, notes = result_of(tmp_path / f"a.{source}", ".bmp")
    assert notes == ["not kept: EXIF"]


def test_lost_metadata_is_named(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "a.jpg", comment="hello", xmp=b"<x:xmpmeta/>")
    assert result_of(tmp_path / "a.jpg", ".png")[1] == ["not kept: XMP, comments"]


def test_exif_that_does_not_fit_into_jpeg_is_named(tmp_path, photo):
    exif = Image.Exif()
    exif[0x010E] = "x" * 70_000
    Image.fromarray(photo).save(tmp_path / "a.png", exif=exif)
    assert result_of(tmp_path / "a.png", ".png")[1] == []
    assert result_of(tmp_path / "a.png", ".jpg")[1] == ["not kept: EXIF"]


def test_damaged_exif_leaves_the_image(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xff" * 30)
    np.testing.assert_array_equal(read_file(tmp_path / "a.png").pixels, photo)


def test_files_without_metadata_get_none(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "a.tif")
    image, notes = result_of(tmp_path / "a.tif", ".png")
    assert "dpi" not in image.info
    assert not image.getexif()
    assert notes == []
