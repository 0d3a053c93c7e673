"""EDSR, and AdaEDSR and FAdaEDSR, which are EDSR with AdaDSR's adapter.

Papers: Lim et al., CVPRW 2017; Liu et al., ECCVW 2020, whose backbone has 32 blocks of 256 channels. The DIV2K mean that
both subtract and add back lives in the biases of the head and the tail: the same functions but for what the padding
outside of the image stands for. No factor on the residuals.
"""

import keras

from mobile_sr.models.adadsr import DepthMask, adapter, check_depth
from mobile_sr.models.layers import ClippedReLU, DepthToSpace, check_output_activation

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)


def build(
    scale=2,
    output_activation="clipped_relu",
    blocks=32,
    channels=256,
    depth="none",
    adapter_channels=None,
    depth_scales="first",
):
    """EDSR as a functional Keras model.

    Args:
        scale: 2, 3 or 4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        blocks, channels: D and C; 16 x 64 at x2 has 1,369,859 parameters, 32 x 256 has 40,729,603.
        depth: 'none' (EDSR), 'input' (AdaEDSR: a second input is the desired depth) or 'fixed' (FAdaEDSR).
        adapter_channels: of the adapter; None is half of `channels`, the paper's (738,949 parameters at 256).
        depth_scales: see adadsr.adapter.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; with 'input' from
        [lr, desired_depth], the latter [N, 1] in 0..blocks; with an adapter to [sr, depth map [N, H, W, 1] in blocks].
    Raises: ValueError for an argument that is none of the above.
    """

    def body(x, masked):
        for index in range(blocks):
            name = f"block{index + 1}"
            y = conv(conv(x, channels, f"{name}_conv1", "relu"), channels, f"{name}_conv2")
            x = keras.layers.Add(name=name)([x, masked(y, name, index)])
        return x

    return assemble("edsr", body, scale, output_activation, channels, depth, adapter_channels or channels // 2, 1, depth_scales)


def assemble(name, body, scale, output_activation, channels, depth, adapter_channels, maps, depth_scales):
    """The model of a backbone, with or without an adapter; for rcan.py too.

    Args:
        body: function of the head's features and of `masked`, which multiplies a block's result by its mask, given the
            block's name, its number and the number of its depth map; it returns the features before the last convolution.
        maps: depth maps. The rest as for `build`.
    """
    check_output_activation(output_activation)
    check_depth(depth, depth_scales)
    lr = keras.Input((None, None, 3), name="lr")
    desired = keras.Input((1,), name="desired_depth") if depth == "input" else None
    features = conv(lr, channels, "head")
    depth_map = None if depth == "none" else adapter(features, desired, adapter_channels, maps, depth_scales)

    def masked(y, block, index, depth_map_index=0):
        if depth_map is None:
            return y
        mask = DepthMask(index, depth_map_index, dtype="float32", name=f"{block}_mask")(depth_map)
        return keras.layers.Multiply(name=f"{block}_masked")([y, mask])

    x = keras.layers.Add(name="body_skip")([conv(body(features, masked), channels, "body"), features])
    sr = _tail(x, scale, channels, output_activation)
    prefix = {"none": "", "input": "ada", "fixed": "fada"}[depth]
    inputs = lr if desired is None else [lr, desired]
    return keras.Model(inputs, sr if depth_map is None else [sr, depth_map], name=f"{prefix}{name}_x{scale}")


def conv(x, filters, name, activation=None, kernel_size=3, **kwargs):
    """A convolution of these backbones."""
    kwargs.setdefault("kernel_initializer", "he_normal" if activation else "glorot_uniform")
    return keras.layers.Conv2D(filters, kernel_size, padding="same", activation=activation, name=name, **kwargs)(x)


def _tail(x, scale, channels, output_activation):
    """Sub-pixel convolutions up to the picture: two of factor 2 for x4, one otherwise."""
    for index, factor in enumerate((2, 2) if scale == 4 else (scale,)):
        x = DepthToSpace(factor, name=f"up{index + 1}_pixels")(conv(x, channels * factor**2, f"up{index + 1}"))
    sr = conv(x, 3, "tail", bias_initializer=_div2k_mean)
    return ClippedReLU(name="sr")(sr) if output_activation == "clipped_relu" else sr


@keras.saving.register_keras_serializable("mobile_sr")
def _div2k_mean(shape, dtype=None):
    return keras.ops.convert_to_tensor(DIV2K_MEAN, dtype=dtype)


def receptive_field(config):
    """LR pixels to each side that an output pixel depends on, of a complete configuration.

    Head 1, body's end 1, 2 for the tail (1 + 1/2 + 1/4 at x4), 2 a block; a first mask that sees as far as five.
    """
    return 1 + 2 * config["blocks"] + (3 if config["depth"] != "none" else 0) + 1 + 2
