"""The networks of the NTIRE 2022 efficient challenge, SRCNN, VDSR and ABPN, trained or trained on from imported weights.

Cost and result: not measured. Their own papers train for 1000 epochs and more, in several stages, on DIV2K and Flickr2K.

    mobile-sr train --recipe rlfn_x4 --data TRAIN --out runs/rlfn_x4
    mobile-sr train --recipe rlfn_x4 --init models/rlfn --data TRAIN --out runs/rlfn_tuned
"""

from mobile_sr.recipes import Recipe

SMALL = {"channels": 12, "distilled": 4, "middle": 8, "attention": 6, "blocks": 1, "heads": 2, "ratios": (2,)}


def recipe(network, scale=4, smoke=False):
    """One recipe for all: EDSR's in this project with larger patches; `smoke` is 30 steps of a small net."""
    from mobile_sr import models

    r = Recipe(name=network, network={"network": network, "scale": scale, "output_activation": "clipped_relu"}, steps=20_000)
    r.batch = 8
    r.patch = 48
    r.charbonnier_eps = 1e-3  # close to L1, which nearly all of them start with (Li et al., CVPRW 2022, Sec. 4)
    r.intensities = (1.0,)
    r.rate_start, r.rate_peak, r.rate_end = 1e-5, 5e-4, 1e-6
    r.rise = 0.05
    r.weight_average = 0.999
    r.validate_every = 500
    r.validation_images = 24
    if smoke:
        r.network |= {size: value for size, value in SMALL.items() if size in models.complete(r.network)}
        r.steps, r.batch, r.patch, r.rise, r.weight_average = 30, 2, 16, 0.2, 0.9
        r.validate_every, r.validation_images, r.validation_crop = 10, 2, 24
    return r
