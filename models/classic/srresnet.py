"""SRResNet: residual blocks with PReLU between 9x9 convolutions.

Paper: Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network", CVPR 2017, Fig. 4
(the generator), with 16 blocks. Batch normalization is folded into the convolutions. Each PReLU has one slope. BasicSR's
modified network, which other papers compare with under this name, is msrresnet.py.
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.classic.upsampling import subpixel
from mobile_sr.models.layers import GRAY, ClippedReLU, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv
from mobile_sr.models.ntire2022.layers import AnySlopePReLU


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 64,
    blocks: int = 16,
) -> keras.Model:
    """SRResNet as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 1,545,238 parameters at x4, 1,547,350 with batch normalization.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        blocks: number of residual blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)
    lr = keras.Input((None, None, 3), name="lr")
    head = x = _prelu(conv(lr, channels, "head", 9), "head_act")
    for index in range(blocks):
        name = f"block{index + 1}"
        y = _prelu(conv(x, channels, f"{name}_conv1"), f"{name}_act")
        x = keras.layers.Add(name=name)([conv(y, channels, f"{name}_conv2"), x])
    x = keras.layers.Add(name="body_skip")([conv(x, channels, "body"), head])
    sr = conv(subpixel(x, scale, act=_prelu), 3, "tail", 9, bias_initializer=GRAY)
    if output_activation == "clipped_relu":
        sr = ClippedReLU(name="sr")(sr)
    return keras.Model(lr, sr, name=f"srresnet_x{scale}")


def _prelu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return AnySlopePReLU(shared=True, name=name)(x)


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on.

    4 for the head, 2 per block, 1 for the last convolution of the body, and at most 3 for the upsampler and the 9x9 convolution
    at the HR size.
    """
    return 4 + 2 * config["blocks"] + 1 + 3
