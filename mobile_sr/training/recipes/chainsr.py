"""ChainSR in its sizes s, sp, m and l (models/chainsr.py), in stages.

1. From random weights, for s and sp: SOAP, `ecb` branches, the PSNR on RGB and on Y as the loss, a tenth flat colours.
2. `long`: without branches, which gain nothing on trained weights and take a third of a step's time, and with twice the weight
   on Y. Sizes m and l start here, as a grown sp (models/train_time/growth.py): from random weights, m ended below sp.
3. `spare`: leaves 5 channels of the long skip unused, for `export --methods spare` (models/train_time/spare_channels.py).
   The uint8 file of m at x2 then loses half as much on Set5. `uint8` does not start from it.
4. `uint8`, in place of it: rounds all activations to 8 bits, shows more flat colours, and selects the weights by their uint8
   file, including its errors on flat colours. It needs the TensorFlow backend.

Results: docs/measurements/chainsr.md. One command trains all stages, each in a folder of its own:

    mobile-sr train --recipe chainsr_m_uint8_x3 --all-stages --data TRAIN --out runs

The recipes with exits train one network for several depths. They can start from the network without exits, which has all of
their weights but the last convolutions of the shallow exits. With shared layers, m and its exits lost 0.2 dB and more
(docs/measurements/routing.md).

    mobile-sr train --recipe chainsr_m_exits_x3 --init runs/chainsr_m_long_x3 --data TRAIN --out runs/exits

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


def recipe(scale: int = 3, smoke: bool = False, size: str | None = "m", stage: str = "", exits: bool = False) -> Recipe:
    """The settings of a size from SIZES, or None for the layout of a search.

    `stage` is '', 'long', 'spare' or 'uint8', `exits` adds EXITS, and `smoke` is a few steps of small patches.
    """
    layout = SIZES[size] if size else {}
    network = {"network": "chainsr", "scale": scale, "output_activation": "clipped_relu", **layout}
    r = Recipe(name="_".join(filter(None, ("chainsr", size, stage))), network=network, steps=100_000)
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
    if stage:
        r.branches = "none"
        r.luminance_weight = 2.0
        r.peak_learning_rate = 2e-3
    if stage == "spare":
        r.steps, r.peak_learning_rate = 8_000, 1e-3
        r.spare_channels = 5
    if stage == "uint8":
        r.steps = 20_000
        r.start_learning_rate, r.peak_learning_rate, r.end_learning_rate = 1e-5, 1e-3, 1e-6
        r.flat_share = 0.25
        r.activation_bits = 8
        r.select = "uint8"
    if smoke:
        r.steps, r.batch, r.patch = 60, 4, 16
        r.validate_every, r.validation_images, r.validation_crop = 60 if stage == "uint8" else 20, 2, 24
        r.warmup_fraction, r.ema_decay = 0.2, 0.9
    return r
