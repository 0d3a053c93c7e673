"""What decides a quantization-aware training."""

import dataclasses

from mobile_sr.errors import UserError

RANGES = ("learned", "moving", "fixed")


@dataclasses.dataclass
class Settings:
    """Everything besides the network and the images. Rates are Adam's, sizes are LR pixels."""

    steps: int = 2000
    rate: float = (
        2e-5  # of the weights at its peak; it rises for `warmup_fraction` of the steps and falls linearly to a hundredth
    )
    warmup_fraction: float = 0.05
    range_rate: float = 1e-2  # the same for learned ranges
    batch: int = 16
    patch: int = 32
    seed: int = 0
    per_tensor: bool = False
    equalize: float = 1.0  # strength of the cross-layer equalization that the fine-tuning starts from; 0 is off
    ranges: str = "learned"  # of RANGES
    freeze: float = 0.5  # share of the steps after which 'moving' ranges stay as they are
    distill: float = 1.0  # the target is this share of the float network's output and the rest of the HR image
    brightness_factors: tuple = (1.0, 0.7, 0.5)
    charbonnier_eps: float = 0.1
    validate_every: int = 100
    validation_images: int = 24
    validation_crop: int = 96

    def to_json(self):
        return {**dataclasses.asdict(self), "brightness_factors": list(self.brightness_factors)}

    @classmethod
    def from_json(cls, value):
        """Rebuild from `to_json`. Raises TypeError on unknown fields."""
        return cls(**{**value, "brightness_factors": tuple(value["brightness_factors"])})

    def check(self):
        """Raises: UserError for a number that cannot be."""
        for name, least in (("steps", 1), ("batch", 1), ("patch", 8)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} {getattr(self, name)}: must be at least {least}")
        if not 0 < self.rate < 1:
            raise UserError(f"--rate {self.rate}: must lie between 0 and 1")
        if not 0 <= self.seed < 2**31:
            raise UserError(f"--seed {self.seed}: must be from 0 to {2**31 - 1}")

    def fit(self, sides):
        """The settings with as many and as large validation crops as images whose LR sides are at least `sides` give."""
        sides = sorted(sides, reverse=True)
        images = max(1, min(self.validation_images, len(sides) // 4))
        crop = min(self.validation_crop, sides[min(images, len(sides)) - 1])
        return dataclasses.replace(self, validation_images=images, validation_crop=crop)

    def rate_share(self, step):
        """The share of the peak rates at a step."""
        warmup = max(1.0, self.warmup_fraction * self.steps)
        if step < warmup:
            return (step + 1) / warmup
        return 1.0 - 0.99 * min(1.0, (step - warmup) / max(1.0, self.steps - warmup))
