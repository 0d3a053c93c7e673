"""LWFANet of team Just Try in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, Just Try's section: blocks of four branches of one to four 3x3 convolutions, with attention to
channels and to pixels. The features are repeated twice to the HR size. Published for 0..1.
"""

import keras

from mobile_sr.models.ntire2022.blocks import assemble, conv, conv1x1, leaky
from mobile_sr.models.ntire2022.layers import GlobalPool, NearestUpscale

RECEPTIVE_FIELD = None  # the attention pools over the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 96,
    attention: int = 6,
    blocks: int = 10,
    upscaled: int = 64,
) -> keras.Model:
    """LWFANet as a functional Keras model.

    Args:
        scale: 2, 3 or 4; 831,831 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, a multiple of 4.
        attention: channels inside the attention to channels.
        blocks: number of blocks.
        upscaled: channels while the size grows.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation or channels that are not a multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"channels must be a multiple of 4, got {channels}")

    def activated(x: keras.KerasTensor, filters: int, name: str, kernel_size: int = 3) -> keras.KerasTensor:
        return leaky(conv(x, filters, name, kernel_size), f"{name}_act", 0.2)

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        branches = []
        for depth in (1, 2, 3, 4):
            y = activated(x, channels // 4, f"{name}_branch{depth}_conv1", 1)
            for index in range(depth):
                y = activated(y, channels // 4, f"{name}_branch{depth}_conv{index + 2}")
            branches.append(y)
        y = keras.layers.Concatenate(name=f"{name}_concat")(branches)
        parts = [channel_attention(y, attention, f"{name}_channels")]
        parts += [_masked(y, f"{name}_pixels1"), _masked(x, f"{name}_pixels2")]
        return keras.layers.Add(name=name)(parts)

    def body(x: keras.KerasTensor) -> keras.KerasTensor:
        for index in range(blocks):
            x = block(x, f"block{index + 1}")
        return conv(x, channels, "body")

    def tail(x: keras.KerasTensor) -> keras.KerasTensor:
        x = conv1x1(x, upscaled, "narrow")
        for step, factor in enumerate((2, 2) if scale == 4 else (scale,), 1):
            x = activated(NearestUpscale(factor, name=f"up{step}")(x), upscaled, f"up{step}_conv")
        return conv(activated(x, upscaled, "hr"), 3, "tail")

    return assemble("lwfanet", scale, output_activation, channels, body, tail=tail)


def channel_attention(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    """Multiplies each channel by a number that two layers compute from the means and the maxima of all channels, both added.

    Means and maxima are two pixels of one tensor, so that the layers run once; the last one is linear.
    """
    pools = [GlobalPool(kind, name=f"{name}_{kind}")(x) for kind in ("mean", "maximum")]
    y = conv(keras.layers.Concatenate(axis=1, name=f"{name}_both")(pools), width, f"{name}_squeeze", 1, "relu", use_bias=False)
    y = conv(GlobalPool("sum", name=f"{name}_sum")(y), x.shape[-1], f"{name}_excite", 1, use_bias=False)
    return keras.layers.Multiply(name=name)([keras.layers.Activation("sigmoid", name=f"{name}_mask")(y), x])


def _masked(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Multiplies x by a mask with one channel."""
    mask = keras.layers.Activation("sigmoid", name=f"{name}_mask")(conv1x1(x, 1, f"{name}_conv"))
    return keras.layers.Multiply(name=name)([mask, x])
