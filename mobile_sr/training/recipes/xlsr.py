"""XLSR trained as in its paper (Ayazoglu, CVPRW 2021, Sec. 4.2): 5,000 epochs of 100 steps.

Cost: 500k steps take 4.3 to 5.6 hours at the 25 to 32 steps/s of two free CPU cores (docs/measurements/training.md); the
paper needed 2 hours on an RTX 2080. Expected: Set5 Y 33.42 dB at x3 after DIV2K 1-792 (paper). For other data see
docs/measurements/results.md.

    mobile-sr train --recipe xlsr_x3 --data DIV2K_train_HR --out runs/xlsr_x3
"""

from mobile_sr.training.recipes import Recipe


def recipe(scale: int = 3, smoke: bool = False) -> Recipe:
    """The paper's settings; `smoke`: 60 steps of small patches."""
    r = Recipe(name="xlsr", network={"network": "xlsr", "scale": scale, "output_activation": "clipped_relu"}, steps=500_000)
    r.batch = 16
    r.patch = 32
    r.charbonnier_eps = 0.1
    r.brightness_factors = (1.0, 0.7, 0.5)
    r.start_learning_rate, r.peak_learning_rate, r.end_learning_rate = 5e-5, 25e-4, 1e-4
    r.warmup_fraction = 0.01  # 50 of 5,000 epochs
    r.validate_every = 100
    r.validation_images = 8
    if smoke:
        r.steps, r.batch, r.patch = 60, 4, 16
        r.validate_every, r.validation_images, r.validation_crop = 20, 2, 24
        r.warmup_fraction = 0.2
    return r
