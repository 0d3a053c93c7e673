"""VDSR in RGB: twenty 3x3 convolutions that correct the bicubically enlarged picture.

Paper: Kim et al., "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", CVPR 2016, Fig. 1, there on luma.
The enlarging is part of the network here.
"""

import keras

from mobile_sr.models.bicubic import BicubicUpscale
from mobile_sr.models.layers import ClippedReLU, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv


def build(scale=4, output_activation="clipped_relu", channels=64, blocks=18):
    """VDSR as a functional Keras model; 668,227 parameters at every scale.

    Args:
        scale: 2, 3 or 4 (any positive int works).
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: of the hidden layers. blocks: convolutions between the first and the last.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for another output activation.
    """
    check_output_activation(output_activation)
    lr = keras.Input((None, None, 3), name="lr")
    picture = BicubicUpscale(scale, name="bicubic")(lr)
    x = picture
    for index in range(blocks + 1):
        x = conv(x, channels, f"conv{index + 1}", activation="relu", kernel_initializer="he_normal")
    sr = keras.layers.Add(name="sum")([picture, conv(x, 3, "tail")])
    if output_activation == "clipped_relu":
        sr = ClippedReLU(name="sr")(sr)
    return keras.Model(lr, sr, name=f"vdsr_x{scale}")


def receptive_field(config):
    """LR pixels to each side that an output pixel depends on: a HR pixel a convolution, rounded up, and 2 for bicubic."""
    return -(-(config["blocks"] + 2) // config["scale"]) + 2
