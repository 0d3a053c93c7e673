"""RePAFDN of team Super in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, Super's section: RFDN's blocks with two stages, a last block with three, and pixel attention
behind them. As submitted: the re-parameterized convolutions are merged. Published for 0..1.
"""

import keras

from mobile_sr.models.ntire2022.blocks import (
    SMALLEST_SIDE,
    Block,
    all_fused,
    assemble,
    coarse_three,
    distillation_block,
    esa,
    pixel_attention,
)

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]
RECEPTIVE_FIELD = None  # the grid of the attention's low resolution is aligned with the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 48,
    distilled: int = 24,
    attention: int = 12,
    blocks: int = 4,
) -> keras.Model:
    """RePAFDN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 326,040 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        distilled: channels that each stage sets aside, half as many in the last block.
        attention: channels inside ESA.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15.
    Raises: ValueError for an unknown output activation.
    """

    def attend(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return esa(x, attention, name, coarse_three)

    def block(width: int, stages: int) -> Block:
        return lambda x, name: distillation_block(x, width, name, attend, residual=False, dilations=(1,) * stages)

    fused = all_fused([*[block(distilled, 2)] * (blocks - 1), block(distilled // 2, 3)])

    def body(x: keras.KerasTensor) -> keras.KerasTensor:
        return pixel_attention(fused(x), "body_attention")

    return assemble("repafdn", scale, output_activation, channels, body)
