"""AdaEDSR (or FAdaEDSR) in a mobile size, from the weights of EDSR under the same budget.

The adapter has C / 4 channels, a fifth of one block's multiply-adds; half of C, the paper's, would cost two thirds of one.
Cost: as edsr.py's 8 blocks. Result: docs/measurements/adadsr.md.

    mobile-sr train --recipe adaedsr_b8_x2 --init runs/edsr_b8_x2 --data TRAIN --out runs/adaedsr_b8_x2
"""

from mobile_sr.training.recipes import edsr


def recipe(scale=2, smoke=False, blocks=8, channels=64, fixed_depth=0):
    """edsr.py's settings with the hinge; `fixed_depth` in blocks trains FAdaEDSR."""
    r = edsr.recipe(scale, smoke, blocks, channels)
    r.network |= {"depth": "fixed" if fixed_depth else "input", "adapter_channels": r.network["channels"] // 4}
    r.fixed_depth = float(min(fixed_depth, r.network["blocks"] / 2))
    # The paper's 0.01 in 0..255 is 4e-5 here; at 8 blocks a block is worth more than that, and the depth would ignore d.
    r.depth_weight = 2e-3
    return r
