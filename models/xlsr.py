"""XLSR: extremely lightweight quantization-robust super resolution.

Paper: Ayazoglu, "Extremely Lightweight Quantization Robust Real-Time Single-Image Super Resolution for Mobile
Devices", CVPRW 2021, Fig. 2 and Sec. 3. Two differences, neither of which changes a value: the four parallel 3x3
convolutions of the first stage are one, and the clip precedes depth_to_space, where the converter can fuse its ReLU.
"""

import keras

from mobile_sr.models.layers import ClippedReLU, DepthToSpace, GroupedConv2D, check_output_activation

RECEPTIVE_FIELD = 5  # LR pixels to each side: number of 3x3 convolutions on the longest path


def build(scale: int = 3, output_activation: str = "clipped_relu", grouped_form: str | None = None) -> keras.Model:
    """XLSR as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works): 17,612 / 21,947 / 28,016 parameters.
        output_activation: 'clipped_relu' (the paper's) or 'linear'.
        grouped_form: the form of layers.GroupedConv2D; None for training, 'grouped' for export.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for another output activation.
    """
    check_output_activation(output_activation)
    he_tenth = {"scale": 0.2, "mode": "fan_in", "distribution": "truncated_normal"}  # He (2.0), variance times 0.1

    def conv(
        x: keras.KerasTensor, filters: int, kernel_size: int, name: str, activation: str | None = None
    ) -> keras.KerasTensor:
        init = keras.initializers.VarianceScaling(**he_tenth)
        layer = keras.layers.Conv2D(
            filters, kernel_size, padding="same", activation=activation, kernel_initializer=init, name=name
        )
        return layer(x)

    def gblock(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        init = keras.initializers.VarianceScaling(**he_tenth)
        x = GroupedConv2D(
            32, 3, groups=4, activation="relu", kernel_initializer=init, form=grouped_form, name=f"{name}_grouped"
        )(x)
        return conv(x, 32, 1, f"{name}_mix")

    lr = keras.Input((None, None, 3), name="lr")
    x = conv(lr, 32, 3, "head", "relu")
    x = conv(x, 32, 1, "head_mix")
    for index in range(3):
        x = gblock(x, f"gblock{index + 1}")
    shortcut = conv(lr, 16, 3, "shortcut")
    x = keras.layers.Concatenate(name="concat")([x, shortcut])
    x = conv(x, 32, 1, "tail_mix", "relu")
    x = conv(x, 3 * scale * scale, 3, "tail")
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    return keras.Model(lr, DepthToSpace(scale, name="sr")(x), name=f"xlsr_x{scale}")
