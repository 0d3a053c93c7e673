"""EDSR in mobile sizes: 2, 4, 6 or 8 blocks of 64 channels, for comparison with AdaEDSR and as its starting weights.

Cost: 20k steps with --bfloat16 take 20 to 60 minutes on two CPU cores with AMX. Result: docs/measurements/adadsr.md.

    mobile-sr train --recipe edsr_b8_x2 --data TRAIN --out runs/edsr_b8_x2
"""

from mobile_sr.training.recipes import Recipe


def recipe(scale: int = 2, smoke: bool = False, blocks: int = 8, channels: int = 64) -> Recipe:
    """Patches as in Lim et al. (CVPRW 2017), without brightness factors, and fewer steps; `smoke`: 30 steps, 2 x 8 channels."""
    network = {"network": "edsr", "scale": scale, "output_activation": "clipped_relu", "blocks": blocks, "channels": channels}
    r = Recipe(name="edsr", network=network, steps=20_000)
    r.batch = 4
    r.patch = 32
    r.charbonnier_eps = 1e-3  # close to L1, the loss of EDSR and AdaDSR
    r.brightness_factors = (1.0,)
    r.start_learning_rate, r.peak_learning_rate, r.end_learning_rate = 1e-5, 5e-4, 1e-5
    r.warmup_fraction = 0.05
    r.ema_decay = 0.999
    r.validate_every = 500
    r.validation_images = 24
    if smoke:
        r.network |= {"blocks": 2, "channels": 8}
        r.steps, r.patch, r.warmup_fraction, r.ema_decay = 30, 16, 0.2, 0.9
        r.validate_every, r.validation_images, r.validation_crop = 10, 2, 24
    return r
