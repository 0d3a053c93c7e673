"""More steps for a trained XLSR: xlsr_zoo.py from given weights, with a lower peak, without branches and smaller copies.

The loss is the PSNR itself, with which trained weights still gain on images of unlike difficulty
(docs/measurements/training.md).
Branches gained nothing from weights that had been trained for long (docs/measurements/training.md). Cost: 60 minutes for its
100k steps.

    mobile-sr train --recipe xlsr_finetune_x3 --init xlsr_x3 --data TRAIN --out runs/xlsr_finetune_x3
"""

from mobile_sr.training.recipes import xlsr_zoo


def recipe(scale=3, smoke=False):
    """xlsr_zoo with 1e-3 as the peak rate and 1e-5 at both ends, of the images alone, for PSNR; `smoke` as in xlsr.py."""
    r = xlsr_zoo.recipe(scale, smoke)
    r.branches, r.downscale_factors, r.loss, r.optimizer = "none", (), "psnr", "adam"
    r.start_learning_rate, r.peak_learning_rate, r.end_learning_rate = 1e-5, 1e-3, 1e-5
    return r
