"""Degrades LR images as cameras and encoders do: blur before the downscaling, then noise, then JPEG.

This is the classical model of super-resolution from degraded images, LR = JPEG(downscale(HR * k) + n); see Wang et al.,
Real-ESRGAN, ICCVW 2021, Sec. 3.1, Eq. 1, which traces it to Elad and Feuer, IEEE TIP 1997.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mobile_sr.errors import UserError, did_you_mean
from mobile_sr.imaging.resize import blurred_downscale

SUBSAMPLING = "4:2:0"  # the chroma of most photos and of nearly all video
_MCU = 16  # side in pixels of the squares that a JPEG with this subsampling codes separately
# Key -> (smallest value, largest value, unit), in the order in which they are applied.
_LIMITS: dict[str, tuple[int, int, str]] = {
    "blur": (0, 8, "sigma in LR pixels"),
    "noise": (0, 100, "sigma in levels of 0..255"),
    "jpeg": (1, 100, "quality, a whole number"),
}


class Amounts(NamedTuple):
    """The degradation of one image.

    Attributes:
        blur: standard deviation of the Gaussian blur in LR pixels; 0 is off.
        noise: standard deviation of the Gaussian noise in levels of 0..255; 0 is off.
        jpeg: JPEG quality; None is off.
    """

    blur: float
    noise: float
    jpeg: int | None

    def __str__(self) -> str:
        parts = [f"{key} {value:g}" for key, value in (("blur", self.blur), ("noise", self.noise)) if value]
        return ", ".join(parts + ([f"JPEG {self.jpeg}"] if self.jpeg else [])) or "clean"


@dataclasses.dataclass(frozen=True)
class Degradation:
    """Ranges of degradations. `str` gives the text that `parse` reads.

    Attributes:
        blur, noise: (minimum, maximum) in the units of `Amounts`; values are drawn uniformly.
        jpeg: (minimum, maximum), both included, or None for no JPEG.
    """

    blur: tuple[float, float] = (0.0, 0.0)
    noise: tuple[float, float] = (0.0, 0.0)
    jpeg: tuple[int, int] | None = None

    def __str__(self) -> str:
        given = {key: getattr(self, key) for key in _LIMITS if getattr(self, key) not in ((0.0, 0.0), None)}
        return ",".join(f"{key}={low:g}" + (f"..{high:g}" if high > low else "") for key, (low, high) in given.items())

    def draw(self, rng: np.random.Generator) -> Amounts:
        """Draw the amounts of an image. Blur and noise are multiples of 0.001, so that a record of them is exact."""
        blur, noise = (round(float(rng.uniform(*ends)), 3) for ends in (self.blur, self.noise))
        return Amounts(blur, noise, int(rng.integers(*self.jpeg, endpoint=True)) if self.jpeg else None)

    def apply(
        self, lr: np.ndarray, hr: np.ndarray, rng: np.random.Generator, box: tuple[int, int, int, int] | None = None
    ) -> tuple[np.ndarray, Amounts]:
        """Degrade an LR image, or a part of it.

        Blur comes before the downscaling, so a blurred LR image is made from the HR image. The blocks of the JPEG are those of
        the whole image.

        Args:
            lr: [H, W, 3] uint8.
            hr: [H * scale, W * scale, 3] uint8.
            rng: source of the amounts and of the noise.
            box: (top, left, height, width) of the part in LR pixels; None for all of it.

        Returns:
            (degraded LR [height, width, 3] uint8, amounts).
        """
        amounts = self.draw(rng)
        top, left, height, width = box or (0, 0, *lr.shape[:2])
        grid = _MCU if amounts.jpeg else 1
        y, x = top // grid * grid, left // grid * grid
        bottom = min(math.ceil((top + height) / grid) * grid, lr.shape[0])
        right = min(math.ceil((left + width) / grid) * grid, lr.shape[1])
        if amounts.blur:
            scale = hr.shape[0] // lr.shape[0]
            blocks = blurred_downscale(hr, scale, amounts.blur * scale, (y, x, bottom - y, right - x))
        else:
            blocks = lr[y:bottom, x:right]
        return add_noise_and_jpeg(blocks, amounts, rng)[top - y :, left - x :][:height, :width], amounts


@dataclasses.dataclass(frozen=True)
class SeededDegradation:
    """A degradation for measurements. What happens to an image depends on its LR pixels and the seed alone.

    The name of the image, the images before it and the model play no part, so that models can be compared.

    Attributes:
        ranges: the degradation.
        seed: not negative.
    """

    ranges: Degradation
    seed: int = 0

    def apply(self, lr: np.ndarray, hr: np.ndarray) -> tuple[np.ndarray, Amounts]:
        """Degrade an LR image, see `Degradation.apply`."""
        digest = hashlib.sha256(f"{lr.shape}".encode() + lr.tobytes()).digest()
        return self.ranges.apply(lr, hr, np.random.default_rng([self.seed, *np.frombuffer(digest, "<u4").tolist()]))

    def to_json(self) -> dict[str, Any]:
        """Return the record of a measurement: the ranges in the units of `Amounts`, the chroma subsampling and the seed."""
        r = self.ranges
        jpeg = {"jpeg": list(r.jpeg), "subsampling": SUBSAMPLING} if r.jpeg else {"jpeg": None}
        return {"blur": list(r.blur), "noise": list(r.noise), **jpeg, "seed": self.seed}


def seeded(text: str, seed: int = 0) -> SeededDegradation | None:
    """Return the degradation of a text, see `parse`, with a seed; None for ''.

    Raises:
        UserError: as `parse`, or the seed is negative.
    """
    if seed < 0:
        raise UserError(f"--seed {seed}: must be at least 0")
    ranges = parse(text)
    return None if ranges is None else SeededDegradation(ranges, seed)


def parse(text: str) -> Degradation | None:
    """Read a degradation such as 'jpeg=60..95,noise=0..5,blur=0..0.8' or 'jpeg=75'.

    Args:
        text: KEY=VALUE or KEY=MIN..MAX, separated by commas; '' is no degradation.

    Returns:
        The degradation; None if it changes nothing.

    Raises:
        UserError: for another text, an unknown key, a key given twice, or values outside of the limits.
    """
    ranges: dict[str, Any] = {}
    for part in text.split(",") if text.strip() else ():
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key not in _LIMITS:
            known = f"expected {', '.join(_LIMITS)} with a value or a range, as in jpeg=60..95,noise=0..5,blur=0..0.8"
            raise UserError(f"--degrade {text}: '{key}' is unknown; {known}{did_you_mean(key, _LIMITS)}")
        if key in ranges:
            raise UserError(f"--degrade {text}: {key} is given twice; give it one value or one range MIN..MAX")
        ranges[key] = _range(text, key, value)
    degradation = Degradation(**ranges)
    return degradation if str(degradation) else None


def normalized(text: str) -> str:
    """Return a degradation's text in the form and order in which it is recorded. Raises UserError as `parse`."""
    return str(parse(text) or "")


def _range(text: str, key: str, value: str) -> tuple[float, float]:
    """(minimum, maximum) of the text of one key. Raises UserError naming all of `text`."""
    low, high, unit = _LIMITS[key]
    kind = int if key == "jpeg" else float
    first, dots, last = value.partition("..")
    try:
        ends = kind(first), kind(last if dots else first)
    except ValueError:
        ends = math.nan, math.nan
    if not low <= ends[0] <= ends[1] <= high:
        raise UserError(f"--degrade {text}: {key}={value}: expected a value or MIN..MAX, from {low} to {high} ({unit})")
    return ends


def describe(record: Mapping[str, Any]) -> str:
    """Format a result of `SeededDegradation.to_json` as one line of text."""
    r = record
    jpeg = tuple(r["jpeg"]) if r["jpeg"] else None
    chroma = f" {r['subsampling']}" if jpeg else ""
    return f"LR degraded by {Degradation(tuple(r['blur']), tuple(r['noise']), jpeg)}{chroma}, seed {r['seed']}"


def add_noise_and_jpeg(image: np.ndarray, amounts: Amounts, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise, independent in every pixel and channel, round to uint8, compress as JPEG and decode again.

    Args:
        image: [H, W, 3] uint8.
        amounts: of noise and JPEG; its blur does not count.
        rng: source of the noise.

    Returns:
        [H, W, 3] uint8.
    """
    if amounts.noise:
        noisy = image + np.float32(amounts.noise) * rng.standard_normal(image.shape, np.float32)
        image = np.clip(np.floor(noisy + np.float32(0.5)), 0, 255).astype(np.uint8)
    if amounts.jpeg is None:
        return image
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "JPEG", quality=amounts.jpeg, subsampling=SUBSAMPLING)
    with Image.open(buffer, formats=("JPEG",)) as decoded:
        return np.asarray(decoded)
