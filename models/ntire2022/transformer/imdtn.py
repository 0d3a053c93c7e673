"""IMDTN of team ZLZ in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, ZLZ's section and Fig. 53: IMDN's blocks with grouped convolutions and channel shuffles, and Swin
Transformer layers instead of the attention to channels. The input is extended by its mirror image to a multiple of the window,
by a whole window if it is one already. Published for 0..1.
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.layers import ClippedReLU, DepthToSpace, GroupedConv2D, check_output_activation
from mobile_sr.models.ntire2022.blocks import ChannelRange, conv, conv1x1, leaky
from mobile_sr.models.ntire2022.layers import ChannelShuffle
from mobile_sr.models.ntire2022.windows import CropLike, MirrorPad, swin_layers

RECEPTIVE_FIELD = None  # the windows are aligned with the whole image
GROUPS = 4


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 64,
    heads: int = 2,
    window: int = 6,
    hidden: int = 128,
    blocks: int = 3,
    grouped_form: str | None = None,
) -> keras.Model:
    """IMDTN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 371,532 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, a multiple of 16 and of `heads`.
        heads: number of heads of the attention.
        window: side of a window in LR pixels, an even number.
        hidden: channels inside of the transformer layers' perceptrons.
        blocks: number of blocks.
        grouped_form: the form of layers.GroupedConv2D; None for training, 'grouped' for export.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least `window`.
    Raises: ValueError for an unknown output activation, an odd window or channels that cannot be divided.
    """
    check_output_activation(output_activation)
    if channels % 16:
        raise ValueError(f"channels must be a multiple of 16, got {channels}")
    distilled = channels // 4

    def grouped(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return GroupedConv2D(channels, 3, GROUPS, kernel_initializer="glorot_uniform", form=grouped_form, name=name)(x)

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        y, skipped, kept = x, x, []
        for stage in (1, 2, 3):
            part = f"{name}_stage{stage}"
            skipped = keras.layers.Add(name=f"{part}_sum")([grouped(y, f"{part}_conv"), skipped])
            skipped = ChannelShuffle(GROUPS, name=f"{part}_shuffle")(skipped)
            y = leaky(skipped, f"{part}_act")
            kept.append(ChannelRange(0, distilled, name=f"{part}_kept")(y))
            y = ChannelRange(distilled, channels, name=f"{part}_rest")(y)
        kept.append(conv(y, distilled, f"{name}_stage4_conv"))
        y = keras.layers.Concatenate(name=f"{name}_concat")(kept)
        z = swin_layers(y, f"{name}_swin", heads, window, hidden)
        return keras.layers.Add(name=name)([z, y, x])

    lr = keras.Input((None, None, 3), name="lr")
    features = x = conv(MirrorPad(window, repeat_edge=True, always=True, name="pad")(lr), channels, "head")
    outputs = []
    for index in range(blocks):
        x = block(x, f"block{index + 1}")
        outputs.append(x)
    x = leaky(conv1x1(keras.layers.Concatenate(name="blocks_concat")(outputs), channels, "blocks_fuse"), "blocks_fused")
    x = keras.layers.Add(name="body_skip")([conv(x, channels, "body"), features])
    x = CropLike(name="crop")([conv(x, 3 * scale * scale, "tail"), lr])
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    return keras.Model(lr, DepthToSpace(scale, name="sr")(x), name=f"imdtn_x{scale}")


def smallest_side(config: Mapping[str, Any]) -> int:
    """Minimum height and width of an input in LR pixels: the shifted windows need two windows after the extension."""
    side: int = config["window"]
    return side
