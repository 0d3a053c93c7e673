"""FMEN of team NJU_Jet, second of the main track of the NTIRE 2022 efficient super-resolution challenge.

Papers: Li et al., CVPRW 2022, Sec. 4.2; Du et al., "Fast and Memory-Efficient Network Towards Efficient Image
Super-Resolution", CVPRW 2022. As submitted: the re-parameterised blocks are single convolutions. Published for 0..255.
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.ntire2022.blocks import assemble, conv, leaky

SLOPE = 0.1  # of the LeakyReLUs
SCRIPT_SKIPS = ("LeakyReLU",)  # called as a function in the published code; the challenge's script misses it


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 50,
    attention: int = 16,
    blocks: int = 4,
) -> keras.Model:
    """FMEN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 341,066 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        attention: channels inside the attention blocks; the first block has 4 fewer.
        blocks: number of pairs of residual and attention block after the first attention.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation or for 4 or fewer attention channels.
    """
    if attention <= 4:
        raise ValueError(f"attention must be greater than 4, got {attention}")

    def pair(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        filters = x.shape[-1]
        return conv(leaky(conv(x, filters, f"{name}_conv1"), f"{name}_act1", SLOPE), filters, f"{name}_conv2")

    def attend(x: keras.KerasTensor, name: str, width: int, pairs: int) -> keras.KerasTensor:
        """High-frequency attention: multiplies x by a mask computed by `pairs` pairs of 3x3 convolutions."""
        y = leaky(conv(x, width, f"{name}_squeeze"), f"{name}_act", SLOPE)
        for index in range(pairs):
            y = pair(y, f"{name}_pair{index + 1}")
        y = conv(leaky(y, f"{name}_act2", SLOPE), channels, f"{name}_excite")
        return keras.layers.Multiply(name=name)([x, keras.layers.Activation("sigmoid", name=f"{name}_mask")(y)])

    def body(x: keras.KerasTensor) -> keras.KerasTensor:
        x = attend(conv(x, channels, "warmup"), "warmup_attention", attention - 4, 2)
        for index in range(blocks):
            x = attend(pair(x, f"block{index + 1}"), f"block{index + 1}_attention", attention, 1)
        return conv(x, channels, "body")

    return assemble("fmen", scale, output_activation, channels, body)


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on, for a complete configuration.

    The number of consecutive 3x3 convolutions: 1 for the head, 1 for the warm-up and 6 for its attention, 2 + 4 per block, 1
    for the body's last convolution and 1 for the tail.
    """
    return 1 + 7 + 6 * config["blocks"] + 1 + 1
