"""FSRCNN(56, 12, 4) (Dong et al., ECCV 2016) in RGB with a clipped output, trained as the zoo's XLSR nets are.

One recipe (xlsr_zoo.py) for all three makes their quantization comparable; the papers' own training sets and losses differ.

    mobile-sr train --recipe fsrcnn_x3 --data TRAIN --out runs/fsrcnn_x3
"""

from mobile_sr.recipes import xlsr_zoo


def recipe(scale=3, smoke=False):
    """xlsr_zoo's settings; `smoke` as in xlsr.py."""
    r = xlsr_zoo.recipe(scale, smoke)
    r.network = {"network": "fsrcnn", "scale": scale, "output_activation": "clipped_relu"}
    return r
