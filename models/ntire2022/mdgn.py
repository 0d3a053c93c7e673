"""MDGN of team Strong Tiger in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, Strong Tiger's section: blocks of three 3x3 convolutions with PReLU, whose outputs are joined and
multiplied by a mask with one channel. Published for 0..255.
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.ntire2022.blocks import assemble, conv, conv1x1, in_a_row
from mobile_sr.models.ntire2022.layers import AnySlopePReLU


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 64,
    blocks: int = 4,
) -> keras.Model:
    """MDGN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 560,244 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        outputs, y = [], x
        for stage in (1, 2, 3):
            y = AnySlopePReLU(name=f"{name}_act{stage}")(conv(y, channels, f"{name}_conv{stage}"))
            outputs.append(y)
        y = conv1x1(keras.layers.Concatenate(name=f"{name}_concat")(outputs), channels, f"{name}_fuse")
        y = AnySlopePReLU(name=f"{name}_fused")(y)
        mask = keras.layers.Activation("sigmoid", name=f"{name}_mask")(conv1x1(x, 1, f"{name}_gate"))
        return keras.layers.Multiply(name=name)([y, mask])

    return assemble("mdgn", scale, output_activation, channels, in_a_row(block, blocks))


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: 3 per block, 3 for head, end of body and tail."""
    return 3 * config["blocks"] + 3
