"""FGNAS architecture search: trains a supernet's weights and gates together (Kim et al., JVCIR 2022); `mobile-sr search`.

fgnas_mobile has 8 blocks of 32 channels, for two CPU cores: 10k steps take about 20 minutes (--bfloat16). It leaves out tanh.
With tanh, the search chooses it nearly everywhere, and the network gains little (docs/measurements/fgnas.md). fgnas_s,
fgnas_m and fgnas_l have the paper's 16, 32 and 64 blocks of 64 channels, patches and steps, for a GPU; this project has not
run them. To train the result of one of these further: `train --recipe fgnas_x2 --steps 2000000 --set batch=16 --set
patch=96`.

    mobile-sr search --recipe fgnas_mobile --budget 15G --data TRAIN --out runs/search
"""

from mobile_sr.training.recipes import Recipe


def recipe(scale: int = 2, smoke: bool = False, blocks: int = 8, channels: int = 32, paper: bool = False) -> Recipe:
    """Search settings; `paper` uses the paper's patches, steps and rates. Without a budget, lambda stays at `weight`.

    For the paper's sizes, `weight` is derived from the paper's 1e-9, which has no unit. Read as the cost per multiply-add of
    a training patch with images in 0..255, it is below 0.2 here.
    """
    network = {"network": "fgnas_supernet", "scale": scale, "output_activation": "clipped_relu"}
    network |= {"blocks": blocks, "channels": channels, "weight": 1e-3, "gate_rate": 10.0}
    if not paper:
        network["activations"] = ["relu", "prelu"]
    r = Recipe(name="fgnas_search", network=network, steps=10_000)
    r.batch = 8
    r.patch = 32
    r.charbonnier_eps = 1e-3
    r.brightness_factors = (1.0,)
    r.start_learning_rate, r.peak_learning_rate, r.end_learning_rate = 1e-5, 5e-4, 1e-4
    r.warmup_fraction = 0.02
    r.validate_every = 500
    r.validation_images = 24
    if paper:  # at x2: 77,824 multiply-adds per LR pixel in a block, 45,504 outside of the blocks
        r.network |= {"gate_rate": 1.0, "weight": 1e-9 * (77_824 * blocks + 45_504) * 96**2 / 255}
        r.steps, r.batch, r.patch = 2_000_000, 16, 96
        r.start_learning_rate, r.peak_learning_rate, r.end_learning_rate, r.warmup_fraction = 1e-4, 1e-4, 5e-5, 0.0005
        r.validate_every = 10_000
    if smoke:
        r.network |= {"blocks": 2, "channels": 8, "weight": 1e-2, "gate_rate": 5.0}
        r.steps, r.patch, r.batch, r.warmup_fraction = 200, 16, 4, 0.05
        r.peak_learning_rate, r.end_learning_rate = 2e-3, 1e-3
        r.validate_every, r.validation_images, r.validation_crop = 50, 2, 24
    return r
