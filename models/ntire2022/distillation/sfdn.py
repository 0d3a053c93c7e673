"""SFDN of team NTU607QCO-ESR in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, NTU607QCO-ESR's section: RFDN without skips in its stages, which are merged into the 3x3
convolutions, and an ESA without a 1x1 convolution on its skip. Published for 0..1.
"""

import keras

from mobile_sr.models.ntire2022.blocks import SMALLEST_SIDE, all_fused, assemble, coarse_three, distillation_block, esa

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]
RECEPTIVE_FIELD = None  # the grid of the attention's low resolution is aligned with the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 50,
    distilled: int = 25,
    attention: int = 12,
    blocks: int = 4,
) -> keras.Model:
    """SFDN as a functional Keras model; 432,824 parameters at x4. Arguments and result as for rfdn.build."""

    def attend(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return esa(x, attention, name, coarse_three, skip=False)

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return distillation_block(x, distilled, name, attend, residual=False)

    return assemble("sfdn", scale, output_activation, channels, all_fused([block] * blocks))
