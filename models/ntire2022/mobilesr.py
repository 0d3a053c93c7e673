"""MobileSR of team NJUST_ESR, a winner of the complexity track of the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, Sec. 4.5: five blocks of attention within 8x8 windows and an inverted residual. The result is
added to the bilinearly upscaled input. Published for 0..1.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops
from keras.src import backend

from mobile_sr.models.layers import ClippedReLU, DepthToSpace, Shape, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv, conv1x1, gelu, leaky, linear

RECEPTIVE_FIELD = None  # the windows are aligned with the whole image
RATIOS = (4, 2, 2, 2, 4)  # expansion ratio of the MLP and the inverted residual in each block


@keras.saving.register_keras_serializable("mobile_sr")
class WindowAttention(keras.layers.Layer):
    """Self-attention among the pixels of each window: [N, H, W, C] -> [N, H, W, C].

    Windows start at the top left of the image. The last ones are padded with zeros, which take part in the attention.

    Args:
        heads: number of heads; must divide C.
        window: side of a window in pixels.
    """

    def __init__(self, heads: int, window: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads, self.window = heads, window

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        if channels % self.heads:
            raise ValueError(f"{channels} channels cannot be divided among {self.heads} heads")
        self.inward = self.add_weight(shape=(channels, 3 * channels), initializer="glorot_uniform", name="inward")
        self.outward = self.add_weight(shape=(channels, channels), initializer="glorot_uniform", name="outward")
        self.bias = self.add_weight(shape=(channels,), initializer="zeros", name="bias")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        n, height, width, channels = ops.shape(x)
        side, heads, depth = self.window, self.heads, x.shape[-1] // self.heads
        rows, columns = (height + side - 1) // side, (width + side - 1) // side
        x = ops.pad(x, ((0, 0), (0, rows * side - height), (0, columns * side - width), (0, 0)))
        x = ops.reshape(x, (n, rows, side, columns, side, channels))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, side * side, channels))
        x = ops.reshape(ops.matmul(x, self.inward), (-1, side * side, 3 * heads, depth))
        query, key, value = ops.split(ops.transpose(x, (0, 2, 1, 3)), 3, axis=1)  # each [windows, heads, pixels, depth]
        weights = ops.softmax(ops.matmul(query * depth**-0.5, ops.transpose(key, (0, 1, 3, 2))), axis=-1)
        x = ops.reshape(ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3)), (-1, side * side, channels))
        x = ops.matmul(x, self.outward) + self.bias
        x = ops.transpose(ops.reshape(x, (n, rows, columns, side, side, channels)), (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (n, rows * side, columns * side, channels))[:, :height, :width]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def products(self) -> tuple[int, int]:
        """Multiply-adds per pixel: (of the two linear layers, of the attention itself)."""
        channels = self.outward.shape[0]
        return 4 * channels**2, 2 * self.window**2 * channels

    def padded_pixels(self, height: int, width: int) -> tuple[int, int]:
        """Returns (pixels in all windows of an image, number of windows)."""
        windows = -(-height // self.window) * -(-width // self.window)
        return windows * self.window**2, windows

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads, "window": self.window}


@keras.saving.register_keras_serializable("mobile_sr")
class BilinearUpscale(keras.layers.Layer):
    """Bilinear upscaling with half-pixel centers: [N, H, W, C] -> [N, H * scale, W * scale, C]."""

    def __init__(self, scale: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = self.block_size = scale  # counts.py counts its output pixels as after a depth_to_space

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        size = [side * self.scale for side in ops.shape(x)[1:3]]
        return backend.image.resize(x, size, interpolation="bilinear", data_format="channels_last")  # as ResizeLike

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        n, h, w, c = input_shape
        return (n, h and h * self.scale, w and w * self.scale, c)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 40,
    heads: int = 8,
    window: int = 8,
    ratios: Sequence[int] = RATIOS,
) -> keras.Model:
    """MobileSR as a functional Keras model.

    Args:
        scale: 2, 3 or 4; 175,883 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        heads, window: as for WindowAttention.
        ratios: expansion ratio of each block.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation or heads that do not divide the channels.
    """
    check_output_activation(output_activation)
    lr = keras.Input((None, None, 3), name="lr")
    features = x = conv(lr, channels, "head")
    for index, ratio in enumerate(ratios):
        x = _residual(_transformer(x, f"block{index + 1}", heads, window, ratio), f"block{index + 1}", ratio)
    x = conv(keras.layers.Concatenate(name="concat")([features, x]), channels, "fuse")
    for index, factor in enumerate((2, 2) if scale == 4 else (scale,)):
        x = DepthToSpace(factor, name=f"up{index + 1}_pixels")(conv1x1(x, channels * factor**2, f"up{index + 1}"))
    x = conv(leaky(x, "up_act", 0.2), 3, "tail")
    sr = keras.layers.Add(name="sum")([x, BilinearUpscale(scale, name="bilinear")(lr)])
    if output_activation == "clipped_relu":
        sr = ClippedReLU(name="sr")(sr)
    return keras.Model(lr, sr, name=f"mobilesr_x{scale}")


def _transformer(x: keras.KerasTensor, name: str, heads: int, window: int, ratio: int) -> keras.KerasTensor:
    position = keras.layers.DepthwiseConv2D(3, padding="same", name=f"{name}_position")(x)
    x = keras.layers.Add(name=f"{name}_placed")([x, position])
    y = keras.layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm1")(x)
    y = WindowAttention(heads, window, name=f"{name}_attention")(y)
    x = keras.layers.Add(name=f"{name}_attended")([y, x])
    y = keras.layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm2")(x)
    y = gelu(linear(y, x.shape[-1] * ratio, f"{name}_mlp1"), f"{name}_mlp_act")
    return keras.layers.Add(name=f"{name}_mixed")([x, linear(y, x.shape[-1], f"{name}_mlp2")])


def _residual(x: keras.KerasTensor, name: str, ratio: int) -> keras.KerasTensor:
    y = leaky(conv1x1(x, x.shape[-1] * ratio, f"{name}_expand"), f"{name}_act1", 0.2)
    y = keras.layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depthwise")(y)
    y = conv1x1(leaky(y, f"{name}_act2", 0.2), x.shape[-1], f"{name}_project")
    return keras.layers.Add(name=name)([y, x])
