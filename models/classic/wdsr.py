"""WDSR-A and WDSR-B: residual blocks with many channels in front of the activation and few between the blocks.

Paper: Yu et al., "Wide Activation for Efficient and Accurate Image Super-Resolution", arXiv 1808.08718, 2018, Figs. 1 and 2;
the layers are those of the authors' code, https://github.com/JiahuiYu/wdsr_ntire2018. WDSR-B (`low_rank`) expands by a 1x1
convolution, and reduces by a 1x1 convolution to a few channels and a 3x3 convolution. There is no convolution behind the pixel
shuffle: a 5x5 convolution of the input is added in front of it.

Weight normalization is folded into the kernels. The paper's input is 2 * (image - mean of DIV2K); the mean is a layer here, the
factors are part of the first and last kernels.
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models import DIV2K_MEAN
from mobile_sr.models.layers import ClippedReLU, DepthToSpace, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv
from mobile_sr.models.ntire2022.layers import Shift


def build(
    scale: int = 2,
    output_activation: str = "clipped_relu",
    channels: int = 32,
    expanded: int = 128,
    low_rank: int | None = None,
    blocks: int = 16,
) -> keras.Model:
    """WDSR as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 1,187,487 parameters at x2. The authors print 1,190,100: without the
            mean, and with a length for each kernel of weight normalization.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: channels between the blocks.
        expanded: channels inside of the blocks; 6 * channels in WDSR-B.
        low_rank: None for WDSR-A; channels between the last two convolutions of a block of WDSR-B, 0.8 * channels there.
        blocks: number of residual blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)
    pixels = scale * scale

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        size = 3 if low_rank is None else 1
        y = conv(x, expanded, f"{name}_expand", size, "relu")
        if low_rank is not None:
            y = conv(y, low_rank, f"{name}_squeeze", 1)
        return keras.layers.Add(name=name)([conv(y, channels, f"{name}_project"), x])

    lr = keras.Input((None, None, 3), name="lr")
    image = Shift([-value for value in DIV2K_MEAN], name="mean")(lr)
    x = conv(image, channels, "head")
    for index in range(blocks):
        x = block(x, f"block{index + 1}")
    mean = keras.initializers.Constant(list(DIV2K_MEAN) * pixels)
    skip = conv(image, 3 * pixels, "skip", 5, bias_initializer=mean)
    x = keras.layers.Add(name="sum")([conv(x, 3 * pixels, "tail"), skip])
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    return keras.Model(lr, DepthToSpace(scale, name="sr")(x), name=f"wdsr_x{scale}")


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: 1 for head and tail each, 2 per block, 1 in WDSR-B."""
    return max(2, 2 + config["blocks"] * (2 if config["low_rank"] is None else 1))
