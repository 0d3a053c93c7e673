"""The depthwise RFDN of team Set5baby in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, Set5baby's section: RFDN whose 3x3 convolutions are two pairs of a depthwise 3x3 and a 1x1
convolution, and an ESA that moves pixels to channels before it pools. The skips of the depthwise convolutions are merged.
Published for 0..255.
"""

import keras

from mobile_sr.models.ntire2022.blocks import all_fused, assemble, conv, conv1x1, distillation_block, esa
from mobile_sr.models.ntire2022.layers import SpaceToDepth

RECEPTIVE_FIELD = None  # the grid of the attention's low resolution is aligned with the whole image
SMALLEST_SIDE = 14  # LR pixels; at half the size the 7x7 pooling needs a whole window


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 50,
    distilled: int = 25,
    attention: int = 12,
    blocks: int = 4,
) -> keras.Model:
    """The depthwise RFDN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 217,472 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        distilled: channels that each stage sets aside.
        attention: channels inside ESA.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 14.
    Raises: ValueError for an unknown output activation.
    """

    def refine(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
        for pair in (1, 2):
            x = keras.layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depthwise{pair}")(x)
            x = conv(x, filters, f"{name}_mix{pair}", 1, "relu" if pair == 1 else None)
        return x

    def attend(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return esa(x, attention, name, _coarse)

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return distillation_block(x, distilled, name, attend, one=conv1x1, three=refine, last=conv)

    return assemble("depthwise_rfdn", scale, output_activation, channels, all_fused([block] * blocks))


def _coarse(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    """ESA's low-resolution part: pixels to channels, 7x7 max-pooling with stride 3, 1x1 convolution with a border of zeros."""
    x = keras.layers.MaxPooling2D(7, 3, name=f"{name}_pool")(SpaceToDepth(2, name=f"{name}_unshuffle")(x))
    x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(keras.layers.ReLU(name=f"{name}_pooled")(x))
    return conv(x, width, f"{name}_conv1", 1, "relu")
