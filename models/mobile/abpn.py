"""ABPN: anchor-based plain net, from the Mobile AI 2021 real-time super-resolution challenge.

Paper: Du et al., "Anchor-based Plain Net for Mobile Image Super-Resolution", CVPRW 2021, Fig. 2. Before
depth_to_space the network adds the input, repeated for every HR pixel: it learns the difference from nearest-neighbour
upscaling.
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.layers import ClippedReLU, DepthToSpace, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv


def build(
    scale: int = 3,
    output_activation: str = "clipped_relu",
    channels: int = 28,
    blocks: int = 5,
) -> keras.Model:
    """ABPN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 42,539 parameters at x3.
        output_activation: 'clipped_relu' (the paper's) or 'linear'.
        channels: channels of the hidden layers.
        blocks: number of hidden layers, without the one that expands to the output's channels.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)
    pixels = 3 * scale * scale
    lr = keras.Input((None, None, 3), name="lr")
    x = lr
    for index in range(blocks):
        x = conv(x, channels, f"conv{index + 1}", activation="relu")
    x = conv(conv(x, pixels, f"conv{blocks + 1}", activation="relu"), pixels, "tail")
    anchor = keras.layers.Concatenate(name="anchor")([lr] * (scale * scale)) if scale > 1 else lr
    x = keras.layers.Add(name="sum")([x, anchor])
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    return keras.Model(lr, DepthToSpace(scale, name="sr")(x), name=f"abpn_x{scale}")


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: the number of 3x3 convolutions."""
    return config["blocks"] + 2
