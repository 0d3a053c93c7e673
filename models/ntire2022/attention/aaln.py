"""AALN of team Drinktea in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, Drinktea's section: pairs of 3x3 convolutions with PReLU, an attention to channels by their means
and deviations, and a light attention to pixels by two depthwise convolutions. The result is added to the bicubically upscaled
input. The mean of DIV2K is subtracted in front of the first convolution. Published for 0..255.
"""

import keras

from mobile_sr.models import DIV2K_MEAN
from mobile_sr.models.bicubic import BicubicUpscale
from mobile_sr.models.layers import ClippedReLU, DepthToSpace, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv, conv1x1
from mobile_sr.models.ntire2022.layers import AnySlopePReLU, GlobalPool, Shift

RECEPTIVE_FIELD = None  # the attention pools over the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 54,
    attention: int = 9,
    blocks: int = 4,
) -> keras.Model:
    """AALN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 588,548 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        attention: channels inside the attention to channels.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)

    def activated(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return AnySlopePReLU(shared=True, name=f"{name}_act")(conv(x, channels, name))

    def unit(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        first = activated(x, f"{name}_conv1")
        both = [first, activated(first, f"{name}_conv2")]
        y = _channel_attention(keras.layers.Concatenate(name=f"{name}_concat")(both), attention, f"{name}_channels")
        return keras.layers.Add(name=name)([conv1x1(y, channels, f"{name}_fuse"), x])

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        first = unit(x, f"{name}_unit1")
        both = keras.layers.Concatenate(name=f"{name}_concat")([first, unit(first, f"{name}_unit2")])
        y = _pixel_attention(conv1x1(both, channels, f"{name}_fuse"), f"{name}_pixels")
        return keras.layers.Add(name=name)([y, x])

    lr = keras.Input((None, None, 3), name="lr")
    x = Shift([-value for value in DIV2K_MEAN], name="mean")(lr)
    features = x = activated(activated(x, "head1"), "head2")
    outputs = []
    for index in range(blocks):
        x = block(x, f"block{index + 1}")
        outputs.append(x)
    x = conv1x1(keras.layers.Concatenate(name="blocks_concat")(outputs), channels, "blocks_fuse")
    x = activated(keras.layers.Add(name="body_skip")([x, features]), "body")
    x = DepthToSpace(scale, name="pixels")(conv1x1(x, 3 * scale * scale, "tail"))
    sr = keras.layers.Add(name="sum")([x, BicubicUpscale(scale, -0.75, name="bicubic")(lr)])
    if output_activation == "clipped_relu":
        sr = ClippedReLU(name="sr")(sr)
    return keras.Model(lr, sr, name=f"aaln_x{scale}")


def _channel_attention(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    """Multiplies each channel by a number computed from the means and deviations of all channels."""
    parts = [
        conv(GlobalPool(kind, name=f"{name}_{kind}")(x), width, f"{name}_of_{kind}", 1, "relu")
        for kind in ("mean", "deviation")
    ]
    y = conv1x1(keras.layers.Add(name=f"{name}_sum")(parts), x.shape[-1], f"{name}_expand")
    return keras.layers.Multiply(name=name)([keras.layers.Activation("sigmoid", name=f"{name}_mask")(y), x])


def _pixel_attention(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Multiplies x by a mask of two depthwise 3x3 convolutions."""
    y = keras.layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depthwise1")(x)
    y = AnySlopePReLU(shared=True, name=f"{name}_act")(y)
    y = keras.layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depthwise2")(y)
    return keras.layers.Multiply(name=name)([keras.layers.Activation("sigmoid", name=f"{name}_mask")(y), x])
