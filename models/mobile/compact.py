"""Compact, the small network of Real-ESRGAN (SRVGGNetCompact): a chain of 3x3 convolutions with PReLU.

Source: Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data", ICCVW 2021, and its
published code. Before depth_to_space the network adds the input, repeated for every HR pixel: it learns the difference from
nearest-neighbour upscaling. Published for 0..1.
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.layers import ClippedReLU, DepthToSpace, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv
from mobile_sr.models.ntire2022.layers import AnySlopePReLU


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 64,
    blocks: int = 16,
) -> keras.Model:
    """Compact as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 621,424 parameters at x4, 1,213,296 with 32 blocks.
        output_activation: 'clipped_relu' or 'linear' (the published one).
        channels: channels of the hidden layers.
        blocks: number of convolutions between the first and the last.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)
    pixels = scale * scale
    lr = keras.Input((None, None, 3), name="lr")
    x = lr
    for index in range(blocks + 1):
        x = AnySlopePReLU(name=f"act{index + 1}")(conv(x, channels, f"conv{index + 1}"))
    anchor = keras.layers.Concatenate(name="anchor")([lr] * pixels) if pixels > 1 else lr
    x = keras.layers.Add(name="sum")([conv(x, 3 * pixels, "tail"), anchor])
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    return keras.Model(lr, DepthToSpace(scale, name="sr")(x), name=f"compact_x{scale}")


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: the number of convolutions."""
    return config["blocks"] + 2
