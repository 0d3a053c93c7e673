"""The isotropic Restormer of TeamInception in the NTIRE 2022 efficient super-resolution challenge, untrained.

Papers: Li et al., CVPRW 2022, TeamInception's section and Fig. 48; Zamir et al., "Restormer", CVPR 2022, Fig. 2: transformer
blocks with attention among channels (MDTA) and a gated feed-forward layer (GDFN), all at the LR size. The result is added to
the bilinearly upscaled input.

Neither code nor weights were published, and the report gives no sizes. Our choices:

- Queries, keys, values and both halves of the feed-forward layer have convolutions of their own, with biases. Six blocks then
  have the 74 convolutions of Table 1.
- 94 channels and 125 in the feed-forward layer (1.33 times as many): 0.505 M parameters as printed, 32.47 G FLOPs (printed:
  32.42), 501.61 M activations (502.27). No pair of numbers gives all three.
- Two heads. Table 1 does not depend on them.
"""

from typing import Any

import keras

from mobile_sr.models.layers import ClippedReLU, DepthToSpace, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv, conv1x1, gelu
from mobile_sr.models.ntire2022.layers import ChannelAttention
from mobile_sr.models.ntire2022.mobilesr import BilinearUpscale

RECEPTIVE_FIELD = None  # the attention sees the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 94,
    hidden: int = 125,
    heads: int = 2,
    blocks: int = 6,
) -> keras.Model:
    """The isotropic Restormer as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 505,360 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, a multiple of `heads`.
        hidden: channels of the feed-forward layers.
        heads: number of heads of the attention.
        blocks: number of transformer blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation or heads that do not divide the channels.
    """
    check_output_activation(output_activation)
    lr = keras.Input((None, None, 3), name="lr")
    features = x = conv(lr, channels, "head")
    for index in range(blocks):
        x = _feed_forward(_attention(x, heads, f"block{index + 1}_attention"), hidden, f"block{index + 1}")
    x = conv(keras.layers.Add(name="body_skip")([x, features]), 3 * scale * scale, "tail")
    x = DepthToSpace(scale, name="pixels")(x)
    sr = keras.layers.Add(name="sum")([x, BilinearUpscale(scale, name="bilinear")(lr)])
    if output_activation == "clipped_relu":
        sr = ClippedReLU(name="sr")(sr)
    return keras.Model(lr, sr, name=f"restormer_x{scale}")


def _mixed(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """A 1x1 convolution and a depthwise 3x3 convolution."""
    return keras.layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depthwise")(conv1x1(x, filters, name))


def _normalized(x: keras.KerasTensor, name: str) -> Any:
    return keras.layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm")(x)


def _attention(x: keras.KerasTensor, heads: int, name: str) -> keras.KerasTensor:
    """MDTA with its skip."""
    y, channels = _normalized(x, name), x.shape[-1]
    parts = [_mixed(y, channels, f"{name}_{part}") for part in ("query", "key", "value")]
    y = ChannelAttention(heads, name=f"{name}_among_channels")(keras.layers.Concatenate(name=f"{name}_concat")(parts))
    return keras.layers.Add(name=name)([x, conv1x1(y, channels, f"{name}_project")])


def _feed_forward(x: keras.KerasTensor, hidden: int, name: str) -> keras.KerasTensor:
    """GDFN with its skip."""
    y = _normalized(x, name)
    gate, value = (_mixed(y, hidden, f"{name}_{part}") for part in ("gate", "value"))
    y = keras.layers.Multiply(name=f"{name}_gated")([gelu(gate, f"{name}_gate_act"), value])
    return keras.layers.Add(name=name)([x, conv1x1(y, x.shape[-1], f"{name}_project")])
