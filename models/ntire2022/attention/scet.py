"""SCET of team Giantpandacv in the NTIRE 2022 efficient super-resolution challenge.

Papers: Li et al., CVPRW 2022, Giantpandacv's section; Zou et al., "Self-Calibrated Efficient Transformer for Lightweight
Super-Resolution", CVPRW 2022, Fig. 2: blocks of self-calibrated pixel attention (SCPA; Zhao et al., ECCVW 2020), then one
transformer block with attention among channels and a gated feed-forward layer (Zamir et al., "Restormer", CVPR 2022). The
features of the head have their own way to the output. Published for 0..1.
"""

from typing import Any

import keras

from mobile_sr.models.layers import ClippedReLU, DepthToSpace, check_output_activation
from mobile_sr.models.ntire2022.blocks import ChannelRange, conv, gelu, leaky
from mobile_sr.models.ntire2022.layers import ChannelAttention

RECEPTIVE_FIELD = None  # the attention sees the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 64,
    hidden: int = 170,
    heads: int = 8,
    blocks: int = 16,
) -> keras.Model:
    """SCET as a functional Keras model.

    Args:
        scale: 2 or 4; 683,354 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, a multiple of scale**2 and of `heads`, and an even number.
        hidden: channels of the feed-forward layer.
        heads: number of heads of the attention.
        blocks: number of SCPA blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation or channels that cannot be divided.
    """
    check_output_activation(output_activation)
    if channels % (scale * scale) or channels % heads or channels % 2:
        raise ValueError(f"channels must be even and a multiple of {scale * scale} and of {heads}, got {channels}")
    lr = keras.Input((None, None, 3), name="lr")
    features = x = conv(lr, channels, "head")
    for index in range(blocks):
        x = pixel_attention_block(x, f"block{index + 1}")
    x = conv(_transformer(x, "transformer", heads, hidden), channels, "body")
    both = [
        conv(DepthToSpace(scale, name=f"{name}_pixels")(y), 3, f"{name}_tail") for y, name in ((x, "body"), (features, "head"))
    ]
    sr = keras.layers.Add(name="sum")(both)
    if output_activation == "clipped_relu":
        sr = ClippedReLU(name="sr")(sr)
    return keras.Model(lr, sr, name=f"scet_x{scale}")


def _unbiased(x: keras.KerasTensor, filters: int, name: str, kernel_size: int = 1, **options: Any) -> keras.KerasTensor:
    return conv(x, filters, name, kernel_size, use_bias=False, **options)


def pixel_attention_block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """SC-PA: two halves of 3x3 convolutions, one of them masked (Zhao et al., ECCVW 2020, Fig. 2).

    Args:
        x: [N, H, W, C]; C is even.
        name: prefix of the layers' names.
    Returns: [N, H, W, C].
    """
    half = x.shape[-1] // 2
    plain = leaky(_unbiased(x, half, f"{name}_plain1"), f"{name}_plain_act1", 0.2)
    plain = leaky(_unbiased(plain, half, f"{name}_plain2", 3), f"{name}_plain_act2", 0.2)
    y = leaky(_unbiased(x, half, f"{name}_masked1"), f"{name}_masked_act1", 0.2)
    mask = keras.layers.Activation("sigmoid", name=f"{name}_mask")(conv(y, half, f"{name}_masked_gate", 1))
    y = keras.layers.Multiply(name=f"{name}_masked")([_unbiased(y, half, f"{name}_masked2", 3), mask])
    y = leaky(_unbiased(y, half, f"{name}_masked3", 3), f"{name}_masked_act2", 0.2)
    y = _unbiased(keras.layers.Concatenate(name=f"{name}_concat")([plain, y]), x.shape[-1], f"{name}_fuse")
    return keras.layers.Add(name=name)([y, x])


def _transformer(x: keras.KerasTensor, name: str, heads: int, hidden: int) -> keras.KerasTensor:
    """Attention among channels and a gated feed-forward layer, each behind a layer normalization and with a skip."""

    def mixed(y: keras.KerasTensor, filters: int, part: str) -> keras.KerasTensor:
        y = _unbiased(y, filters, f"{name}_{part}")
        return keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_{part}_depthwise")(y)

    channels = x.shape[-1]
    y = keras.layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm1")(x)
    y = ChannelAttention(heads, name=f"{name}_attention")(mixed(y, 3 * channels, "qkv"))
    x = keras.layers.Add(name=f"{name}_attended")([x, _unbiased(y, channels, f"{name}_project")])
    y = mixed(keras.layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm2")(x), 2 * hidden, "ffn")
    gate = gelu(ChannelRange(0, hidden, name=f"{name}_ffn_gate")(y), f"{name}_ffn_act")
    y = keras.layers.Multiply(name=f"{name}_ffn_gated")([gate, ChannelRange(hidden, 2 * hidden, name=f"{name}_ffn_value")(y)])
    return keras.layers.Add(name=name)([x, _unbiased(y, channels, f"{name}_ffn_project")])
