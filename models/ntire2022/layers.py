"""Layers of the challenge's networks beyond those of models/layers.py, written with keras.ops for every Keras backend."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src import backend

from mobile_sr.models.layers import Shape


@keras.saving.register_keras_serializable("mobile_sr")
class AnySlopePReLU(keras.layers.Layer):
    """PReLU with one slope of any value per channel: x if x > 0, alpha * x otherwise (He et al., ICCV 2015, Eq. 1).

    Computed as x + (1 - alpha) * relu(-x): one product more than layers.PReLU, whose slopes are at most 1.

    Args:
        shared: whether all channels have the same slope.
    """

    def __init__(self, shared: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shared = shared

    def build(self, input_shape: Shape) -> None:
        self.alpha = self.add_weight(
            shape=(1 if self.shared else input_shape[-1],), initializer=keras.initializers.Constant(0.25), name="alpha"
        )

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return x + (1.0 - self.alpha) * ops.relu(-x)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shared": self.shared}


@keras.saving.register_keras_serializable("mobile_sr")
class SELU(keras.layers.Layer):
    """SELU, s * x for x > 0, s * a * (exp(x) - 1) otherwise (Klambauer et al., NIPS 2017, Eq. 2).

    Computed as a sum, with the exponential of negative values only: in 8 bits it then has the range 0..1. In Keras's own form
    the exponential of large values would take all levels.
    """

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        scale, alpha = 1.0507009873554805, 1.6732632423543772  # Klambauer et al., Eq. 14
        return scale * ops.relu(x) + scale * alpha * (ops.exp(-ops.relu(-x)) - 1.0)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


@keras.saving.register_keras_serializable("mobile_sr")
class Shift(keras.layers.Layer):
    """Adds a constant to each channel, such as the negative mean of the training images. Not trained.

    Args:
        values: the constants of all channels, or one for all.
    """

    def __init__(self, values: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.values = tuple(values)

    def build(self, input_shape: Shape) -> None:
        self.bias = self.add_weight(shape=(len(self.values),), initializer="zeros", trainable=False, name="bias")
        self.bias.assign(self.values)

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return x + self.bias

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "values": self.values}


@keras.saving.register_keras_serializable("mobile_sr")
class WeightedSum(keras.layers.Layer):
    """Sum of two inputs with a trained factor each: x_scale * x + res_scale * y (Wang et al., WDSR-like residual units)."""

    def build(self, input_shape: Sequence[Shape]) -> None:
        self.x_scale = self.add_weight(shape=(1,), initializer="ones", name="x_scale")
        self.res_scale = self.add_weight(shape=(1,), initializer="ones", name="res_scale")

    def call(self, inputs: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
        x, y = inputs
        return self.x_scale * x + self.res_scale * y

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        return input_shape[0]


@keras.saving.register_keras_serializable("mobile_sr")
class GlobalPool(keras.layers.Layer):
    """A statistic of each channel over the whole image: [N, H, W, C] -> [N, 1, 1, C].

    Args:
        kind: 'mean', 'maximum', 'sum' or 'deviation', the square root of the mean squared difference from the mean.
    """

    def __init__(self, kind: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if kind not in ("mean", "maximum", "sum", "deviation"):
            raise ValueError(f"kind must be 'mean', 'maximum', 'sum' or 'deviation', got {kind!r}")
        self.kind = kind

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        if self.kind == "maximum":
            return ops.max(x, axis=(1, 2), keepdims=True)
        if self.kind == "sum":
            return ops.sum(x, axis=(1, 2), keepdims=True)
        mean = ops.mean(x, axis=(1, 2), keepdims=True)
        if self.kind == "mean":
            return mean
        return ops.sqrt(ops.mean((x - mean) * (x - mean), axis=(1, 2), keepdims=True))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], 1, 1, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind}


@keras.saving.register_keras_serializable("mobile_sr")
class ChannelMeanAndMaximum(keras.layers.Layer):
    """Mean and maximum of the channels of each pixel: [N, H, W, C] -> [N, H, W, 2]."""

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return ops.concatenate([ops.mean(x, axis=-1, keepdims=True), ops.max(x, axis=-1, keepdims=True)], axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], 2)


@keras.saving.register_keras_serializable("mobile_sr")
class SpaceToDepth(keras.layers.Layer):
    """Moves pixels to channels, the inverse of depth_to_space: [N, H, W, C] -> [N, H // s, W // s, C * s * s].

    Rows and columns that are left over at the end are dropped.

    Args:
        size: s.
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        height, width = (side // self.size * self.size for side in ops.shape(x)[1:3])
        x = x[:, :height, :width]
        parts = [x[:, i :: self.size, j :: self.size] for i in range(self.size) for j in range(self.size)]
        return ops.concatenate(parts, axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        n, h, w, c = input_shape
        return (n, h and h // self.size, w and w // self.size, c * self.size**2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable("mobile_sr")
class NearestUpscale(keras.layers.Layer):
    """Repeats each pixel: [N, H, W, C] -> [N, H * scale, W * scale, C]."""

    def __init__(self, scale: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = self.block_size = scale  # counts.py counts its output pixels as after a depth_to_space

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        size = [side * self.scale for side in ops.shape(x)[1:3]]
        return backend.image.resize(x, size, interpolation="nearest", data_format="channels_last")  # as blocks.ResizeLike

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        n, h, w, c = input_shape
        return (n, h and h * self.scale, w and w * self.scale, c)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable("mobile_sr")
class ChannelShuffle(keras.layers.Layer):
    """Channel shuffle (Zhang et al., "ShuffleNet", CVPR 2018): channel g * (C / groups) + c becomes c * groups + g.

    Args:
        groups: must divide the channels C.
    """

    def __init__(self, groups: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups = groups

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        order = np.arange(x.shape[-1]).reshape(self.groups, -1).T.ravel()
        return ops.take(x, order, axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "groups": self.groups}


@keras.saving.register_keras_serializable("mobile_sr")
class FineSoftmax(keras.layers.Layer):
    """Softmax over any axes: [N, H, W, C] -> [N, H, W, C].

    Computed from exponentials rather than by SOFTMAX, whose 8-bit output has steps of 1/256 in TFLite. These are too coarse if
    there are many values: over H x W pixels they are 1 / (H * W) on average.

    Args:
        axes: (1, 2) for all pixels of a channel, (3,) for all channels of a pixel.
    """

    def __init__(self, axes: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axes = tuple(axes)

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        powers = ops.exp(x - ops.max(x, axis=self.axes, keepdims=True))
        factor = ops.rsqrt(ops.sum(powers, axis=self.axes, keepdims=True))  # TFLite has RSQRT in 8 bits, but no reciprocal
        return powers * (factor * factor)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axes": self.axes}


@keras.saving.register_keras_serializable("mobile_sr")
class ChannelAttention(keras.layers.Layer):
    """Self-attention among the channels of each head, over the whole image: [N, H, W, 3 * C] -> [N, H, W, C].

    Source: Zamir et al., "Restormer", CVPR 2022, Eq. 1. The input has the queries, keys and values of all heads, as PyTorch's
    qkv.chunk(3). Queries and keys are divided by their norms over all pixels; each head has a trained temperature. The division
    is a product with RSQRT, which TFLite has in 8 bits.

    Args:
        heads: number of heads; must divide C.
    """

    def __init__(self, heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, input_shape: Shape) -> None:
        self.channels = input_shape[-1] // 3
        if input_shape[-1] % 3 or self.channels % self.heads:
            raise ValueError(
                f"{input_shape[-1]} channels cannot be divided among {self.heads} heads of queries, keys and values"
            )
        self.temperature = self.add_weight(shape=(self.heads,), initializer="ones", name="temperature")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        n, height, width, _ = ops.shape(x)
        depth = self.channels // self.heads
        x = ops.transpose(ops.reshape(x, (n, height * width, 3 * self.heads, depth)), (0, 2, 1, 3))
        query, key, value = ops.split(x, 3, axis=1)  # each [N, heads, pixels, depth]
        query, key = (
            part * ops.rsqrt(ops.maximum(ops.sum(part * part, axis=2, keepdims=True), 1e-24)) for part in (query, key)
        )
        weights = ops.matmul(ops.transpose(query, (0, 1, 3, 2)), key) * ops.reshape(self.temperature, (1, self.heads, 1, 1))
        y = ops.matmul(value, ops.transpose(ops.softmax(weights, axis=-1), (0, 1, 3, 2)))
        return ops.reshape(ops.transpose(y, (0, 2, 1, 3)), (n, height, width, self.channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], input_shape[-1] // 3)

    def products(self) -> tuple[int, int]:
        """Multiply-adds per pixel: (of the products of queries and keys, of those with the values)."""
        both = self.channels**2 // self.heads
        return both, both

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads}
