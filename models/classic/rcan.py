"""RCAN, and AdaRCAN: RCAN with AdaDSR's adapter and one depth map per group.

Papers: Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks", ECCV 2018; Liu et al.,
ECCV Workshops 2020, Sec. 3.4. The mask is applied before the channel attention, which pools over the whole image. The DIV2K
mean is handled as in edsr.py.
"""

import keras
from keras import ops

from mobile_sr.models.classic.edsr import Masked, assemble, conv
from mobile_sr.models.layers import Shape

RECEPTIVE_FIELD = None  # the attention pools over the whole image


@keras.saving.register_keras_serializable("mobile_sr")
class GlobalMean(keras.layers.Layer):
    """Mean over the pixels: [N, H, W, C] -> [N, 1, 1, C]."""

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return ops.mean(x, axis=(1, 2), keepdims=True)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], 1, 1, input_shape[-1])


def build(
    scale: int = 2,
    output_activation: str = "clipped_relu",
    groups: int = 10,
    blocks: int = 20,
    channels: int = 64,
    reduction: int = 16,
    depth: str = "none",
    adapter_channels: int | None = None,
    depth_scales: str = "first",
    mean_shift: bool = False,
) -> keras.Model:
    """RCAN as a functional Keras model. The defaults are the paper's: 15,444,643 parameters at x2.

    Args:
        groups: number of residual groups, each with its own depth map.
        blocks: number of blocks in each group; a desired depth is in 0..blocks.
        reduction: factor by which the channel attention reduces the channels.
        adapter_channels: channels of the adapter's hidden layers; None for `channels`, as in the paper (153,486 parameters in
            the adapter).
        scale, output_activation, channels, depth, depth_scales, mean_shift: as for edsr.build.
    Returns: as edsr.build, with depth maps [N, H, W, groups].
    Raises: ValueError for an unknown output_activation, depth or depth_scales.
    """

    def body(x: keras.KerasTensor, masked: Masked) -> keras.KerasTensor:
        for group in range(groups):
            inside = x
            for block in range(blocks):
                name = f"group{group + 1}_block{block + 1}"
                y = conv(conv(inside, channels, f"{name}_conv1", "relu"), channels, f"{name}_conv2")
                y = channel_attention(masked(y, name, block, group), channels, reduction, name)
                inside = keras.layers.Add(name=name)([inside, y])
            x = keras.layers.Add(name=f"group{group + 1}")([x, conv(inside, channels, f"group{group + 1}_end")])
        return x

    hidden = adapter_channels or channels
    return assemble("rcan", body, scale, output_activation, channels, depth, hidden, groups, depth_scales, mean_shift)


def channel_attention(x: keras.KerasTensor, channels: int, reduction: int, name: str) -> keras.KerasTensor:
    """Multiplies each channel by a number in 0..1 computed from the means of all (Sec. 3.3): [N, H, W, C] -> the same shape.

    Args:
        x: [N, H, W, C].
        channels: C.
        reduction: factor by which the first 1x1 convolution reduces the channels.
        name: prefix of the layers' names.
    """
    y = GlobalMean(name=f"{name}_mean")(x)
    y = conv(y, max(1, channels // reduction), f"{name}_squeeze", "relu", kernel_size=1)
    y = conv(y, channels, f"{name}_excite", "sigmoid", kernel_size=1)
    return keras.layers.Multiply(name=f"{name}_attention")([x, y])
