"""More steps for a trained XLSR: xlsr_zoo.py from given weights, with a lower peak and a rate that ends near zero.

Cost: 52 to 67 minutes for its 100k steps, as xlsr_zoo.py's. Result: docs/results.md.

    mobile-sr train --recipe xlsr_finetune_x3 --init xlsr_x3 --data TRAIN --out runs/xlsr_finetune_x3
"""

from mobile_sr.recipes import xlsr_zoo


def recipe(scale=3, smoke=False):
    """xlsr_zoo with 1e-3 as the peak rate and 1e-5 at both ends; `smoke` as in xlsr.py."""
    r = xlsr_zoo.recipe(scale, smoke)
    r.rate_start, r.rate_peak, r.rate_end = 1e-5, 1e-3, 1e-5
    return r
