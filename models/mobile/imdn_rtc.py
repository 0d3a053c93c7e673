"""IMDN-RTC, the small IMDN that won the super-resolution contest "AI in RTC" on phones.

Source: the published code of Hui et al., "Lightweight Image Super-Resolution with Information Multi-distillation Network", ACM
MM 2019 (https://github.com/Zheng222/IMDN, class IMDN_RTC and checkpoints/model_RTC.pth). The blocks are those of IMDN without
attention, of 12 channels; the body ends in a 1x1 convolution. Published for x2.
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.ntire2022.blocks import assemble, conv1x1
from mobile_sr.models.ntire2022.imdn import block


def build(
    scale: int = 2,
    output_activation: str = "clipped_relu",
    channels: int = 12,
    blocks: int = 5,
) -> keras.Model:
    """IMDN-RTC as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 20,190 parameters at x2.
        output_activation: 'clipped_relu' or 'linear' (the published one).
        channels: feature channels, a multiple of 4; each stage of a block sets a quarter of them aside.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation or channels that are not a multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"channels must be a multiple of 4, got {channels}")

    def body(x: keras.KerasTensor) -> keras.KerasTensor:
        for index in range(blocks):
            x = block(x, f"block{index + 1}")
        return conv1x1(x, channels, "body")

    return assemble("imdn_rtc", scale, output_activation, channels, body)


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: 4 per block, 2 for head and tail."""
    return 4 * config["blocks"] + 2
