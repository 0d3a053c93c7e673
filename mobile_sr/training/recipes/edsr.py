"""EDSR in mobile sizes: 2, 4, 6 or 8 blocks of 64 channels, the peers of AdaEDSR and where its training starts.

Cost: 20k steps in 8 bits of mantissa (--bfloat16) take 20 to 60 minutes on two CPU cores with AMX. Result:
docs/measurements/adadsr.md.

    mobile-sr train --recipe edsr_b8_x2 --data TRAIN --out runs/edsr_b8_x2
"""

from mobile_sr.training.recipes import Recipe


def recipe(scale=2, smoke=False, blocks=8, channels=64):
    """Lim et al.'s (CVPRW 2017) patches without brightness_factors, in fewer steps; `smoke` is 30 steps of a 2 x 8 net."""
    network = {"network": "edsr", "scale": scale, "output_activation": "clipped_relu", "blocks": blocks, "channels": channels}
    r = Recipe(name="edsr", network=network, steps=20_000)
    r.batch = 4
    r.patch = 32
    r.charbonnier_eps = 1e-3  # close to L1, which EDSR and AdaDSR are trained with
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
