"""AFDN of team NJUST_RESTORARION in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, NJUST_RESTORARION's section: RFDN whose attention masks each half of the channels by two 3x3
convolutions of that half, at full resolution. Most convolutions have no bias. Published for 0..255.
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.ntire2022.blocks import ChannelRange, all_fused, assemble, conv, distillation_block, leaky


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 46,
    distilled: int = 23,
    blocks: int = 4,
) -> keras.Model:
    """AFDN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 421,452 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, an even number.
        distilled: channels that each stage sets aside.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation or an odd number of channels.
    """
    if channels % 2:
        raise ValueError(f"channels must be even, got {channels}")

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return distillation_block(x, distilled, name, _split_attention, one=_unbiased1x1, three=_unbiased)

    body = all_fused([block] * blocks, three=_unbiased)
    return assemble("afdn", scale, output_activation, channels, body, three=_unbiased)


def _split_attention(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Multiplies each half of the channels by a mask of two 3x3 convolutions."""
    half, halves = x.shape[-1] // 2, []
    for index in (1, 2):
        part = ChannelRange((index - 1) * half, index * half, name=f"{name}_half{index}")(x)
        y = leaky(conv(part, half, f"{name}_half{index}_conv1"), f"{name}_half{index}_act", 0.1)
        mask = keras.layers.Activation("sigmoid", name=f"{name}_half{index}_mask")(conv(y, half, f"{name}_half{index}_conv2"))
        halves.append(keras.layers.Multiply(name=f"{name}_half{index}_masked")([part, mask]))
    return keras.layers.Concatenate(name=name)(halves)


def _unbiased(x: keras.KerasTensor, filters: int, name: str, **options: Any) -> keras.KerasTensor:
    return conv(x, filters, name, use_bias=False, **options)


def _unbiased1x1(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    return conv(x, filters, name, 1, use_bias=False)


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: 4 + 2 per block, 3 for head, end of body and tail."""
    return 6 * config["blocks"] + 3
