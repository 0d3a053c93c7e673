"""FasterRFDN of team TOVBU in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, TOVBU's section: RFDN whose stages become narrower, each one working on the channels that the
stage before has distilled. Published for 0..1.
"""

import keras

from mobile_sr.models.ntire2022.blocks import (
    SMALLEST_SIDE,
    all_fused,
    assemble,
    coarse_three,
    conv,
    conv1x1,
    esa,
    leaky,
)

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]
RECEPTIVE_FIELD = None  # the grid of the attention's low resolution is aligned with the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 64,
    attention: int = 16,
    blocks: int = 4,
) -> keras.Model:
    """FasterRFDN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 376,432 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, a multiple of 4; the stages have all, half and a quarter of them.
        attention: channels inside ESA.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15.
    Raises: ValueError for an unknown output activation or channels that are not a multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"channels must be a multiple of 4, got {channels}")

    def refined(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        y = conv(x, x.shape[-1], f"{name}_refine")
        return leaky(keras.layers.Add(name=f"{name}_sum")([y, x]), f"{name}_refined")

    def distilled(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
        return leaky(conv1x1(x, filters, f"{name}_distill"), f"{name}_distilled")

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        kept = [distilled(x, channels // 2, f"{name}_stage1")]
        x = refined(x, f"{name}_stage1")
        for stage, filters in ((2, channels // 2), (3, channels // 4)):
            kept.append(distilled(x, filters, f"{name}_stage{stage}"))
            x = refined(kept[-1], f"{name}_stage{stage}")
        kept.append(refined(x, f"{name}_stage4"))
        x = conv1x1(keras.layers.Concatenate(name=f"{name}_concat")(kept), channels, f"{name}_fuse")
        return esa(x, attention, f"{name}_esa", coarse_three)

    return assemble("faster_rfdn", scale, output_activation, channels, all_fused([block] * blocks))
