"""CL-RFDN of team VAP in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, VAP's section: a small RFDN with SiLU, without skips in its stages and without a 3x3 convolution
at the end of the body. The last convolution of a block has SiLU twice, as submitted. Published for 0..255.
"""

import keras

from mobile_sr.models.ntire2022.blocks import (
    SMALLEST_SIDE,
    all_fused,
    assemble,
    coarse_three,
    conv,
    conv1x1,
    distillation_block,
    esa,
    silu,
)
from mobile_sr.models.ntire2022.layers import AnySlopePReLU

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]
RECEPTIVE_FIELD = None  # the grid of the attention's low resolution is aligned with the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 32,
    distilled: int = 16,
    attention: int = 8,
    blocks: int = 4,
) -> keras.Model:
    """CL-RFDN as a functional Keras model; 174,865 parameters at x4. Arguments and result as for rfdn.build."""

    def attend(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return esa(x, attention, name, coarse_three)

    def activated(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
        return silu(conv(x, filters, name), f"{name}_act")

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return distillation_block(x, distilled, name, attend, residual=False, act=silu, last=activated)

    def prelu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return AnySlopePReLU(shared=True, name=name)(x)

    def unchanged(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
        return x

    body = all_fused([block] * blocks, conv1x1, unchanged, prelu)
    return assemble("cl_rfdn", scale, output_activation, channels, body)
