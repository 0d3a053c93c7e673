"""MSRResNet, the SRResNet of BasicSR: no batch normalization, no long skip, added to the bilinearly upscaled input.

Source: https://github.com/XPixelGroup/BasicSR, basicsr/archs/srresnet_arch.py; modified from Ledig et al., CVPR 2017. It is the
"SRResNet" of Kong et al., "ClassSR", CVPR 2021, Table 3 (1.5M parameters, 5.20G FLOPs for an LR patch of 32x32 pixels).
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.classic.upsampling import REACH, subpixel
from mobile_sr.models.layers import ClippedReLU, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv, leaky
from mobile_sr.models.ntire2022.mobilesr import BilinearUpscale


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 64,
    blocks: int = 16,
) -> keras.Model:
    """MSRResNet as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 1,517,571 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the published one).
        channels: feature channels.
        blocks: number of residual blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)
    lr = keras.Input((None, None, 3), name="lr")
    x = _leaky(conv(lr, channels, "head"), "head_act")
    for index in range(blocks):
        name = f"block{index + 1}"
        y = conv(conv(x, channels, f"{name}_conv1", activation="relu"), channels, f"{name}_conv2")
        x = keras.layers.Add(name=name)([y, x])
    x = conv(_leaky(conv(subpixel(x, scale, act=_leaky), channels, "hr"), "hr_act"), 3, "tail")
    sr = keras.layers.Add(name="sum")([x, BilinearUpscale(scale, name="bilinear")(lr)])
    if output_activation == "clipped_relu":
        sr = ClippedReLU(name="sr")(sr)
    return keras.Model(lr, sr, name=f"msrresnet_x{scale}")


def _leaky(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return leaky(x, name, 0.1)


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: 1 for the head, 2 per block, and the upsampler's."""
    return 1 + 2 * config["blocks"] + REACH
