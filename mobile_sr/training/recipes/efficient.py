"""The networks of the NTIRE 2022 efficient SR challenge, SRCNN and VDSR, trained from scratch or from imported weights.

Cost and result: not measured. The papers train for 1000 epochs and more, in several stages, on DIV2K and Flickr2K.

    mobile-sr train --recipe rlfn_x4 --data TRAIN --out runs/rlfn_x4
    mobile-sr train --recipe rlfn_x4 --init imported/rlfn --data TRAIN --out runs/rlfn_tuned
"""

from typing import Any

from mobile_sr.training.recipes import Recipe, edsr

SMALL: dict[str, Any] = {"channels": 12, "distilled": 4, "middle": 8, "attention": 6, "blocks": 1, "heads": 2, "ratios": (2,)}


def recipe(network: str, scale: int = 4, smoke: bool = False) -> Recipe:
    """The settings of edsr.py with larger patches, for every network; `smoke`: 30 steps of a small network."""
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
