"""VDSR in RGB: twenty 3x3 convolutions that correct the bicubically upscaled image.

Paper: Kim et al., "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", CVPR 2016, Fig. 1, there on luma.
Here the upscaling is part of the network.
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.bicubic import BicubicUpscale
from mobile_sr.models.layers import ClippedReLU, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 64,
    blocks: int = 18,
) -> keras.Model:
    """VDSR as a functional Keras model; 668,227 parameters at every scale.

    Args:
        scale: 2, 3 or 4 (any positive int works).
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: channels of the hidden layers.
        blocks: number of convolutions between the first and the last.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)
    lr = keras.Input((None, None, 3), name="lr")
    upscaled = x = BicubicUpscale(scale, name="bicubic")(lr)
    for index in range(blocks + 1):
        x = conv(x, channels, f"conv{index + 1}", activation="relu", kernel_initializer="he_normal")
    sr = keras.layers.Add(name="sum")([upscaled, conv(x, 3, "tail")])
    if output_activation == "clipped_relu":
        sr = ClippedReLU(name="sr")(sr)
    return keras.Model(lr, sr, name=f"vdsr_x{scale}")


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: one HR pixel per convolution, rounded up, plus 2 for bicubic."""
    return -(-(config["blocks"] + 2) // config["scale"]) + 2
