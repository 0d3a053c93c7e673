"""SPAN, the winner of the NTIRE 2024 efficient super-resolution challenge.

Paper: Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution", CVPRW 2024, Figs. 2 and 3: blocks
of three 3x3 convolutions, whose output is multiplied by its own sigmoid minus a half. As for inference: the branches of each
convolution are merged. The mean of DIV2K is subtracted from the input. The published code multiplies its input of 0..1 by 255;
here that is part of the first kernel.
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models import DIV2K_MEAN
from mobile_sr.models.layers import ClippedReLU, DepthToSpace, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv, conv1x1, silu
from mobile_sr.models.ntire2022.layers import Shift


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 48,
    blocks: int = 6,
) -> keras.Model:
    """SPAN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 426,288 parameters at x4, and 9 constants.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)

    def block(x: keras.KerasTensor, name: str) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Returns the output, and the features after the first activation."""
        first = silu(conv(x, channels, f"{name}_conv1"), f"{name}_act1")
        y = silu(conv(first, channels, f"{name}_conv2"), f"{name}_act2")
        y = conv(y, channels, f"{name}_conv3")
        mask = Shift([-0.5], name=f"{name}_centred")(keras.layers.Activation("sigmoid", name=f"{name}_mask")(y))
        total = keras.layers.Add(name=f"{name}_sum")([y, x])
        return keras.layers.Multiply(name=name)([total, mask]), first

    lr = keras.Input((None, None, 3), name="lr")
    x = Shift([-value for value in DIV2K_MEAN], name="mean")(lr)
    head = x = conv(x, channels, "head")
    outputs = []
    for index in range(blocks):
        x, first = block(x, f"block{index + 1}")
        outputs.append(x)
    parts = [head, conv(x, channels, "body"), outputs[0], first]
    x = conv(conv1x1(keras.layers.Concatenate(name="concat")(parts), channels, "fuse"), 3 * scale * scale, "tail")
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    return keras.Model(lr, DepthToSpace(scale, name="sr")(x), name=f"span_x{scale}")


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: 3 per block, 3 for head, end of body and tail."""
    return 3 * config["blocks"] + 3
