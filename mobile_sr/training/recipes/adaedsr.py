"""AdaEDSR or FAdaEDSR in a mobile size, trained from the weights of EDSR with the same number of steps.

The adapter has C / 4 channels and costs a fifth of one block's multiply-adds. The paper's C / 2 channels would cost two
thirds of a block. Cost: as edsr.py with 8 blocks. Result: docs/measurements/adadsr.md.

    mobile-sr train --recipe adaedsr_b8_x2 --init runs/edsr_b8_x2 --data TRAIN --out runs/adaedsr_b8_x2
"""

from mobile_sr.training.recipes import Recipe, edsr


def recipe(scale: int = 2, smoke: bool = False, blocks: int = 8, channels: int = 64, fixed_depth: float = 0) -> Recipe:
    """The settings of edsr.py with the hinge loss on the depth; `fixed_depth` in blocks trains FAdaEDSR."""
    r = edsr.recipe(scale, smoke, blocks, channels)
    r.network |= {"depth": "fixed" if fixed_depth else "input", "adapter_channels": r.network["channels"] // 4}
    r.fixed_depth = float(min(fixed_depth, r.network["blocks"] / 2))
    # The paper's 0.01 for 0..255 is 4e-5 here. With only 8 blocks, each block gains more than that, and the network would
    # ignore the desired depth.
    r.depth_weight = 2e-3
    # A hinge on each patch gives every image about the same depth. Over the batch, flat areas leave their blocks to detailed
    # ones; flat crops and the price teach this at desired depths that the hinge does not enforce, too.
    r.depth_hinge, r.depth_price, r.flat_share = "batch", 7e-5, 0.2
    if not smoke:
        r.patch = 48
    return r
