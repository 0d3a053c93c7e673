"""RLFN of team ByteESR, winner of the main track of the NTIRE 2022 efficient super-resolution challenge.

Papers: Li et al., CVPRW 2022, Sec. 4.1; Kong et al., "Residual Local Feature Network for Efficient Super-Resolution", CVPRW
2022. The network as submitted, with the first convolutions pruned from 48 to 46 channels. Published for 0..255.
"""

import keras

from mobile_sr.models.ntire2022.blocks import SMALLEST_SIDE, assemble, coarse_one, conv, esa, in_a_row, leaky

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]
RECEPTIVE_FIELD = None  # the grid of the attention's low resolution is aligned with the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 46,
    middle: int = 48,
    attention: int = 16,
    blocks: int = 4,
) -> keras.Model:
    """RLFN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 317,218 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        middle: channels between the convolutions of a block.
        attention: channels inside ESA.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15.
    Raises: ValueError for an unknown output activation.
    """

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        y = x
        for stage, filters in enumerate((middle, middle, channels), 1):
            y = leaky(conv(y, filters, f"{name}_conv{stage}"), f"{name}_act{stage}")
        y = conv(keras.layers.Add(name=f"{name}_skip")([y, x]), channels, f"{name}_fuse", 1)
        return esa(y, attention, f"{name}_esa", coarse_one)

    return assemble("rlfn", scale, output_activation, channels, in_a_row(block, blocks))
