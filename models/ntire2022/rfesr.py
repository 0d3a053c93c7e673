"""RFESR of team imglhl in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, imglhl's section: residual units with a fast form of ESA and trained factors, four to a block,
whose outputs are joined step by step. Weight normalization is folded. The channel shuffles in front of the 1x1 convolutions are
folded into their kernels. A block uses one 1x1 convolution three times; here these are three layers. Published for 0..255.
"""

import keras

from mobile_sr.models.ntire2022.blocks import SMALLEST_SIDE, assemble, conv, conv1x1, esa, in_a_row, leaky, strided
from mobile_sr.models.ntire2022.layers import WeightedSum

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]
RECEPTIVE_FIELD = None  # the grid of the attention's low resolution is aligned with the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 32,
    attention: int = 8,
    blocks: int = 4,
) -> keras.Model:
    """RFESR as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 381,816 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        attention: channels inside the attention.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15.
    Raises: ValueError for an unknown output activation.
    """

    def unit(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        y = leaky(conv(x, channels, f"{name}_conv1"), f"{name}_act", 0.01)
        y = conv(y, channels, f"{name}_conv2")
        y = esa(y, attention, f"{name}_esa", _coarse, skip=False, gate="hard_sigmoid")
        return WeightedSum(name=name)([x, y])

    def joined(later: keras.KerasTensor, earlier: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return conv1x1(keras.layers.Concatenate(name=f"{name}_concat")([later, earlier]), channels, name)

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        first = unit(x, f"{name}_unit1")
        second = keras.layers.Add(name=f"{name}_sum2")([unit(first, f"{name}_unit2"), first])
        third = keras.layers.Add(name=f"{name}_sum3")([unit(second, f"{name}_unit3"), second])
        y = joined(unit(third, f"{name}_unit4"), third, f"{name}_join1")
        y = joined(joined(y, second, f"{name}_join2"), first, f"{name}_join3")
        return WeightedSum(name=name)([x, y])

    return assemble("rfesr", scale, output_activation, channels, in_a_row(block, blocks))


def _coarse(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    """The attention's low-resolution part: `strided`, then the sum of a 3x3 and a dilated 3x3 convolution."""
    x = strided(x, width, name)
    near = leaky(conv(x, width, f"{name}_near"), f"{name}_near_act")
    far = leaky(conv(x, width, f"{name}_far", dilation_rate=2), f"{name}_far_act")
    return keras.layers.Add(name=f"{name}_both")([far, near])
