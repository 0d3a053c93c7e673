"""PAN, the network with the fewest parameters in the AIM 2020 efficient super-resolution challenge.

Paper: Zhao et al., "Efficient Image Super-Resolution Using Pixel Attention", ECCVW 2020; the layers are those of
https://github.com/zhaohengyuan1/PAN (codes/models/archs/PAN_arch.py): blocks of self-calibrated convolutions with pixel
attention (SC-PA), then steps of nearest-neighbor upscaling, a convolution, pixel attention and a convolution (U-PA). The
bilinear upscaling of the input is added to the output. Published for x2, x3 and x4, and for images in 0..1.
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.layers import ClippedReLU, check_output_activation
from mobile_sr.models.ntire2022.attention.scet import pixel_attention_block
from mobile_sr.models.ntire2022.blocks import ResizeLike, conv, leaky, pixel_attention
from mobile_sr.models.ntire2022.layers import NearestUpscale


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 40,
    upscaled: int = 24,
    blocks: int = 16,
) -> keras.Model:
    """PAN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 261,403 parameters at x2 and x3, 272,419 at x4.
        output_activation: 'clipped_relu' or 'linear' (the published one).
        channels: feature channels, an even number.
        upscaled: channels while the size grows.
        blocks: number of SC-PA blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation or an odd number of channels.
    """
    check_output_activation(output_activation)
    if channels % 2:
        raise ValueError(f"channels must be even, got {channels}")
    lr = keras.Input((None, None, 3), name="lr")
    features = x = conv(lr, channels, "head")
    for index in range(blocks):
        x = pixel_attention_block(x, f"block{index + 1}")
    x = keras.layers.Add(name="body_skip")([conv(x, channels, "body"), features])
    for step, factor in enumerate(_steps(scale), 1):
        x = conv(NearestUpscale(factor, name=f"up{step}")(x), upscaled, f"up{step}_conv")
        x = leaky(pixel_attention(x, f"up{step}_attention"), f"up{step}_act1", 0.2)
        x = leaky(conv(x, upscaled, f"up{step}_refine"), f"up{step}_act2", 0.2)
    x = conv(x, 3, "tail")
    x = keras.layers.Add(name="sum")([x, ResizeLike(name="bilinear")([lr, x])])
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="sr")(x)
    return keras.Model(lr, x, name=f"pan_x{scale}")


def _steps(scale: int) -> tuple[int, ...]:
    """Factors of the upscaling steps."""
    return (2, 2) if scale == 4 else (scale,)


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: 2 per block, 1 each for head and body, and the upsampler's.

    The upsampler has three 3x3 convolutions at the HR size, or at x4 two at half of it and three at the HR size.
    """
    scale: int = config["scale"]
    upsampler = 2 if scale == 4 else -(-3 // scale)
    return 2 * config["blocks"] + 2 + upsampler
