"""The best that we know for XLSR from random weights: the paper's recipe in fewer steps, with SOAP, branches, averaged weights.

Differences from xlsr.py: 100k steps that end at a lower rate, SOAP for Adam (soap.py), `ecb` branches
(models/train_time/branches.py), the images shrunk to 0.8 and 0.6 beside the given ones, no darkened patches, an exponential
moving average of the weights (decay 0.999) that is what gets validated and kept, more held-out images, validation every 1,000
steps. What each gives: docs/measurements/training.md.
`fsrcnn`, `espcn` and `abpn` are the same with Adam for three peers: one recipe makes their quantization comparable, though
their papers' own training sets and losses differ. ESPCN has ReLU in place of its paper's tanh, whose argument in 8 bits moved
flat colours by 7 levels (docs/measurements/flat_colours.md). FSRCNN and ESPCN have lower peaks: at XLSR's they went black
under this recipe.
Cost: 102 minutes at the 16 steps/s of one CPU core with --bfloat16 on TensorFlow. Result after 8,000 steps:
docs/measurements/training.md; of the zoo's nets, made in stages (their cards): docs/measurements/results.md.

    mobile-sr train --recipe xlsr_zoo_x3 --data TRAIN --out runs/xlsr_zoo_x3
"""

from mobile_sr.training.recipes import xlsr


def recipe(scale=3, smoke=False, network="xlsr"):
    """The paper's recipe shortened, for XLSR or another network; `smoke` as in xlsr.py."""
    r = xlsr.recipe(scale, smoke)
    r.network["network"] = network
    r.branches = "ecb"
    r.downscale_factors = (0.8, 0.6)
    r.brightness_factors = (1.0,)
    r.ema_decay = 0.9 if smoke else 0.999
    if network == "xlsr":
        r.optimizer = "soap"
    if network == "espcn":
        r.network["activation"] = "relu"
    r.peak_learning_rate = {"fsrcnn": 2e-3, "espcn": 1e-3}.get(network, r.peak_learning_rate)
    if not smoke:
        r.steps = 100_000
        r.end_learning_rate = 1e-5
        r.validate_every = 1000
        r.validation_images = 24
    return r
