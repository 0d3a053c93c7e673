"""Settings of quantization-aware training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from mobile_sr.errors import UserError

RANGES = ("measured", "learned", "moving", "fixed")
RATES = {"keras": (1e-4, 2e-3), "tfmot": (2e-5, 1e-2)}  # of each engine: peak learning rates of the weights and of the ranges


@dataclasses.dataclass
class Settings:
    """All settings of a quantization-aware training but the network and the images.

    Learning rates are Adam's. Sizes are in LR pixels.
    """

    steps: int = 2000
    # Peak learning rate of the weights. It rises during `warmup_fraction` of the steps, then falls linearly to a hundredth.
    rate: float = RATES["keras"][0]
    warmup_fraction: float = 0.05
    # Peak learning rate of learned ranges; engine keras: as a share of a range's initial width.
    range_rate: float = RATES["keras"][1]
    batch: int = 16
    patch: int = 32
    seed: int = 0
    per_tensor: bool = False
    # Engine keras: whether the training rounds the weights, too. Else they are rounded after it, with the inputs that they then
    # have (converters/quantization/gptq.py and layer_fit.py), which costs less.
    rounded_weights: bool = False
    equalize: float = 1.0  # strength of the cross-layer equalization before the fine-tuning; 0 is off
    # One of RANGES. Engine keras: 'learned', or 'measured': those of the calibration images, measured again before each
    # validation. Engine tfmot: 'learned', 'moving' or 'fixed'.
    ranges: str = "learned"
    flat_share: float = 0.125  # share of patches that are flat colours or ramps, engine keras only
    freeze: float = 0.5  # share of the steps after which 'moving' ranges are frozen
    distill: float = 1.0  # weight of the float network's output in the target; the HR image has the rest
    brightness_factors: tuple[float, ...] = (1.0, 0.7, 0.5)
    charbonnier_eps: float = 0.1
    validate_every: int = 100
    validation_images: int = 24
    validation_crop: int = 96

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able dict that `from_json` reads."""
        return {**dataclasses.asdict(self), "brightness_factors": list(self.brightness_factors)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Settings:
        """Rebuild settings from `to_json`.

        Raises:
            TypeError: for unknown fields.
        """
        return cls(**{**value, "brightness_factors": tuple(value["brightness_factors"])})

    def check(self) -> None:
        """Check the numbers that the command line can set.

        Raises:
            UserError: for a number outside of its range.
        """
        for name, minimum in (("steps", 1), ("batch", 1), ("patch", 8)):
            if getattr(self, name) < minimum:
                raise UserError(f"--{name} {getattr(self, name)}: must be at least {minimum}")
        if not 0 < self.rate < 1:
            raise UserError(f"--rate {self.rate}: must be above 0 and below 1")
        if not 0 <= self.seed < 2**31:
            raise UserError(f"--seed {self.seed}: must be from 0 to {2**31 - 1}")

    def fit(self, sides: Iterable[int]) -> Settings:
        """Return the settings with the number and size of validation crops reduced to what the images allow.

        Args:
            sides: the shorter LR side of each image, in pixels.
        """
        sides = sorted(sides, reverse=True)
        images = max(1, min(self.validation_images, len(sides) // 4))
        crop = min(self.validation_crop, sides[min(images, len(sides)) - 1])
        return dataclasses.replace(self, validation_images=images, validation_crop=crop)

    def rate_share(self, step: int) -> float:
        """Return the share of the peak learning rates at a step, in 0..1."""
        warmup = max(1.0, self.warmup_fraction * self.steps)
        if step < warmup:
            return (step + 1) / warmup
        return 1.0 - 0.99 * min(1.0, (step - warmup) / max(1.0, self.steps - warmup))
