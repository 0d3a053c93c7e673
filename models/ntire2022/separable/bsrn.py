"""BSRN of team XPixel, a winner of the complexity track of the NTIRE 2022 efficient super-resolution challenge.

Papers: Li et al., CVPRW 2022, Sec. 4.4; Li et al., "Blueprint Separable Residual Network for Efficient Image
Super-Resolution", CVPRW 2022. The network as submitted: ESA and a weight for each channel. Published for 0..1.
"""

import keras

from mobile_sr.models.layers import Shape
from mobile_sr.models.ntire2022.blocks import (
    SMALLEST_SIDE,
    all_fused,
    assemble,
    blueprint_conv,
    distillation_block,
    esa,
    gelu,
    linear,
    strided,
)

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]
RECEPTIVE_FIELD = None  # the grid of the attention's low resolution is aligned with the whole image


@keras.saving.register_keras_serializable("mobile_sr")
class ChannelWeights(keras.layers.Layer):
    """Multiplies each channel by a weight; the weights start at a mean of 1 (Li et al., CVPRW 2022, Sec. 4.4)."""

    def build(self, input_shape: Shape) -> None:
        init = keras.initializers.RandomNormal(mean=1.0, stddev=0.2)
        self.weight = self.add_weight(shape=(input_shape[-1],), initializer=init, name="weight")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return x * self.weight

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 48,
    distilled: int = 24,
    attention: int = 12,
    blocks: int = 5,
) -> keras.Model:
    """BSRN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 156,288 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        distilled: channels that each stage sets aside.
        attention: channels inside ESA.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15.
    Raises: ValueError for an unknown output activation.
    """

    def attend(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        x = ChannelWeights(name=f"{name}_weights")(esa(x, attention, name, _coarse, linear))
        return linear(x, channels, f"{name}_out")

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        y = distillation_block(x, distilled, name, attend, one=linear, three=blueprint_conv, act=gelu)
        return keras.layers.Add(name=name)([y, x])

    def head(lr: keras.KerasTensor) -> keras.KerasTensor:
        return blueprint_conv(keras.layers.Concatenate(name="repeat")([lr] * 4), channels, "head")

    body = all_fused([block] * blocks, one=linear, three=blueprint_conv, act=gelu)
    return assemble("bsrn", scale, output_activation, channels, body, head)


def _coarse(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    """The low-resolution part of ESA, with blueprint-separable convolutions and GELU."""
    x = gelu(blueprint_conv(strided(x, width, name), width, f"{name}_conv1"), f"{name}_act1")
    x = gelu(blueprint_conv(x, width, f"{name}_conv2"), f"{name}_act2")
    return blueprint_conv(x, width, f"{name}_conv3")
