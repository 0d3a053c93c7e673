"""ESPCN (Shi et al., CVPR 2016) in RGB with a clipped output, trained as the zoo's XLSR nets are.

One recipe (xlsr_zoo.py) for all three makes their quantization comparable; the papers' own training sets and losses differ.

    mobile-sr train --recipe espcn_x3 --data TRAIN --out runs/espcn_x3
"""

from mobile_sr.recipes import xlsr_zoo


def recipe(scale=3, smoke=False):
    """xlsr_zoo's settings; `smoke` as in xlsr.py."""
    r = xlsr_zoo.recipe(scale, smoke)
    r.network = {"network": "espcn", "scale": scale, "output_activation": "clipped_relu"}
    return r
