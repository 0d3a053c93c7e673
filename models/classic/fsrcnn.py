"""FSRCNN(56, 12, 4) in RGB, one of the two networks that the XLSR paper quantizes for comparison.

Papers: Dong et al., "Accelerating the Super-Resolution Convolutional Neural Network", ECCV 2016, Sec. 3; in RGB and
with both output activations in Ayazoglu, CVPRW 2021, Table 5. The 9x9 transposed convolution runs as an ordinary convolution
(layers.SubPixelConv2DTranspose).
"""

import keras

from mobile_sr.models.layers import GRAY, ClippedReLU, DepthToSpace, PReLU, SubPixelConv2DTranspose, check_output_activation

RECEPTIVE_FIELD = 8  # 2 (5x5) + 4 (four 3x3) + at most 2 for the 9x9 transposed convolution at x2 or more


def build(
    scale: int = 3,
    output_activation: str = "clipped_relu",
    d: int = 56,
    s: int = 12,
    m: int = 4,
    padding: int | None = None,
) -> keras.Model:
    """FSRCNN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 24,683 parameters at every scale.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        d: feature channels.
        s: channels of the mapping layers.
        m: number of mapping layers.
        padding: of the transposed convolution, see `SubPixelConv2DTranspose`; 4 in the checkpoints of Chao et al., CVPR 2023.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)

    def conv(x: keras.KerasTensor, filters: int, kernel_size: int, name: str) -> keras.KerasTensor:
        x = keras.layers.Conv2D(filters, kernel_size, padding="same", kernel_initializer="he_normal", name=name)(x)
        return PReLU(name=f"{name}_prelu")(x)

    lr = keras.Input((None, None, 3), name="lr")
    x = conv(lr, d, 5, "feature")
    x = conv(x, s, 1, "shrink")
    for index in range(m):
        x = conv(x, s, 3, f"map{index + 1}")
    x = conv(x, d, 1, "expand")
    init = keras.initializers.RandomNormal(stddev=0.001)  # the paper's, Sec. 3.3
    options = {"kernel_initializer": init, "bias_initializer": GRAY, "padding": padding}
    x = SubPixelConv2DTranspose(3, 9, scale, name="tail", **options)(x)
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    return keras.Model(lr, DepthToSpace(scale, name="sr")(x), name=f"fsrcnn_x{scale}")
