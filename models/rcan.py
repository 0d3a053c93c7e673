"""RCAN, and AdaRCAN, which is RCAN with AdaDSR's adapter: one depth map per group.

Papers: Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks", ECCV 2018; Liu et al.,
ECCV Workshops 2020, Sec. 3.1: the mask acts before the channel attention, which pools over the whole image. Mean as in edsr.py.
"""

import keras
from keras import ops

from mobile_sr.models.edsr import assemble, conv

RECEPTIVE_FIELD = None  # the attention pools over the whole image


@keras.saving.register_keras_serializable("mobile_sr")
class GlobalMean(keras.layers.Layer):
    """[N, H, W, C] -> [N, 1, 1, C]."""

    def call(self, x):
        return ops.mean(x, axis=(1, 2), keepdims=True)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 1, 1, input_shape[-1])


def build(
    scale=2,
    output_activation="clipped_relu",
    groups=10,
    blocks=20,
    channels=64,
    reduction=16,
    depth="none",
    adapter_channels=None,
    depth_scales="first",
):
    """RCAN as a functional Keras model; arguments and result as for edsr.build, and:

    Args:
        groups, blocks: residual groups, and blocks in each; a desired depth is in 0..blocks.
        reduction: of the channels inside the attention. The defaults are the paper's: 15,444,643 parameters at x2.
        adapter_channels: None is `channels`, the paper's (153,486 parameters in the adapter).
    """

    def body(x, masked):
        for group in range(groups):
            inside = x
            for block in range(blocks):
                name = f"group{group + 1}_block{block + 1}"
                y = conv(conv(inside, channels, f"{name}_conv1", "relu"), channels, f"{name}_conv2")
                y = _attention(masked(y, name, block, group), channels, reduction, name)
                inside = keras.layers.Add(name=name)([inside, y])
            x = keras.layers.Add(name=f"group{group + 1}")([x, conv(inside, channels, f"group{group + 1}_end")])
        return x

    return assemble("rcan", body, scale, output_activation, channels, depth, adapter_channels or channels, groups, depth_scales)


def _attention(x, channels, reduction, name):
    """Channel attention (Zhang et al., Sec. 3.3)."""
    y = GlobalMean(name=f"{name}_mean")(x)
    y = conv(y, max(1, channels // reduction), f"{name}_squeeze", "relu", kernel_size=1)
    y = conv(y, channels, f"{name}_excite", "sigmoid", kernel_size=1)
    return keras.layers.Multiply(name=f"{name}_attention")([x, y])
