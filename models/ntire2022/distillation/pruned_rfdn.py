"""The pruned RFDN of team MegSR in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, MegSR's section: RFDN with 40 channels and without skips in its stages. Published for 0..255.
"""

import keras

from mobile_sr.models.ntire2022.distillation.rfdn import RECEPTIVE_FIELD, SMALLEST_SIDE, distillation_network

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 40,
    distilled: int = 20,
    attention: int = 12,
    blocks: int = 4,
) -> keras.Model:
    """The pruned RFDN as a functional Keras model; 289,888 parameters at x4. Arguments and result as for rfdn.build."""
    return distillation_network("pruned_rfdn", scale, output_activation, channels, distilled, attention, blocks, residual=False)
