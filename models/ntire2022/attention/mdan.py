"""MDAN of team ncepu_explorers in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, ncepu_explorers' section and Fig. 56: pairs of convolutions, one of them dilated, each made of a
grouped 1x1, a depthwise 3x3 and a 1x1 convolution without an activation in between. An attention multiplies the output of each
block by the sum of two softmaxes, over the channels and over the pixels. The result is added to the bicubically upscaled
input. A mean is subtracted in front of the first convolution. Weight normalization is folded, and so are the trained factors
of the three attentions. Published for 0..255.
"""

from collections.abc import Sequence

import keras

from mobile_sr.models import DIV2K_MEAN
from mobile_sr.models.bicubic import BicubicUpscale
from mobile_sr.models.layers import ClippedReLU, DepthToSpace, GroupedConv2D, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv, conv1x1, leaky
from mobile_sr.models.ntire2022.layers import FineSoftmax, Shift

RECEPTIVE_FIELD = None  # the attention sees the whole image
GROUPS = 3
DILATIONS = (1, 1, 2, 2, 3, 3)


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 48,
    blocks: int = 3,
    dilations: Sequence[int] = DILATIONS,
    grouped_form: str | None = None,
) -> keras.Model:
    """MDAN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 374,403 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, a multiple of 6.
        blocks: number of blocks, each followed by an attention.
        dilations: dilation of each unit of a block.
        grouped_form: the form of layers.GroupedConv2D; None for training, 'grouped' for export.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation or channels that are not a multiple of 6.
    """
    check_output_activation(output_activation)
    if channels % 6:
        raise ValueError(f"channels must be a multiple of 6, got {channels}")

    def separable(x: keras.KerasTensor, filters: int, name: str, dilation: int = 1) -> keras.KerasTensor:
        y = GroupedConv2D(channels, 1, GROUPS, kernel_initializer="glorot_uniform", form=grouped_form, name=f"{name}_groups")(x)
        y = keras.layers.DepthwiseConv2D(3, padding="same", dilation_rate=dilation, name=f"{name}_depthwise")(y)
        return conv1x1(y, filters, f"{name}_mix")

    def unit(x: keras.KerasTensor, name: str, dilation: int) -> keras.KerasTensor:
        y = x
        for stage in (1, 2, 3):
            part = f"{name}_stage{stage}"
            near = leaky(separable(y, channels // 2, f"{part}_near"), f"{part}_near_act", 0.2)
            far = leaky(separable(y, channels // 2, f"{part}_far", dilation), f"{part}_far_act", 0.2)
            y = keras.layers.Concatenate(name=f"{part}_concat")([near, far])
        return keras.layers.Add(name=name)([conv1x1(y, channels, f"{name}_fuse"), x])

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        y = x
        for index, dilation in enumerate(dilations, 1):
            y = unit(y, f"{name}_unit{index}", dilation)
        return keras.layers.Add(name=name)([y, x])

    def attended(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        halves = [conv1x1(x, channels // 2, f"{name}_plain"), separable(x, channels // 2, f"{name}_separable")]
        y = keras.layers.Concatenate(name=f"{name}_concat")(halves)
        values, logits = conv1x1(y, channels, f"{name}_values"), separable(y, channels, f"{name}_logits")
        masks = [FineSoftmax(axes, name=f"{name}_{over}")(logits) for axes, over in (((3,), "channels"), ((1, 2), "pixels"))]
        masked = [keras.layers.Multiply()([values, mask]) for mask in masks]
        return conv1x1(keras.layers.Add(name=f"{name}_sum")(masked), channels, f"{name}_fuse")

    lr = keras.Input((None, None, 3), name="lr")
    x = Shift([-3 / 255 * value for value in DIV2K_MEAN], name="mean")(lr)  # the team's factor for 0..255 is 3
    features = x = leaky(conv(x, channels, "head"), "head_act", 0.2)
    outputs = []
    for index in range(1, blocks + 1):
        x = block(x, f"block{index}")
        outputs.append(attended(x, f"attention{index}"))
    x = conv1x1(keras.layers.Concatenate(name="blocks_concat")(outputs), channels, "blocks_fuse")
    x = conv(keras.layers.Add(name="body_skip")([x, features]), 3 * scale * scale, "tail")
    x = DepthToSpace(scale, name="pixels")(x)
    sr = keras.layers.Add(name="sum")([x, BicubicUpscale(scale, -0.75, name="bicubic")(lr)])
    if output_activation == "clipped_relu":
        sr = ClippedReLU(name="sr")(sr)
    return keras.Model(lr, sr, name=f"mdan_x{scale}")
