"""ResDN of team cipher in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, cipher's section: blocks that expand by 1x1 and compress by 3x3 convolutions, PReLU in front of
each, and a top-down path that halves the channels at every step. The mean of DIV2K is subtracted from the input; adding it back
is part of the last bias. Published for 0..1.
"""

import keras

from mobile_sr.models import DIV2K_MEAN
from mobile_sr.models.layers import ClippedReLU, DepthToSpace, check_output_activation
from mobile_sr.models.ntire2022.blocks import SMALLEST_SIDE, ChannelRange, coarse_three, conv, conv1x1, esa
from mobile_sr.models.ntire2022.layers import AnySlopePReLU, Shift

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]
RECEPTIVE_FIELD = None  # the grid of the attention's low resolution is aligned with the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 48,
    distilled: int = 16,
    attention: int = 12,
    blocks: int = 4,
) -> keras.Model:
    """ResDN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 406,483 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, an even number.
        distilled: channels that each expansion hands on to the later ones.
        attention: channels inside ESA.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15.
    Raises: ValueError for an unknown output activation or an odd number of channels.
    """
    check_output_activation(output_activation)
    if channels % 2:
        raise ValueError(f"channels must be even, got {channels}")

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        start = x
        handed_on: dict[int, list[keras.KerasTensor]] = {1: [], 2: [], 3: [], 4: []}  # {stage: features of earlier stages}
        for stage in (1, 2, 3):
            prefix = f"{name}_stage{stage}"
            y = _joined([x, *handed_on[stage]], f"{prefix}_concat")
            y = conv1x1(_prelu(y, f"{prefix}_act1"), channels + (4 - stage) * distilled, f"{prefix}_expand")
            for index in range(4 - stage):
                first = channels + index * distilled
                part = ChannelRange(first, first + distilled, name=f"{prefix}_part{index + 1}")(y)
                handed_on[stage + 1 + index].append(part)
            y = ChannelRange(0, channels, name=f"{prefix}_kept")(y)
            y = conv(_prelu(y, f"{prefix}_act2"), channels, f"{prefix}_compress")
            x = keras.layers.Add(name=f"{prefix}_sum")([x, y])
        y = _prelu(_joined([x, *handed_on[4]], f"{name}_concat"), f"{name}_act")
        y = esa(conv1x1(y, channels, f"{name}_fuse"), attention, f"{name}_esa", coarse_three)
        return keras.layers.Add(name=name)([y, start])

    lr = keras.Input((None, None, 3), name="lr")
    features = x = conv(Shift([-value for value in DIV2K_MEAN], name="mean")(lr), channels, "head")
    outputs = []
    for index in range(blocks):
        x = block(x, f"block{index + 1}")
        outputs.append(x)
    for step, lower in enumerate(outputs[-2::-1], 1):
        both = [
            conv(source, channels // 2, f"down{step}_{name}", 1, "relu") for source, name in ((x, "top"), (lower, "lateral"))
        ]
        x = keras.layers.Concatenate(name=f"down{step}")(both)
    x = conv(keras.layers.Add(name="body_skip")([x, features]), channels, "body")
    x = conv(x, 3 * scale * scale, "tail")
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    return keras.Model(lr, DepthToSpace(scale, name="sr")(x), name=f"resdn_x{scale}")


def _joined(tensors: list[keras.KerasTensor], name: str) -> keras.KerasTensor:
    return keras.layers.Concatenate(name=name)(tensors) if len(tensors) > 1 else tensors[0]


def _prelu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return AnySlopePReLU(name=name)(x)
