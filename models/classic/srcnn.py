"""SRCNN in RGB, the first convolutional super-resolution network.

Paper: Dong et al., "Image Super-Resolution Using Deep Convolutional Networks", TPAMI 2016, the 9-5-5 network with 64 and
32 channels, trained on RGB as in Sec. 4.5. It refines the bicubically upscaled image; here the upscaling is part of the
network.
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
    middle: int = 32,
) -> keras.Model:
    """SRCNN as a functional Keras model; 69,251 parameters at every scale.

    Args:
        scale: 2, 3 or 4 (any positive int works).
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: channels of the first layer.
        middle: channels of the second layer.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)
    lr = keras.Input((None, None, 3), name="lr")
    x = BicubicUpscale(scale, name="bicubic")(lr)
    x = conv(x, channels, "feature", 9, "relu")
    sr = conv(conv(x, middle, "map", 5, "relu"), 3, "tail", 5)
    if output_activation == "clipped_relu":
        sr = ClippedReLU(name="sr")(sr)
    return keras.Model(lr, sr, name=f"srcnn_x{scale}")


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: 4 + 2 + 2 HR pixels, rounded up, and 2 for bicubic."""
    return -(-8 // config["scale"]) + 2
