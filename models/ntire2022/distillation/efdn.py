"""EFDN of team NEESR, third of the main track of the NTIRE 2022 efficient super-resolution challenge.

Papers: Li et al., CVPRW 2022, Sec. 4.3; Wang, "Edge-Enhanced Feature Distillation Network for Efficient Super-Resolution",
CVPRW 2022, which describes the same idea. RFDN with fewer channels, without skips in its stages and without the concatenation
of all blocks. The edge-oriented branches are merged into 3x3 convolutions, as submitted. Published for 0..255.
"""

import keras

from mobile_sr.models.ntire2022.blocks import assemble, coarse_two, distillation_block, esa, in_a_row

RECEPTIVE_FIELD = None  # the grid of the attention's low resolution is aligned with the whole image
SMALLEST_SIDE = 5  # LR pixels; with the repeated border, one window of the pooling


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 42,
    distilled: int = 10,
    attention: int = 10,
    blocks: int = 4,
) -> keras.Model:
    """EFDN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 272,038 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        distilled: channels that each stage sets aside.
        attention: channels inside ESA.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 5.
    Raises: ValueError for an unknown output activation.
    """

    def attend(x: keras.KerasTensor, prefix: str) -> keras.KerasTensor:
        return esa(x, attention, prefix, coarse_two)

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return distillation_block(x, distilled, name, attend, residual=False)

    return assemble("efdn", scale, output_activation, channels, in_a_row(block, blocks))
