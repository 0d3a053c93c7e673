"""BSRN of team XPixel, a winner of the complexity track of the NTIRE 2022 efficient super-resolution challenge.

Papers: Li et al., CVPRW 2022, Sec. 4.4; Li et al., "Blueprint Separable Residual Network for Efficient Image
Super-Resolution", CVPRW 2022. The network as submitted: ESA and a weight for each channel. Published for 0..1.
"""

import keras

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
RECEPTIVE_FIELD = None  # the attention's low resolution lies on the picture as a whole


@keras.saving.register_keras_serializable("mobile_sr")
class ChannelWeights(keras.layers.Layer):
    """Every channel times a weight of its own; they start at a mean of 1 (Li et al., CVPRW 2022, Sec. 4.4)."""

    def build(self, input_shape):
        init = keras.initializers.RandomNormal(mean=1.0, stddev=0.2)
        self.weight = self.add_weight(shape=(input_shape[-1],), initializer=init, name="weight")

    def call(self, x):
        return x * self.weight

    def compute_output_shape(self, input_shape):
        return input_shape


def build(scale=4, output_activation="clipped_relu", channels=48, distilled=24, attention=12, blocks=5):
    """BSRN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 156,288 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels, distilled, attention: of the features, of what a stage puts aside, inside ESA. blocks: how many.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15.
    Raises: ValueError for another output activation.
    """
    separable = {"one": linear, "act": gelu}

    def attend(x, name):
        x = ChannelWeights(name=f"{name}_weights")(esa(x, attention, name, _coarse, linear))
        return linear(x, channels, f"{name}_out")

    def block(x, name):
        y = distillation_block(x, distilled, name, attend, three=blueprint_conv, **separable)
        return keras.layers.Add(name=name)([y, x])

    def head(lr):
        return blueprint_conv(keras.layers.Concatenate(name="repeat")([lr] * 4), channels, "head")

    body = all_fused(block, blocks, three=blueprint_conv, **separable)
    return assemble("bsrn", scale, output_activation, channels, body, head)


def _coarse(x, width, name):
    """The low-resolution part of ESA, of blueprint-separable convolutions and GELU."""
    x = gelu(blueprint_conv(strided(x, width, name), width, f"{name}_conv1"), f"{name}_act1")
    x = gelu(blueprint_conv(x, width, f"{name}_conv2"), f"{name}_act2")
    return blueprint_conv(x, width, f"{name}_conv3")
