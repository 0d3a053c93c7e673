"""ESAN of team Dragon in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, Dragon's section: residual blocks with ESA, added to one 3x3 convolution of the input. The ESA has
no 1x1 convolution on its skip. Published for 0..255.
"""

import keras

from mobile_sr.models.layers import ClippedReLU, DepthToSpace, check_output_activation
from mobile_sr.models.ntire2022.blocks import SMALLEST_SIDE, coarse_three, conv, esa

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]
SCRIPT_SKIPS = ("ReLU",)  # called as a function in the published code; the challenge's script misses it
RECEPTIVE_FIELD = None  # the grid of the attention's low resolution is aligned with the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 32,
    attention: int = 8,
    blocks: int = 16,
) -> keras.Model:
    """ESAN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 358,256 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        attention: channels inside ESA.
        blocks: number of residual blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15.
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)
    pixels = 3 * scale * scale
    lr = keras.Input((None, None, 3), name="lr")
    x = conv(lr, channels, "head")
    for index in range(blocks):
        name = f"block{index + 1}"
        y = keras.layers.ReLU(name=f"{name}_act")(conv(x, channels, f"{name}_conv1"))
        y = conv(y, channels, f"{name}_conv2")
        x = keras.layers.Add(name=name)([x, esa(y, attention, f"{name}_esa", coarse_three, skip=False)])
    x = keras.layers.Add(name="sum")([conv(lr, pixels, "shortcut"), conv(x, pixels, "tail")])
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    return keras.Model(lr, DepthToSpace(scale, name="sr")(x), name=f"esan_x{scale}")
