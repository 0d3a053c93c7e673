"""FSRCNN(56, 12, 4) in RGB, one of the two nets that the XLSR paper quantizes beside its own.

Papers: Dong et al., "Accelerating the Super-Resolution Convolutional Neural Network", ECCV 2016, Sec. 3; in RGB with the
output activation under study in Ayazoglu, CVPRW 2021, Table 5. The 9x9 transposed convolution runs as its phases.
"""

import keras

from mobile_sr.models.layers import GRAY, ClippedReLU, DepthToSpace, PReLU, SubPixelConv2DTranspose, check_output_activation

RECEPTIVE_FIELD = 8  # 2 (5x5) + 4 (four 3x3) + at most 2 for the 9x9 transposed convolution at x2 or more


def build(scale=3, output_activation="clipped_relu", d=56, s=12, m=4):
    """FSRCNN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 24,683 parameters whatever the scale.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        d, s, m: feature channels, shrunk channels, mapping layers.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for another output activation.
    """
    check_output_activation(output_activation)

    def conv(x, filters, kernel_size, name):
        x = keras.layers.Conv2D(filters, kernel_size, padding="same", kernel_initializer="he_normal", name=name)(x)
        return PReLU(name=f"{name}_prelu")(x)

    lr = keras.Input((None, None, 3), name="lr")
    x = conv(lr, d, 5, "feature")
    x = conv(x, s, 1, "shrink")
    for index in range(m):
        x = conv(x, s, 3, f"map{index + 1}")
    x = conv(x, d, 1, "expand")
    init = keras.initializers.RandomNormal(stddev=0.001)  # the paper's, Sec. 3.3
    x = SubPixelConv2DTranspose(3, 9, scale, kernel_initializer=init, bias_initializer=GRAY, name="tail")(x)
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    return keras.Model(lr, DepthToSpace(scale, name="sr")(x), name=f"fsrcnn_x{scale}")
