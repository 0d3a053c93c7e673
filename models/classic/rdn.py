"""RDN: residual dense blocks, in which every convolution reads all features before it.

Paper: Zhang et al., "Residual Dense Network for Image Super-Resolution", CVPR 2018, Figs. 2 and 3, with 16 blocks of 8
convolutions and a growth of 64 channels; the upsampler is that of the authors' PyTorch code. Published for 0..255 and 0..1.
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.classic.upsampling import REACH, subpixel
from mobile_sr.models.layers import GRAY, ClippedReLU, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv, conv1x1


def build(
    scale: int = 2,
    output_activation: str = "clipped_relu",
    channels: int = 64,
    growth: int = 64,
    blocks: int = 16,
    layers: int = 8,
) -> keras.Model:
    """RDN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works): 22,123,395 / 22,308,035 / 22,271,107 parameters.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: channels between the blocks, G0.
        growth: channels that each convolution of a block adds, G.
        blocks: number of residual dense blocks, D.
        layers: number of 3x3 convolutions in each block, C.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        dense = x
        for layer in range(1, layers + 1):
            y = conv(dense, growth, f"{name}_conv{layer}", activation="relu")
            dense = keras.layers.Concatenate(name=f"{name}_concat{layer}")([dense, y])
        return keras.layers.Add(name=name)([conv1x1(dense, channels, f"{name}_fuse"), x])

    lr = keras.Input((None, None, 3), name="lr")
    shallow = conv(lr, channels, "head")
    x, outputs = conv(shallow, channels, "head2"), []
    for index in range(blocks):
        x = block(x, f"block{index + 1}")
        outputs.append(x)
    x = conv1x1(keras.layers.Concatenate(name="blocks_concat")(outputs), channels, "blocks_fuse")
    x = keras.layers.Add(name="body_skip")([conv(x, channels, "body"), shallow])
    sr = conv(subpixel(x, scale, growth), 3, "tail", bias_initializer=GRAY)
    if output_activation == "clipped_relu":
        sr = ClippedReLU(name="sr")(sr)
    return keras.Model(lr, sr, name=f"rdn_x{scale}")


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: the number of 3x3 convolutions, and the upsampler's."""
    return 3 + config["blocks"] * config["layers"] + REACH
