"""RFDNeXt of team SSL in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, SSL's section: RFDN's block with half of the channels inside and almost no activations, and
instead of attention a ConvNeXt block (Liu et al., CVPR 2022): depthwise 7x7, 1x1 to four times the channels, 1x1 back.
Published for 0..1.
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.ntire2022.blocks import all_fused, assemble, conv, conv1x1, leaky


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 50,
    distilled: int = 25,
    blocks: int = 4,
) -> keras.Model:
    """RFDNeXt as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 290,048 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: channels between the blocks.
        distilled: channels inside the blocks.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        kept = []
        for stage in (1, 2, 3):
            prefix = f"{name}_stage{stage}"
            kept.append(conv1x1(x, distilled, f"{prefix}_distill"))
            skip = kept[-1] if stage == 1 else x
            x = keras.layers.Add(name=f"{prefix}_sum")([conv(x, distilled, f"{prefix}_refine"), skip])
        kept.append(conv(leaky(x, f"{name}_refined"), distilled, f"{name}_stage4"))
        joined = leaky(keras.layers.Concatenate(name=f"{name}_concat")(kept), f"{name}_joined")
        return _convnext(conv1x1(joined, channels, f"{name}_fuse"), f"{name}_next")

    return assemble("rfdnext", scale, output_activation, channels, all_fused([block] * blocks))


def _convnext(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """A ConvNeXt block without normalization."""
    y = keras.layers.DepthwiseConv2D(7, padding="same", name=f"{name}_depthwise")(x)
    y = leaky(conv1x1(y, 4 * x.shape[-1], f"{name}_expand"), f"{name}_act")
    return keras.layers.Add(name=name)([conv1x1(y, x.shape[-1], f"{name}_project"), x])


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: 4 + 3 per block, 3 for head, end of body and tail."""
    return 7 * config["blocks"] + 3
