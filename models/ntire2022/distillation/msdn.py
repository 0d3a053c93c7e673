"""MSDN of team VMCL_Taobao in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, VMCL_Taobao's section: three distillation blocks with grouped and dilated convolutions, SiLU, and
large-kernel attention (Guo et al., "Visual Attention Network", 2022) at low resolution. The published code multiplies its input
of 0..1 by 255 and divides its output: the weights are for 0..255.
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.layers import GroupedConv2D
from mobile_sr.models.ntire2022.blocks import ResizeLike, all_fused, assemble, conv, conv1x1, gelu, silu

RECEPTIVE_FIELD = None  # the grid of the attention's low resolution is aligned with the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 56,
    distilled: int = 28,
    attention: int = 7,
    blocks: int = 3,
    grouped_form: str | None = None,
) -> keras.Model:
    """MSDN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 322,965 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, an even number.
        distilled: channels that each stage sets aside.
        attention: channels inside the attention.
        blocks: number of blocks. The attention of the first one works at 1 / (blocks + 1) of the LR size, that of the last at
            a half.
        grouped_form: the form of layers.GroupedConv2D; None for training, 'grouped' for export.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 9 with 3 blocks.
    Raises: ValueError for an unknown output activation or an odd number of channels.
    """

    def stage(x: keras.KerasTensor, filters: int, name: str, kernel_size: int, **options: Any) -> keras.KerasTensor:
        return silu(conv(x, filters, name, kernel_size, **options), f"{name}_act")

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        kept = [stage(x, distilled, f"{name}_stage1_distill", 1)]
        x = stage(x, 2 * channels, f"{name}_stage1_expand", 1)
        x = GroupedConv2D(channels, 3, 2, kernel_initializer="glorot_uniform", form=grouped_form, name=f"{name}_stage1_refine")(
            x
        )
        x = silu(x, f"{name}_stage1_refined")
        kept.append(stage(x, distilled, f"{name}_stage2_distill", 1))
        x = stage(x, channels, f"{name}_stage2_refine", 3)
        kept.append(stage(x, distilled, f"{name}_stage3", 3, dilation_rate=2))
        x = conv1x1(keras.layers.Concatenate(name=f"{name}_concat")(kept), channels, f"{name}_fuse")
        return _large_kernel_attention(x, attention, f"{name}_attention", blocks + 2 - int(name.removeprefix("block")))

    return assemble("msdn", scale, output_activation, channels, all_fused([block] * blocks, act=silu))


def _large_kernel_attention(x: keras.KerasTensor, width: int, name: str, factor: int) -> keras.KerasTensor:
    """Multiplies x by a mask of depthwise convolutions with a field of 23x23 pixels, at 1 / factor of the size."""
    reduced = conv1x1(x, width, f"{name}_reduce")
    y = keras.layers.MaxPooling2D(2 * factor + 1, factor, name=f"{name}_pool")(reduced)
    y = gelu(y, f"{name}_act")
    y = keras.layers.DepthwiseConv2D(7, padding="same", dilation_rate=3, name=f"{name}_depthwise1")(y)
    y = keras.layers.DepthwiseConv2D(5, padding="same", name=f"{name}_depthwise2")(y)
    low = ResizeLike(name=f"{name}_resize")([conv1x1(y, width, f"{name}_mix"), reduced])
    total = keras.layers.Add(name=f"{name}_sum")([low, reduced])
    mask = keras.layers.Activation("sigmoid", name=f"{name}_mask")(conv1x1(total, x.shape[-1], f"{name}_expand"))
    return keras.layers.Multiply(name=name)([x, mask])


def smallest_side(config: Mapping[str, Any]) -> int:
    """Minimum height and width of an input in LR pixels: one window of the first block's pooling."""
    return 2 * config["blocks"] + 3
