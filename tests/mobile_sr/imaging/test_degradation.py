"""Degradation of LR images: its text, its order, its seeds."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from mobile_sr.errors import UserError
from mobile_sr.imaging import degradation, metrics
from mobile_sr.imaging.degradation import Amounts, Degradation, SeededDegradation, parse
from mobile_sr.imaging.resize import blurred_downscale, downscale


def rng(seed=0):
    return np.random.default_rng(seed)


def jpeg(image, quality):
    """The image after JPEG with 4:2:0, which is Pillow's subsampling 2."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=2)
    return np.array(Image.open(buffer))


def test_texts():
    assert parse("jpeg=60..95, noise=0..5,blur=0..0.8") == Degradation((0, 0.8), (0, 5), (60, 95))
    assert str(parse(" noise=2 ,jpeg=75")) == "noise=2,jpeg=75"
    assert degradation.normalized("jpeg=60..95,blur=0.25..1") == "blur=0.25..1,jpeg=60..95"
    assert parse("") is parse("noise=0,blur=0..0") is None
    assert degradation.seeded("", 3) is None
    for text in ("noise=0.0005..7", "blur=0.5,noise=1..2,jpeg=1..100"):
        assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jpg=75", "'jpg' is unknown; expected blur, noise, jpeg with .*; did you mean jpeg"),
        ("75", "'75' is unknown"),
        ("jpeg=75,", "'' is unknown"),
        ("jpeg=75,jpeg=80", "jpeg is given twice"),
        ("jpeg=0", "jpeg=0: expected a value or MIN..MAX, from 1 to 100"),
        ("jpeg=75.5", "jpeg=75.5: expected .* a whole number"),
        ("jpeg=90..60", "jpeg=90..60: expected"),
        ("noise=nan", "noise=nan: expected a value or MIN..MAX, from 0 to 100"),
        ("noise=1..", "noise=1..: expected"),
        ("noise=-1", "noise=-1: expected"),
        ("blur=0..9", "blur=0..9: expected a value or MIN..MAX, from 0 to 8"),
        ("blur", "blur=: expected"),
    ],
)
def test_refused_texts(text, said):
    with pytest.raises(UserError, match=f"--degrade {text}: {said}"):
        parse(text)
    with pytest.raises(UserError, match="--seed -1: must be at least 0"):
        degradation.seeded("noise=1", -1)


def test_amounts_are_uniform_over_the_ranges():
    ranges = Degradation((0.2, 0.4), (1, 5), (60, 63))
    drawn = [ranges.draw(rng(k)) for k in range(400)]
    for values, low, high in zip(zip(*drawn, strict=True), (0.2, 1, 60), (0.4, 5, 63), strict=True):
        assert low <= min(values) < low + (high - low) / 20
        assert high - (high - low) / 20 < max(values) <= high
        assert np.mean(values) == pytest.approx((low + high) / 2, abs=(high - low) / 20)
    assert {amounts.jpeg for amounts in drawn} == {60, 61, 62, 63}
    assert Degradation(noise=(2, 2)).draw(rng()) == Amounts(0, 2, None)


def test_order_is_blur_downscale_noise_jpeg(photo):
    """Each step from its definition; the noise is that of the generator after the three amounts were drawn."""
    lr = downscale(photo, 3)
    source = rng(5)
    ranges = Degradation((0.4, 0.4), (6, 6), (70, 70))
    ranges.draw(source)
    blurred = blurred_downscale(photo, 3, 0.4 * 3)
    noisy = np.clip(np.floor(blurred + 6 * source.standard_normal(lr.shape, np.float32) + 0.5), 0, 255).astype(np.uint8)
    found, amounts = ranges.apply(lr, photo, rng(5))
    np.testing.assert_array_equal(found, jpeg(noisy, 70))
    assert (amounts, found.dtype) == ((0.4, 6, 70), np.uint8)
    np.testing.assert_array_equal(Degradation(jpeg=(70, 70)).apply(lr, photo, rng())[0], jpeg(lr, 70))
    np.testing.assert_array_equal(Degradation().apply(lr, photo, rng())[0], lr)


def test_noise_has_the_sigma_in_levels_and_no_mean():
    grey = np.full((200, 200, 3), 128, np.uint8)
    noise = degradation.add_noise_and_jpeg(grey, Amounts(0, 5, None), rng()).astype(float) - 128
    assert noise.std() == pytest.approx(np.hypot(5, 1 / 12**0.5), rel=0.01)  # rounding adds a twelfth of a level squared
    assert abs(noise.mean()) < 0.05
    assert np.abs(np.corrcoef(noise.reshape(-1, 3), rowvar=False) - np.eye(3)).max() < 0.02  # the channels are independent


def test_a_part_has_the_jpeg_blocks_of_the_whole_image(photo):
    """In gray, where no chroma is interpolated across the blocks."""
    hr = np.ascontiguousarray(photo[..., :1].repeat(3, axis=-1))
    lr = downscale(hr, 2)
    ranges = Degradation(blur=(0.6, 0.6), jpeg=(40, 40))
    whole, _ = ranges.apply(lr, hr, rng())
    for box in ((0, 0, 20, 20), (5, 18, 16, 24), (48 - 9, 60 - 30, 9, 30)):
        top, left, height, width = box
        np.testing.assert_array_equal(
            ranges.apply(lr, hr, rng(), box)[0], whole[top : top + height, left : left + width], err_msg=str(box)
        )


def test_what_happens_to_an_image_depends_on_its_pixels_and_the_seed(photo):
    lr = downscale(photo, 2)
    degraded = SeededDegradation(Degradation((0, 0.8), (1, 5), (60, 95)), 1)
    first, amounts = degraded.apply(lr, photo)
    again, same = degraded.apply(lr.copy(), photo)
    np.testing.assert_array_equal(first, again)
    assert amounts == same
    assert SeededDegradation(degraded.ranges, 2).apply(lr, photo)[1] != amounts
    assert degraded.apply(lr[::-1], photo[::-1])[1] != amounts


def test_golden_noise_and_blur():
    """Recorded seeds give the same images in later versions. (JPEG decoders differ by a level between builds of Pillow.)"""
    hr = rng(7).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    found, amounts = degradation.seeded("blur=0.4..0.8,noise=1..5", 4).apply(downscale(hr, 3), hr)
    assert amounts == (0.421, 2.713, None)
    assert hashlib.sha256(found.tobytes()).hexdigest()[:16] == "2f15f5070dfbcf58"


def test_the_protocol_names_it():
    protocol = metrics.protocol(3, "y", degradation.seeded("noise=2,jpeg=60..75", 9))
    wanted = {"blur": [0, 0], "noise": [2, 2], "jpeg": [60, 75], "subsampling": "4:2:0", "seed": 9}
    assert protocol["degradation"] == wanted
    assert "uint8 where not given; LR degraded by noise=2,jpeg=60..75 4:2:0, seed 9; SSIM" in metrics.describe(protocol)
    blurred = metrics.describe(metrics.protocol(3, "y", degradation.seeded("blur=0.5")))
    assert "uint8 after the blur; LR degraded by blur=0.5, seed 0; SSIM" in blurred
    assert "degrad" not in metrics.describe(metrics.protocol(3, "y"))
