"""The networks of the NTIRE 2022 efficient challenge, SRCNN and VDSR, trained or trained on from imported weights.

Cost and result: not measured. Their own papers train for 1000 epochs and more, in several stages, on DIV2K and Flickr2K.

    mobile-sr train --recipe rlfn_x4 --data TRAIN --out runs/rlfn_x4
    mobile-sr train --recipe rlfn_x4 --init imported/rlfn --data TRAIN --out runs/rlfn_tuned
"""

from mobile_sr.training.recipes import edsr

SMALL = {"channels": 12, "distilled": 4, "middle": 8, "attention": 6, "blocks": 1, "heads": 2, "ratios": (2,)}


def recipe(network, scale=4, smoke=False):
    """One recipe for all: EDSR's in this project with larger patches; `smoke` is 30 steps of a small net."""
    from mobile_sr import models

    r = edsr.recipe(scale, smoke)
    r.name, r.network = network, {"network": network, "scale": scale, "output_activation": "clipped_relu"}
    r.batch, r.end_learning_rate = 8, 1e-6
    if smoke:
        r.network |= {size: value for size, value in SMALL.items() if size in models.complete(r.network)}
        r.batch = 2
    else:
        r.patch = 48
    return r
