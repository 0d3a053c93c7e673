"""RFDN, the winner of AIM 2020's efficient super-resolution challenge.

Paper: Liu et al., "Residual Feature Distillation Network for Lightweight Image Super-Resolution", ECCVW 2020, Fig. 2. Published
for 0..255.
"""

from collections.abc import Sequence

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
    """RFDN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 433,448 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        distilled: channels that each stage sets aside.
        attention: channels inside ESA.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15.
    Raises: ValueError for an unknown output activation.
    """
    return distillation_network("rfdn", scale, output_activation, channels, distilled, attention, blocks)


def distillation_network(
    name: str,
    scale: int,
    output_activation: str,
    channels: int,
    distilled: int,
    attention: int,
    blocks: int,
    residual: bool = True,
    dilations: Sequence[int] = (1, 1, 1),
) -> keras.Model:
    """Builds RFDN, its pruned version without residuals or its dilated one.

    Args:
        name: name of the network.
        residual: whether the 3x3 convolutions of the stages have a skip.
        dilations: dilation of the 3x3 convolution of each stage.
        scale, output_activation, channels, distilled, attention, blocks: as for `build`.
    """

    def attend(x: keras.KerasTensor, prefix: str) -> keras.KerasTensor:
        return esa(x, attention, prefix, coarse_three)

    def block(x: keras.KerasTensor, prefix: str) -> keras.KerasTensor:
        return distillation_block(x, distilled, prefix, attend, residual, dilations=dilations)

    return assemble(name, scale, output_activation, channels, all_fused([block] * blocks))
