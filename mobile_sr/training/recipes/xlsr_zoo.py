"""XLSR from random weights in 100k steps: the paper's recipe with SOAP, train-time branches and averaged weights.

Differences from xlsr.py (docs/measurements/training.md says what each gains):
- 100k steps that end at a lower rate
- SOAP instead of Adam (soap.py)
- `ecb` branches (models/train_time/branches.py)
- copies of the images downscaled by 0.8 and 0.6, and no darkened patches
- an exponential moving average of the weights (decay 0.999), which is validated and kept
- more held-out images, validated every 1,000 steps

`fsrcnn`, `espcn` and `abpn` train three other networks the same way, but with Adam. One recipe makes their quantization
comparable, although the papers' own training sets and losses differ. ESPCN has ReLU instead of its paper's tanh: the argument
of tanh in 8 bits moved flat colours by 7 levels (docs/measurements/flat_colours.md). FSRCNN and ESPCN have lower peak rates,
because at XLSR's their output became black.

Cost: 102 minutes at the 16 steps/s of one CPU core with --bfloat16 on TensorFlow. Result after 8,000 steps:
docs/measurements/training.md. The zoo's networks were trained in several stages (see their cards):
docs/measurements/results.md.

    mobile-sr train --recipe xlsr_zoo_x3 --data TRAIN --out runs/xlsr_zoo_x3
"""

from mobile_sr.training.recipes import Recipe, xlsr


def recipe(scale: int = 3, smoke: bool = False, network: str = "xlsr") -> Recipe:
    """The shortened recipe, for XLSR or another network; `smoke` as in xlsr.py."""
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
