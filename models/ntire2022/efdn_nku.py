"""EFDN of team NKU-ESR in the NTIRE 2022 efficient super-resolution challenge, the baseline of the challenge of 2025.

Papers: Li et al., CVPRW 2022, NKU-ESR's section; Wang, "Edge-Enhanced Feature Distillation Network for Efficient
Super-Resolution", CVPRW 2022, Figs. 2 and 3: cells found by architecture search, with PReLU and ESA. As submitted: the
edge-enhanced convolutions are merged into 3x3 convolutions. Published for 0..1.
"""

import keras

from mobile_sr.models.ntire2022.blocks import SMALLEST_SIDE, assemble, coarse_three, conv, conv1x1, esa
from mobile_sr.models.ntire2022.layers import AnySlopePReLU

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]
RECEPTIVE_FIELD = None  # the grid of the attention's low resolution is aligned with the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 48,
    attention: int = 12,
) -> keras.Model:
    """EFDN of NKU-ESR as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 276,192 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, an even number.
        attention: channels inside ESA.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15.
    Raises: ValueError for an unknown output activation.
    """

    def fused(tensors: list[keras.KerasTensor], name: str) -> keras.KerasTensor:
        return conv1x1(keras.layers.Concatenate(name=f"{name}_concat")(tensors), channels, name)

    def cell(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        outputs = [x]
        for stage, kernel_size in enumerate((1, 3, 3), 1):
            y = conv(outputs[-1], channels, f"{name}_conv{stage}", kernel_size)
            outputs.append(AnySlopePReLU(name=f"{name}_act{stage}")(y))
        y = fused([conv1x1(y, channels // 2, f"{name}_branch{k}") for k, y in enumerate(outputs, 1)], f"{name}_fuse")
        return keras.layers.Add(name=name)([esa(y, attention, f"{name}_esa", coarse_three), x])

    def body(x: keras.KerasTensor) -> keras.KerasTensor:
        first = cell(x, "cell1")
        second = cell(first, "cell2")
        third = cell(fused([first, second], "fuse1"), "cell3")
        fourth = cell(fused([second, third], "fuse2"), "cell4")
        return fused([second, fourth], "fuse3")

    return assemble("efdn_nku", scale, output_activation, channels, body)
