"""IMDN, the baseline of the NTIRE 2022 efficient super-resolution challenge.

Paper: Hui et al., "Lightweight Image Super-Resolution with Information Multi-distillation Network", ACM MM 2019, in the form
that won AIM 2019's constrained challenge (Zhang et al., ICCVW 2019): 8 blocks without channel attention. Published for 0..1.
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.ntire2022.blocks import ChannelRange, assemble, conv, in_a_row, leaky


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 64,
    blocks: int = 8,
) -> keras.Model:
    """IMDN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 893,936 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, a multiple of 4; each stage of a block sets a quarter of them aside.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation or channels that are not a multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"channels must be a multiple of 4, got {channels}")

    return assemble("imdn", scale, output_activation, channels, in_a_row(block, blocks))


def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Applies a block: each of three stages sets a quarter of the channels aside, [N, H, W, C] -> [N, H, W, C]."""
    channels, y = x.shape[-1], x
    kept: list[keras.KerasTensor] = []
    aside = channels // 4
    for stage in (1, 2, 3):
        y = leaky(conv(y, channels, f"{name}_conv{stage}"), f"{name}_act{stage}")
        kept.append(ChannelRange(0, aside, name=f"{name}_aside{stage}")(y))
        y = ChannelRange(aside, channels, name=f"{name}_rest{stage}")(y)
    kept.append(conv(y, aside, f"{name}_conv4"))
    y = conv(keras.layers.Concatenate(name=f"{name}_concat")(kept), channels, f"{name}_fuse", 1)
    return keras.layers.Add(name=name)([x, y])


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: 4 per block, 3 for head, end of body and tail."""
    return 4 * config["blocks"] + 3
