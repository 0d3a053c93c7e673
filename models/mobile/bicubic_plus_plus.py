"""Bicubic++, the winner of the NTIRE 2023 real-time super-resolution challenge at x3: convolutions at half of the LR size.

Paper: Bilecen and Ayazoglu, "Bicubic++: Slim, Slimmer, Slimmest - Designing an Industry-Grade Super-Resolution Network", CVPRW
2023; the layers are those of https://github.com/aselsan-research-imaging-team/bicubic-plusplus (models/SR_models.py), which is
the network after the pruning and the removal of all biases. Published for x3 and for images in 0..1.

The first convolution has a stride of 2. For an odd height or width, the published code returns `scale` rows or columns too
many; here they are cut off at the bottom and right.
"""

import keras

from mobile_sr.models.layers import ClippedReLU, DepthToSpace, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv, leaky
from mobile_sr.models.ntire2022.windows import CropLike

RECEPTIVE_FIELD = None  # 8 LR pixels, but the grid of the stride is aligned with the whole image


def build(
    scale: int = 3,
    output_activation: str = "clipped_relu",
    channels: int = 32,
    blocks: int = 2,
) -> keras.Model:
    """Bicubic++ as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 50,400 parameters at x3.
        output_activation: 'clipped_relu' or 'linear' (the published one).
        channels: channels of the hidden layers.
        blocks: number of convolutions between the first and the last.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)
    lr = keras.Input((None, None, 3), name="lr")
    x = keras.layers.ZeroPadding2D(1, name="pad")(lr)  # SAME would pad even sizes at the bottom and right only
    x = conv(x, channels, "head", strides=2, padding="valid", use_bias=False)
    features = x = leaky(x, "head_act", 0.1)
    for index in range(blocks):
        x = leaky(conv(x, channels, f"conv{index + 1}", use_bias=False), f"act{index + 1}", 0.1)
    x = keras.layers.Add(name="skip")([x, features])
    x = conv(x, 3 * (2 * scale) ** 2, "tail", use_bias=False)
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    x = DepthToSpace(2 * scale, name="pixels")(x)
    return keras.Model(lr, CropLike(scale, name="sr")([x, lr]), name=f"bicubic_plus_plus_x{scale}")
