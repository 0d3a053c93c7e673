"""The upsampler that most of these networks share: sub-pixel convolutions.

Source: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural
Network", CVPR 2016, Sec. 3; in steps of 2 as in Lim et al., CVPRW 2017.
"""

from collections.abc import Callable

import keras

from mobile_sr.models.layers import DepthToSpace
from mobile_sr.models.ntire2022.blocks import Convolution, conv


def subpixel(
    x: keras.KerasTensor,
    scale: int,
    channels: int | None = None,
    convolution: Convolution = conv,
    act: Callable[[keras.KerasTensor, str], keras.KerasTensor] | None = None,
    shuffle: Callable[..., keras.layers.Layer] = DepthToSpace,
) -> keras.KerasTensor:
    """Upscales by sub-pixel convolutions up1, up2, ...: two of factor 2 at x4, one otherwise.

    Args:
        x: [N, H, W, C].
        scale: positive int.
        channels: output channels; None for C.
        convolution: function(x, filters, name).
        act: function(x, name) behind each pixel shuffle; None for none.
        shuffle: function(factor, name) -> the layer that moves channels to pixels.
    Returns: [N, H * scale, W * scale, channels].
    """
    channels = channels or x.shape[-1]
    for step, factor in enumerate((2, 2) if scale == 4 else (scale,), 1):
        x = shuffle(factor, name=f"up{step}_pixels")(convolution(x, channels * factor**2, f"up{step}"))
        x = x if act is None else act(x, f"up{step}_act")
    return x


REACH = 2  # LR pixels to each side of `subpixel` and one or two 3x3 convolutions at the HR size, rounded up
