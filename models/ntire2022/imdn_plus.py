"""IMDN+ of team rainbow in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, Sec. 4.7: IMDN with six stages per block, each with the channels that are left, and SiLU. As
submitted: the re-parameterized convolutions are merged. Published for 0..1.
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.ntire2022.blocks import ChannelRange, assemble, conv, in_a_row, silu

STAGES = 6


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 36,
    blocks: int = 8,
) -> keras.Model:
    """IMDN+ as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 275,844 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, a multiple of 6; each stage of a block sets a sixth of them aside.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation or channels that are not a multiple of 6.
    """
    if channels % STAGES:
        raise ValueError(f"channels must be a multiple of {STAGES}, got {channels}")

    return assemble("imdn_plus", scale, output_activation, channels, in_a_row(_block, blocks))


def _block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    channels, y = x.shape[-1], x
    kept: list[keras.KerasTensor] = []
    aside = channels // STAGES
    for stage in range(1, STAGES):
        left = y.shape[-1]
        y = silu(conv(y, left, f"{name}_conv{stage}"), f"{name}_act{stage}")
        kept.append(ChannelRange(0, aside, name=f"{name}_aside{stage}")(y))
        y = ChannelRange(aside, left, name=f"{name}_rest{stage}")(y)
    kept.append(silu(conv(y, aside, f"{name}_conv{STAGES}"), f"{name}_act{STAGES}"))
    y = conv(keras.layers.Concatenate(name=f"{name}_concat")(kept), channels, f"{name}_fuse", 1)
    return keras.layers.Add(name=name)([y, x])


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: 6 per block, 3 for head, end of body and tail."""
    return STAGES * config["blocks"] + 3
