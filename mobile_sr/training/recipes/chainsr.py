"""ChainSR in its sizes s, sp, m and l (models/chainsr.py), in two stages: float weights, then rounded activations.

The first stage has the settings that trained plain networks best in this project: SOAP, `ecb` branches, the PSNR on RGB and on
Y as the loss, and a tenth flat colours. The second stage starts from the first. It rounds all activations to 8 bits, shows more
flat colours, and selects the weights by their uint8 file, including its errors on flat colours. It needs the TensorFlow backend
and has no branches, which gain nothing on weights that were trained for long (docs/measurements/training.md).

Cost: the first stage of size m takes about 5 hours at the 12 steps/s of one busy CPU core with --bfloat16 on TensorFlow. The
second takes about as long for a step, and some seconds for each validation. Result: the whole schedule was not measured. With
20,000 steps (and luminance_weight 2), size m reached 33.34 dB on Set5 Y in float32 and 33.30 dB in uint8 at x3.

The recipes with exits train one network for several depths, with the settings of the first stage. They can start from the
network without exits, which has all of their weights but the last convolutions of the shallow exits. Result: not measured yet.

    mobile-sr train --recipe chainsr_m_x3 --bfloat16 --data TRAIN --out runs/chainsr_m
    mobile-sr train --recipe chainsr_m_uint8_x3 --init runs/chainsr_m --data TRAIN --out runs/chainsr_m_uint8
    mobile-sr train --recipe chainsr_m_exits_x3 --init runs/chainsr_m --bfloat16 --data TRAIN --out runs/exits

Without a size, `chainsr` is the first stage of the layout that a search with fgnas_plain.py found:

    mobile-sr train --recipe chainsr_x3 --architecture runs/search/architecture.json --data TRAIN --out runs/found
"""

from mobile_sr.training.recipes import Recipe

SIZES: dict[str, dict[str, int]] = {  # arguments of the network; models/chainsr.py has their costs
    "s": {"channels": 16, "layers": 5},
    "sp": {"channels": 16, "layers": 8},
    "m": {"channels": 16, "layers": 12},
    "l": {"channels": 32, "layers": 8},
}
EXITS: dict[str, list[int]] = {"m": [2, 4, 8], "l": [2, 4]}  # exits before the last layer


def recipe(scale: int = 3, smoke: bool = False, size: str | None = "m", uint8: bool = False, exits: bool = False) -> Recipe:
    """The settings of a size from SIZES, or None for the layout of a search; `uint8` is the second stage, `exits` adds EXITS.

    `smoke`: a few steps of small patches.
    """
    layout = SIZES[size] if size else {}
    network = {"network": "chainsr", "scale": scale, "output_activation": "clipped_relu", **layout}
    r = Recipe(name=f"chainsr_{size}" if size else "chainsr", network=network, steps=200_000)
    r.batch = 16
    r.patch = 32
    r.loss = "psnr"
    r.luminance_weight = 1.0
    r.brightness_factors = (1.0,)
    r.downscale_factors = (0.8, 0.6)
    r.flat_share = 0.1
    r.branches = "ecb"
    r.optimizer = "soap"
    r.start_learning_rate, r.peak_learning_rate, r.end_learning_rate = 5e-5, 2.5e-3, 1e-5
    r.ema_decay = 0.999
    r.validate_every = 1000
    r.validation_images = 24
    if size and exits:
        r.name = f"chainsr_{size}_exits"
        r.network["exits"] = EXITS[size]
        r.teacher_weight = 0.5
    if uint8:
        r.steps = 20_000
        r.branches = "none"
        r.start_learning_rate, r.peak_learning_rate, r.end_learning_rate = 1e-5, 1e-3, 1e-6
        r.flat_share = 0.25
        r.activation_bits = 8
        r.select = "uint8"
    if smoke:
        r.steps, r.batch, r.patch = 60, 4, 16
        r.validate_every, r.validation_images, r.validation_crop = 60 if uint8 else 20, 2, 24
        r.warmup_fraction, r.ema_decay = 0.2, 0.9
    return r
