"""Layers of the challenge's networks beyond those of models/layers.py, written with keras.ops for every Keras backend."""

from collections.abc import Sequence
from typing import Any

import keras
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
class Shift(keras.layers.Layer):
    """Adds a constant to each channel, such as the negative mean of the training images. Not trained.

    Args:
        values: the constants of all channels.
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
class ChannelAttention(keras.layers.Layer):
    """Self-attention among the channels of each head, over the whole image: [N, H, W, 3 * C] -> [N, H, W, C].

    Source: Zamir et al., "Restormer", CVPR 2022, Eq. 1. The input has the queries, keys and values of all heads, as PyTorch's
    qkv.chunk(3). Queries and keys are divided by their norms over all pixels; each head has a trained temperature.

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
        query, key = (part / ops.maximum(ops.sqrt(ops.sum(part * part, axis=2, keepdims=True)), 1e-12) for part in (query, key))
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
