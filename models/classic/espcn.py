"""ESPCN in RGB, one of the two networks that the XLSR paper quantizes for comparison.

Papers: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural
Network", CVPR 2016, Sec. 3; in RGB and with both output activations in Ayazoglu, CVPRW 2021, Table 5.
"""

from typing import Any

import keras

from mobile_sr.models.layers import GRAY, ClippedReLU, DepthToSpace, check_output_activation

RECEPTIVE_FIELD = 4  # LR pixels to each side: one 5x5 and two 3x3 convolutions


def build(
    scale: int = 3, output_activation: str = "clipped_relu", activation: str = "tanh", sigmoid: bool = False
) -> keras.Model:
    """ESPCN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works): 26,796 / 31,131 / 37,200 parameters.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        activation: of the two hidden layers, 'tanh' (the paper's) or 'relu'.
        sigmoid: end in a sigmoid, as the checkpoints of Chao et al., CVPR 2023, do.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown activation.
    """
    check_output_activation(output_activation)
    if activation not in ("tanh", "relu"):
        raise ValueError(f"activation must be 'tanh' or 'relu', got {activation!r}")

    def conv(x: keras.KerasTensor, filters: int, kernel_size: int, name: str, **options: Any) -> keras.KerasTensor:
        # With this variance tanh works in its curved range; with Glorot's it stayed nearly linear
        # (docs/measurements/training.md).
        return keras.layers.Conv2D(
            filters, kernel_size, padding="same", kernel_initializer="lecun_normal", name=name, **options
        )(x)

    lr = keras.Input((None, None, 3), name="lr")
    x = conv(lr, 64, 5, "feature", activation=activation)
    x = conv(x, 32, 3, "map", activation=activation)
    x = conv(x, 3 * scale * scale, 3, "tail", bias_initializer="zeros" if sigmoid else GRAY)
    if sigmoid:
        x = keras.layers.Activation("sigmoid", name="sigmoid")(x)
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    return keras.Model(lr, DepthToSpace(scale, name="sr")(x), name=f"espcn_x{scale}")
