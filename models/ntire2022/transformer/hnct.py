"""HNCT of team mju_mnu in the NTIRE 2022 efficient super-resolution challenge.

Papers: Li et al., CVPRW 2022, mju_mnu's section and Fig. 57; Fang et al., "A Hybrid Network of CNN and Transformer for
Lightweight Image Super-Resolution", CVPRW 2022: blocks of an attention to pixels, Swin Transformer layers, a convolution and
ESA. The transformer layers do not normalize what they read; a layer normalization precedes the first of each block instead,
without a skip, as in the team's code. Features are extended by their mirror image to a multiple of the window. The team's code
is for 0..1; its weights were not published.
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.ntire2022.blocks import SMALLEST_SIDE, all_fused, assemble, coarse_three, conv, esa
from mobile_sr.models.ntire2022.layers import ChannelMeanAndMaximum
from mobile_sr.models.ntire2022.windows import CropLike, MirrorPad, swin_layers

RECEPTIVE_FIELD = None  # the windows are aligned with the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 50,
    heads: int = 5,
    window: int = 8,
    hidden: int = 100,
    attention: int = 12,
    blocks: int = 4,
) -> keras.Model:
    """HNCT as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 345,044 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, a multiple of `heads`.
        heads: number of heads of the attention.
        window: side of a window in LR pixels, an even number.
        hidden: channels inside of the transformer layers' perceptrons.
        attention: channels inside ESA.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15 and
        `window` + 1.
    Raises: ValueError for an unknown output activation, an odd window or heads that do not divide the channels.
    """

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        x = _spatial_attention(x, f"{name}_pixels")
        y = MirrorPad(window, name=f"{name}_pad")(x)
        y = keras.layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm")(y)
        y = swin_layers(y, f"{name}_swin", heads, window, hidden, norm=False)
        y = conv(CropLike(name=f"{name}_crop")([y, x]), channels, f"{name}_conv")
        return esa(y, attention, f"{name}_esa", coarse_three)

    return assemble("hnct", scale, output_activation, channels, all_fused([block] * blocks))


def _spatial_attention(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Multiplies x by a mask computed from the mean and the maximum of the channels (Woo et al., "CBAM", ECCV 2018, Eq. 3)."""
    mask = conv(ChannelMeanAndMaximum(name=f"{name}_statistics")(x), 1, f"{name}_conv", 7, "sigmoid")
    return keras.layers.Multiply(name=name)([x, mask])


def smallest_side(config: Mapping[str, Any]) -> int:
    """Minimum height and width of an input in LR pixels: that of ESA, or two windows after the extension."""
    return max(SMALLEST_SIDE, config["window"] + 1)
