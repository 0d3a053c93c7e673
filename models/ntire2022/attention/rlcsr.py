"""RLCSR of team IMGWLH in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, IMGWLH's section: RFDN's blocks with SELU and skips, joined twice, sums of 1x3, 3x1 and 3x3
convolutions, and attention to channels and pixels at the end. The result is added to the bicubically upscaled input. Weight
normalization, channel shuffles and the factor of a layer attention with one layer are folded. Published for 0..255.
"""

from typing import Any

import keras

from mobile_sr.models.bicubic import BicubicUpscale
from mobile_sr.models.layers import ClippedReLU, DepthToSpace, check_output_activation
from mobile_sr.models.ntire2022.attention.lwfanet import channel_attention
from mobile_sr.models.ntire2022.blocks import SMALLEST_SIDE, conv, conv1x1, distillation_block, esa, silu, strided
from mobile_sr.models.ntire2022.layers import SELU, ChannelMeanAndMaximum

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]
RECEPTIVE_FIELD = None  # the attention pools over the whole image
SIZES = {"row": (1, 3), "column": (3, 1), "square": (3, 3)}  # of the convolutions that are added up


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 32,
    distilled: int = 16,
    attention: int = 8,
    squeezed: int = 10,
    blocks: int = 6,
) -> keras.Model:
    """RLCSR as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 322,610 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        distilled: channels that each stage sets aside.
        attention: channels inside ESA.
        squeezed: channels inside the attention to channels at the end.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15.
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)

    def attend(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return esa(x, attention, name, _coarse)

    lr = keras.Input((None, None, 3), name="lr")
    x = _three(lr, channels, "head", use_bias=False)
    outputs: list[keras.KerasTensor] = []
    for index in range(1, blocks + 1):
        y = distillation_block(x, distilled, f"block{index}", attend, act=_selu)
        x = keras.layers.Add(name=f"block{index}")([y, x]) if outputs else y
        outputs.append(x)
    fused = conv1x1(keras.layers.Concatenate(name="blocks_concat")(outputs), channels, "blocks_fuse")
    fused = _three(_selu(fused, "blocks_fused"), channels, "body", use_bias=False)
    joined = outputs[0]
    for index, later in enumerate(outputs[1:], 1):
        joined = conv1x1(keras.layers.Concatenate(name=f"join{index}_concat")([joined, later]), channels, f"join{index}")
    x = keras.layers.Concatenate(name="both")([fused, joined])
    x = _three(_attention(x, squeezed, "attention"), channels, "reduce", use_bias=False)
    x = DepthToSpace(scale, name="pixels")(_three(x, 3 * scale * scale, "tail"))
    sr = keras.layers.Add(name="sum")([x, BicubicUpscale(scale, -0.75, name="bicubic")(lr)])
    if output_activation == "clipped_relu":
        sr = ClippedReLU(name="sr")(sr)
    return keras.Model(lr, sr, name=f"rlcsr_x{scale}")


def _three(x: keras.KerasTensor, filters: int, name: str, **options: Any) -> keras.KerasTensor:
    """The sum of a 1x3, a 3x1 and a 3x3 convolution."""
    parts = [conv(x, filters, f"{name}_{part}", size, **options) for part, size in SIZES.items()]
    return keras.layers.Add(name=name)(parts)


def _selu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return SELU(name=name)(x)


def _coarse(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    """ESA's low-resolution part: `strided`, then three 3x3 convolutions with skips, two of them with SiLU."""
    x = strided(x, width, name)
    for k in (1, 2, 3):
        y = conv(x, width, f"{name}_conv{k}")
        x = keras.layers.Add(name=f"{name}_sum{k}")([silu(y, f"{name}_act{k}") if k < 3 else y, x])
    return x


def _attention(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    """Masks of the channels and of the pixels (Woo et al., "CBAM", ECCV 2018, here side by side), multiplied by x."""
    y = conv(ChannelMeanAndMaximum(name=f"{name}_statistics")(x), 1, f"{name}_pixels", 7, use_bias=False)
    mask = keras.layers.Activation("sigmoid", name=f"{name}_pixels_mask")(y)
    return keras.layers.Multiply(name=name)([channel_attention(x, width, f"{name}_channels"), mask])
