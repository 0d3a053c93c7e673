"""EDSR, and AdaEDSR and FAdaEDSR: EDSR with AdaDSR's adapter.

Papers: Lim et al., CVPRW 2017; Liu et al., ECCVW 2020, with a backbone of 32 blocks of 256 channels. Both subtract the
DIV2K mean and add it back; here it is part of the biases of the head and the tail. The function is the same, except that
zero padding outside of the image means black instead of the mean; `mean_shift` is the papers' form. Residuals are not scaled.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from mobile_sr.models import DIV2K_MEAN
from mobile_sr.models.adadsr import DepthMask, adapter, check_depth
from mobile_sr.models.classic.upsampling import subpixel
from mobile_sr.models.layers import ClippedReLU, Shape, check_output_activation
from mobile_sr.models.ntire2022.layers import Shift

Masked = Callable[..., keras.KerasTensor]  # masked(y, block, index, depth_map_index=0), see `assemble`


def build(
    scale: int = 2,
    output_activation: str = "clipped_relu",
    blocks: int = 32,
    channels: int = 256,
    depth: str = "none",
    adapter_channels: int | None = None,
    depth_scales: str = "first",
    mean_shift: bool = False,
) -> keras.Model:
    """EDSR as a functional Keras model.

    Args:
        scale: 2, 3 or 4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        blocks: number of residual blocks, D.
        channels: feature channels, C; 16 x 64 at x2 has 1,369,859 parameters, 32 x 256 has 40,729,603.
        depth: 'none' (EDSR), 'input' (AdaEDSR: a second input is the desired depth) or 'fixed' (FAdaEDSR).
        adapter_channels: channels of the adapter's hidden layers; None for half of `channels`, as in the paper (738,949
            parameters at 256).
        depth_scales: see adadsr.adapter.
        mean_shift: whether a layer subtracts the DIV2K mean from the image, as in the papers (imported weights need it).
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]. With depth='input' its inputs are
        [lr, desired_depth], the latter [N, 1] in 0..blocks. With an adapter its outputs are [sr, depth map], the latter
        [N, H, W, 1] in blocks.
    Raises: ValueError for an unknown output_activation, depth or depth_scales.
    """

    def body(x: keras.KerasTensor, masked: Masked) -> keras.KerasTensor:
        for index in range(blocks):
            name = f"block{index + 1}"
            y = conv(conv(x, channels, f"{name}_conv1", "relu"), channels, f"{name}_conv2")
            x = keras.layers.Add(name=name)([x, masked(y, name, index)])
        return x

    hidden = adapter_channels or channels // 2
    return assemble("edsr", body, scale, output_activation, channels, depth, hidden, 1, depth_scales, mean_shift)


def assemble(
    name: str,
    body: Callable[[keras.KerasTensor, Masked], keras.KerasTensor],
    scale: int,
    output_activation: str,
    channels: int,
    depth: str,
    adapter_channels: int,
    maps: int,
    depth_scales: str,
    mean_shift: bool,
) -> keras.Model:
    """Builds the model of a backbone with or without an adapter, for EDSR and RCAN.

    Args:
        name: name of the network.
        body: function(features, masked) from the head's features to those before the last convolution. It calls
            masked(y, block, index, depth_map_index) with the output, name and number of a block and the number of its
            depth map; the result is `y` times the block's mask.
        maps: number of depth maps.
        scale, output_activation, channels, depth, adapter_channels, depth_scales, mean_shift: as for `build`.
    """
    check_output_activation(output_activation)
    check_depth(depth, depth_scales)
    lr = keras.Input((None, None, 3), name="lr")
    desired = keras.Input((1,), name="desired_depth") if depth == "input" else None
    image = Shift([-value for value in DIV2K_MEAN], name="mean")(lr) if mean_shift else lr
    features = conv(image, channels, "head")
    depth_map = None if depth == "none" else adapter(features, desired, adapter_channels, maps, depth_scales)

    def masked(y: keras.KerasTensor, block: str, index: int, depth_map_index: int = 0) -> keras.KerasTensor:
        if depth_map is None:
            return y
        mask = DepthMask(index, depth_map_index, dtype="float32", name=f"{block}_mask")(depth_map)
        return keras.layers.Multiply(name=f"{block}_masked")([y, mask])

    x = keras.layers.Add(name="body_skip")([conv(body(features, masked), channels, "body"), features])
    sr = _tail(x, scale, channels, output_activation)
    prefix = {"none": "", "input": "ada", "fixed": "fada"}[depth]
    inputs = lr if desired is None else [lr, desired]
    return keras.Model(inputs, sr if depth_map is None else [sr, depth_map], name=f"{prefix}{name}_x{scale}")


def conv(
    x: keras.KerasTensor, filters: int, name: str, activation: str | None = None, kernel_size: int = 3, **kwargs: Any
) -> keras.KerasTensor:
    """Applies a Conv2D with SAME padding; He initialization before an activation, Glorot otherwise.

    Args:
        x: [N, H, W, C].
        filters: output channels.
        name: name of the layer.
        activation: None, 'relu' or 'sigmoid'.
        kernel_size: int.
        kwargs: further arguments of keras.layers.Conv2D.
    Returns: [N, H, W, filters].
    """
    kwargs.setdefault("kernel_initializer", "he_normal" if activation else "glorot_uniform")
    return keras.layers.Conv2D(filters, kernel_size, padding="same", activation=activation, name=name, **kwargs)(x)


def _tail(x: keras.KerasTensor, scale: int, channels: int, output_activation: str) -> keras.KerasTensor:
    """Sub-pixel convolutions and a convolution to RGB."""
    sr = conv(subpixel(x, scale, channels), 3, "tail", bias_initializer=_div2k_mean)
    return ClippedReLU(name="sr")(sr) if output_activation == "clipped_relu" else sr


@keras.saving.register_keras_serializable("mobile_sr")
def _div2k_mean(shape: Shape, dtype: str | None = None) -> keras.KerasTensor:
    return keras.ops.convert_to_tensor(DIV2K_MEAN, dtype=dtype)


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on, for a complete configuration.

    1 for the head, 2 per block, 1 for the body's last convolution and 2 for the tail (1 + 1/2 + 1/4 at x4). An adapter adds
    3: its five convolutions reach that much farther than the first block.
    """
    return 1 + 2 * config["blocks"] + (3 if config["depth"] != "none" else 0) + 1 + 2
