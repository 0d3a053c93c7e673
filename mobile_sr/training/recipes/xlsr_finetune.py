"""Fine-tuning of a trained XLSR: xlsr_zoo.py with a lower peak rate, without branches and downscaled images.

The loss is the PSNR itself. Trained weights still gain from it on images of different difficulty
(docs/measurements/training.md). Branches gained nothing on weights that had been trained for long
(docs/measurements/training.md). Cost: 60 minutes for 100k steps.

    mobile-sr train --recipe xlsr_finetune_x3 --init xlsr_x3 --data TRAIN --out runs/xlsr_finetune_x3
"""

from mobile_sr.training.recipes import Recipe, xlsr_zoo


def recipe(scale: int = 3, smoke: bool = False) -> Recipe:
    """The settings of xlsr_zoo.py with the PSNR loss, Adam and rates of 1e-5, 1e-3 and 1e-5; `smoke` as in xlsr.py."""
    r = xlsr_zoo.recipe(scale, smoke)
    r.branches, r.downscale_factors, r.loss, r.optimizer = "none", (), "psnr", "adam"
    r.start_learning_rate, r.peak_learning_rate, r.end_learning_rate = 1e-5, 1e-3, 1e-5
    return r
