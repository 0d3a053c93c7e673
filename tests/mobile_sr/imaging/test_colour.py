import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from mobile_sr.imaging import colour
from mobile_sr.imaging.images import read_file
from tests.icc_profiles import SRGB, cmyk_profile, gray_profile, rgb_profile


def as_a_viewer_shows_it(path, profile):
    """[H, W, 3] int: LittleCMS's own conversion to sRGB."""
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return np.asarray(
        ImageCms.profileToProfile(Image.open(path), opened, ImageCms.createProfile("sRGB"), outputMode="RGB"), int
    )


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif"])
def test_display_p3_becomes_srgb(tmp_path, photo, suffix):
    path, profile = tmp_path / f"a.{suffix}", rgb_profile()
    Image.fromarray(photo).save(path, icc_profile=profile)
    assert np.abs(read_file(path).pixels - as_a_viewer_shows_it(path, profile)).max() <= 1
    assert read_file(path).notes == []


def test_alpha_stays_beside_converted_colours(tmp_path, photo):
    alpha = np.arange(photo[:, :, 0].size, dtype=np.uint8).reshape(photo.shape[:2])
    Image.fromarray(np.dstack([photo, alpha])).save(tmp_path / "a.webp", lossless=True, exact=True, icc_profile=rgb_profile())
    Image.fromarray(photo).save(tmp_path / "b.png", icc_profile=rgb_profile())
    file = read_file(tmp_path / "a.webp")
    np.testing.assert_array_equal(file.alpha, alpha)
    np.testing.assert_array_equal(file.pixels, read_file(tmp_path / "b.png").pixels)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_with_a_profile(tmp_path, photo, suffix):
    """Also the inverted CMYK of Adobe's JPEG files, which Pillow writes."""
    path, profile = tmp_path / f"a.{suffix}", cmyk_profile()
    Image.fromarray(photo).convert("CMYK").save(path, icc_profile=profile)
    found = read_file(path)
    assert np.abs(found.pixels - as_a_viewer_shows_it(path, profile)).max() <= 1
    assert np.ptp(found.pixels.astype(int), axis=2).max() <= 2  # the profile's inks have no chroma
    Image.fromarray(photo).convert("CMYK").save(path)
    assert read_file(path).notes == ["CMYK without a colour profile: the colours are an approximation"]


def test_gray_stays_gray(tmp_path, photo):
    gray = Image.fromarray(photo[:, :, 0])
    gray.save(tmp_path / "a.png", icc_profile=gray_profile(1.0))
    file = read_file(tmp_path / "a.png")
    assert file.gray
    assert file.pixels[:, :, 0].mean() > photo[:, :, 0].mean() + 20  # linear levels are lighter in sRGB
    assert np.ptp(file.pixels, axis=2).max() == 0
    for profile in (gray_profile(), rgb_profile(SRGB), rgb_profile()):
        gray.save(tmp_path / "b.png", icc_profile=profile)
        np.testing.assert_array_equal(read_file(tmp_path / "b.png").pixels[:, :, 1], photo[:, :, 0])


def test_srgb_profiles_change_no_pixel(tmp_path, photo):
    of_littlecms = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (rgb_profile(SRGB), of_littlecms):
        Image.fromarray(photo).save(tmp_path / "a.png", icc_profile=profile)
        np.testing.assert_array_equal(read_file(tmp_path / "a.png").pixels, photo)


@pytest.mark.parametrize("error", [2, 3])
def test_a_profile_within_2_levels_of_srgb_counts_as_srgb(monkeypatch, error):
    def transform(image, profile, mode):
        levels = np.asarray(image.convert("RGB")).astype(int)
        return Image.fromarray((levels + np.where(levels < 128, error, -error)).astype(np.uint8))

    monkeypatch.setattr(colour, "_transform", transform)
    for mode, profile in (("RGB", rgb_profile()), ("L", gray_profile())):
        converted, note = colour.to_srgb(Image.new(mode, (4, 4)), profile)
        assert (np.asarray(converted).max(), note) == (0 if error == 2 else 3, None)


@pytest.mark.parametrize("profile", [b"broken", rgb_profile()[:300], gray_profile(), cmyk_profile()])
def test_a_profile_that_does_not_fit_is_ignored_and_named(tmp_path, photo, profile):
    Image.fromarray(photo).save(tmp_path / "a.png", icc_profile=profile)
    file = read_file(tmp_path / "a.png")
    np.testing.assert_array_equal(file.pixels, photo)
    assert len(file.notes) == 1
    assert file.notes[0].startswith("its colour profile is ignored (")
