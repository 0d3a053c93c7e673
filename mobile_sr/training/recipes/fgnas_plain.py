"""FGNAS over plain chains, for networks like ChainSR, by instructions of an Arm core; `mobile-sr search`.

The supernet (models/nas/fgnas_plain_supernet.py) has 16 layers of 32 channels, with gates on layers and on groups of 8
channels. Activations and kernels are rounded to 8 bits. At 60 % of the steps the gates are fixed. The remaining steps train
the network that was found, and the best weights are selected by their uint8 file, which needs the TensorFlow backend. Budgets
are in instructions per LR pixel: 2180 and 4040 at x3 are those of ChainSR's sizes s and m.

Cost: 10,000 steps with 12 layers of 24 channels, batch=8 and patch=24 take nine minutes of a CPU core; the recipe's size was
not run. Result: at the same instructions, the network that this search found is 0.2 dB below ChainSR
(docs/measurements/fgnas.md).

    mobile-sr search --recipe fgnas_plain_x3 --budget 2180 --bfloat16 --data TRAIN --out runs/search
    mobile-sr train --recipe chainsr_x3 --architecture runs/search/architecture.json --bfloat16 --data TRAIN --out runs/found
"""

from mobile_sr.training.recipes import Recipe


def recipe(scale: int = 3, smoke: bool = False) -> Recipe:
    """The search. Losses and patches are those of chainsr.py. `smoke`: 40 steps of 2 layers of 8 channels."""
    network = {"network": "fgnas_plain_supernet", "scale": scale, "output_activation": "clipped_relu", "cost": "arm64"}
    network |= {"layers": 16, "channels": 32, "step": 8, "activation_bits": 8, "weight": 0.1, "gate_rate": 10.0}
    r = Recipe(name="fgnas_plain", network=network, steps=10_000)
    r.batch = 16
    r.patch = 32
    r.loss = "psnr"
    r.luminance_weight = 1.0
    r.brightness_factors = (1.0,)
    r.downscale_factors = (0.8, 0.6)
    r.start_learning_rate, r.peak_learning_rate, r.end_learning_rate = 5e-5, 1e-3, 1e-5
    r.warmup_fraction = 0.02
    r.validate_every = 500
    r.validation_images = 24
    r.select = "uint8"
    if smoke:
        r.network |= {"layers": 2, "channels": 8, "step": 4, "gate_rate": 50.0}
        r.steps, r.batch, r.patch, r.warmup_fraction = 40, 4, 16, 0.2
        r.validate_every, r.validation_images, r.validation_crop = 20, 2, 24
    return r
