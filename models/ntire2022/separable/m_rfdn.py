"""m-RFDN of team Multicog in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, Multicog's section: RFDN with "Multiception" instead of convolutions, which are depthwise
convolutions of several sizes side by side, followed by a 1x1 convolution. The features are repeated twice to the HR size, with
pixel attention after each step. Batch normalization is folded into the 1x1 convolutions. Published for 0..1.
"""

from collections.abc import Sequence
from typing import Any

import keras

from mobile_sr.models.ntire2022.blocks import (
    SMALLEST_SIDE,
    all_fused,
    assemble,
    coarse_three,
    conv,
    conv1x1,
    distillation_block,
    esa,
    leaky,
    pixel_attention,
)
from mobile_sr.models.ntire2022.layers import NearestUpscale

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]
RECEPTIVE_FIELD = None  # the grid of the attention's low resolution is aligned with the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 52,
    distilled: int = 26,
    attention: int = 13,
    blocks: int = 4,
    upscaled: int = 24,
) -> keras.Model:
    """m-RFDN as a functional Keras model.

    Args:
        scale: 2, 3 or 4; 303,255 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        distilled: channels that each stage sets aside.
        attention: channels inside ESA.
        blocks: number of blocks.
        upscaled: channels after the first upscaling step.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15.
    Raises: ValueError for an unknown output activation.
    """

    def attend(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return esa(x, attention, name, coarse_three)

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return distillation_block(x, distilled, name, attend, one=_multiception1, three=_multiception135, fuse=conv1x1)

    def tail(x: keras.KerasTensor) -> keras.KerasTensor:
        for step, factor in enumerate((2, 2) if scale == 4 else (scale,), 1):
            x = NearestUpscale(factor, name=f"up{step}")(x)
            x = pixel_attention(conv(x, x.shape[-1], f"up{step}_conv"), f"up{step}_attention")
            x = conv(leaky(x, f"up{step}_act1", 0.2), upscaled, f"up{step}_refine")
            x = leaky(x, f"up{step}_act2", 0.2)
        return conv(x, 3, "tail")

    return assemble("m_rfdn", scale, output_activation, channels, all_fused([block] * blocks), tail=tail)


def _multiception(x: keras.KerasTensor, filters: int, name: str, sizes: Sequence[int]) -> keras.KerasTensor:
    """Depthwise convolutions of several sizes, concatenated, and a 1x1 convolution."""
    parts = [keras.layers.DepthwiseConv2D(size, padding="same", name=f"{name}_depthwise{size}")(x) for size in sizes]
    y = keras.layers.Concatenate(name=f"{name}_concat")(parts) if len(parts) > 1 else parts[0]
    return conv1x1(y, filters, name)


def _multiception1(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    return _multiception(x, filters, name, (1,))


def _multiception135(x: keras.KerasTensor, filters: int, name: str, **options: Any) -> keras.KerasTensor:
    return _multiception(x, filters, name, (1, 3, 5))
