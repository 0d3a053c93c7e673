"""VDSR: twenty 3x3 convolutions that correct the bicubically upscaled image.

Paper: Kim et al., "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", CVPR 2016, Fig. 1, there on luma
(`luma`). Here the upscaling is part of the network.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from mobile_sr.models.bicubic import BicubicUpscale
from mobile_sr.models.layers import ClippedReLU, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv

# ITU-R BT.601 in 0..1, as MATLAB's rgb2ycbcr: Y = TO_Y . RGB + OFFSET. A change of Y alone changes all channels by FROM_Y.
TO_Y = np.array([[65.481], [128.553], [24.966]]) / 255
OFFSET = 16 / 255
FROM_Y = np.full((1, 3), 255 / 219)


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 64,
    blocks: int = 18,
    luma: bool = False,
) -> keras.Model:
    """VDSR as a functional Keras model; 668,227 parameters at every scale, 665,921 and 10 constants with `luma`.

    Args:
        scale: 2, 3 or 4 (any positive int works).
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: channels of the hidden layers.
        blocks: number of convolutions between the first and the last.
        luma: whether the convolutions read the Y channel of the image and correct it, as in the paper, instead of RGB.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)
    lr = keras.Input((None, None, 3), name="lr")
    upscaled = x = BicubicUpscale(scale, name="bicubic")(lr)
    if luma:
        x = _fixed(x, "luma", TO_Y, OFFSET)
    for index in range(blocks + 1):
        x = conv(x, channels, f"conv{index + 1}", activation="relu", kernel_initializer="he_normal")
    x = _fixed(conv(x, 1, "tail"), "rgb", FROM_Y, 0.0) if luma else conv(x, 3, "tail")
    sr = keras.layers.Add(name="sum")([upscaled, x])
    if output_activation == "clipped_relu":
        sr = ClippedReLU(name="sr")(sr)
    return keras.Model(lr, sr, name=f"vdsr_x{scale}")


def _fixed(x: keras.KerasTensor, name: str, kernel: np.ndarray, bias: float) -> keras.KerasTensor:
    """Applies a 1x1 convolution with a constant kernel [inputs, outputs] and bias."""
    start = {"kernel_initializer": keras.initializers.Constant(kernel.tolist())}
    return conv(x, kernel.shape[1], name, 1, bias_initializer=keras.initializers.Constant(bias), trainable=False, **start)


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: one HR pixel per convolution, rounded up, plus 2 for bicubic."""
    return -(-(config["blocks"] + 2) // config["scale"]) + 2
