"""PRRN of team GDUT_SR in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, GDUT_SR's section: blocks of two halves, one of them masked by an attention to pixels and
channels, and an attention to channels at the end. After each block a 1x1 convolution joins the features of the head. Published
for 0..1.
"""

from typing import Any

import keras

from mobile_sr.models.ntire2022.blocks import assemble, conv, conv1x1, pixel_attention, silu
from mobile_sr.models.ntire2022.layers import GlobalPool

RECEPTIVE_FIELD = None  # the attention pools over the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 40,
    blocks: int = 16,
) -> keras.Model:
    """PRRN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 414,008 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, an even number.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation or an odd number of channels.
    """
    if channels % 2:
        raise ValueError(f"channels must be even, got {channels}")

    def body(x: keras.KerasTensor) -> keras.KerasTensor:
        head = x
        for index in range(1, blocks + 1):
            both = keras.layers.Concatenate(name=f"join{index}_concat")([head, _block(x, f"block{index}")])
            x = conv1x1(both, channels, f"join{index}")
        return conv(x, channels, "body")

    return assemble("prrn", scale, output_activation, channels, body)


def _block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    channels = x.shape[-1]
    masked = silu(_unbiased(x, channels // 2, f"{name}_masked1"), f"{name}_masked_act1")
    plain = silu(_unbiased(x, channels // 2, f"{name}_plain1"), f"{name}_plain_act1")
    mask = _sigmoid(_attention(masked, f"{name}_attention"), f"{name}_mask")
    y = keras.layers.Multiply(name=f"{name}_masked")([mask, conv(masked, channels // 2, f"{name}_masked2")])
    masked = silu(conv(y, channels // 2, f"{name}_masked3"), f"{name}_masked_act2")
    plain = silu(conv(plain, channels // 2, f"{name}_plain2"), f"{name}_plain_act2")
    y = _unbiased(keras.layers.Concatenate(name=f"{name}_concat")([masked, plain]), channels, f"{name}_fuse")
    y = _channel_attention(silu(y, f"{name}_fused"), f"{name}_channels")
    return keras.layers.Add(name=name)([y, x])


def _attention(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Masks a 3x3 convolution of x by an attention to its pixels and channels."""
    both = [pixel_attention(x, f"{name}_pixels"), _channel_attention(x, f"{name}_channels")]
    total = keras.layers.Add(name=f"{name}_sum")(both)
    mask = _sigmoid(conv1x1(total, x.shape[-1], f"{name}_gate"), f"{name}_mask")
    return keras.layers.Multiply(name=name)([mask, conv(x, x.shape[-1], f"{name}_conv")])


def _channel_attention(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Multiplies each channel by a number that a 1x1 convolution computes from the means of all channels."""
    mean = GlobalPool("mean", name=f"{name}_mean")(x)
    return keras.layers.Multiply(name=name)([x, _sigmoid(conv1x1(mean, x.shape[-1], f"{name}_conv"), f"{name}_mask")])


def _sigmoid(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.Activation("sigmoid", name=name)(x)


def _unbiased(x: keras.KerasTensor, filters: int, name: str, **options: Any) -> keras.KerasTensor:
    return conv(x, filters, name, 1, use_bias=False, **options)
