"""Attention within windows: layers, and the transformer layers that the networks of the challenge build from them."""

from typing import Any

import keras
import numpy as np
from keras import ops

from mobile_sr.models.layers import Shape
from mobile_sr.models.ntire2022.blocks import gelu, linear


@keras.saving.register_keras_serializable("mobile_sr")
class PositionedWindowAttention(keras.layers.Layer):
    """Self-attention among the pixels of each window, with a position bias: [N, H, W, 3 * C] -> [N, H, W, C].

    Source: Liu et al., "Swin Transformer", ICCV 2021, Sec. 3.2 and Eq. 4. The input has the queries, keys and values of all
    heads, as PyTorch's qkv.chunk(3). The bias depends on the offset between two pixels and on the head.

    Swin rolls a shifted image around its borders and masks the pairs of pixels from opposite borders with -100. Here the
    windows at the borders are smaller instead: half as high, half as wide, or both. The results are equal, and without the
    mask, which would take nearly all of the 256 levels of an 8-bit tensor, the layer is exact enough in integers.

    Args:
        heads: number of heads; must divide C.
        window: side of a window in pixels. H and W are multiples of it; with `shifted`, at least twice as large.
        shifted: whether the windows start half a window inside of the image; `window` is even then.
    Raises: ValueError for an odd window that is shifted.
    """

    def __init__(self, heads: int, window: int, shifted: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if shifted and window % 2:
            raise ValueError(f"window must be even to be shifted by its half, got {window}")
        self.heads, self.window, self.shifted = heads, window, shifted

    def build(self, input_shape: Shape) -> None:
        self.channels = input_shape[-1] // 3
        if input_shape[-1] % 3 or self.channels % self.heads:
            raise ValueError(
                f"{input_shape[-1]} channels cannot be divided among {self.heads} heads of queries, keys and values"
            )
        offsets = (2 * self.window - 1) ** 2
        self.position = self.add_weight(shape=(offsets, self.heads), initializer="zeros", name="position")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        full, half = self.window, self.window // 2
        if not self.shifted:
            return self._attend(x, full, full)
        inner, first, last = slice(half, -half), slice(None, half), slice(-half, None)
        middle = self._attend(x[:, inner, inner], full, full)
        rows = self._attend(ops.concatenate([x[:, part, inner] for part in (first, last)], axis=1), half, full)
        columns = self._attend(ops.concatenate([x[:, inner, part] for part in (first, last)], axis=2), full, half)
        # One slice per corner: TensorFlow's quantizer leaves a slice of a slice in float.
        pairs = [ops.concatenate([x[:, row, part] for part in (first, last)], axis=2) for row in (first, last)]
        corners = self._attend(ops.concatenate(pairs, axis=1), half, half)
        top, bottom = (
            ops.concatenate([corners[:, part, :half], rows[:, part], corners[:, part, half:]], axis=2)
            for part in (slice(None, half), slice(half, None))
        )
        centre = ops.concatenate([columns[:, :, :half], middle, columns[:, :, half:]], axis=2)
        return ops.concatenate([top, centre, bottom], axis=1)

    def _attend(self, x: keras.KerasTensor, height: int, width: int) -> keras.KerasTensor:
        """Attention in windows of one size that start at the top left."""
        depth = self.channels // self.heads
        parts = ops.reshape(to_windows(x, height, width), (-1, height * width, 3 * self.heads, depth))
        query, key, value = ops.split(ops.transpose(parts, (0, 2, 1, 3)), 3, axis=1)  # each [windows, heads, pixels, depth]
        weights = ops.matmul(query * depth**-0.5, ops.transpose(key, (0, 1, 3, 2))) + self._bias(height, width)
        y = ops.transpose(ops.matmul(ops.softmax(weights, axis=-1), value), (0, 2, 1, 3))
        y = ops.reshape(y, (-1, height * width, self.channels))
        return from_windows(y, ops.shape(x), height, width)

    def _bias(self, height: int, width: int) -> keras.KerasTensor:
        """[heads, pixels, pixels]: the bias of each pair of pixels in a window of height x width."""
        row, column = (part.ravel() for part in np.meshgrid(np.arange(height), np.arange(width), indexing="ij"))
        side = self.window
        index = (row[:, None] - row + side - 1) * (2 * side - 1) + column[:, None] - column + side - 1
        pairs = ops.take(self.position, index.ravel(), axis=0)
        return ops.transpose(ops.reshape(pairs, (*index.shape, self.heads)), (2, 0, 1))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], input_shape[-1] // 3)

    def products(self) -> tuple[int, int]:
        """Multiply-adds per pixel of a whole window: (of the products of queries and keys, of those with the values)."""
        both = self.window**2 * self.channels
        return both, both

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads, "window": self.window, "shifted": self.shifted}


@keras.saving.register_keras_serializable("mobile_sr")
class PatchAttention(keras.layers.Layer):
    """Self-attention among the patches of each window: [N, H, W, 3 * C] -> [N, H, W, C].

    A query, key or value is one patch with all of its channels. Windows start at the top left of the image. The last ones are
    padded with zeros, which take part in the attention.

    Args:
        window: side of a window in pixels, a multiple of `patch`.
        patch: side of a patch in pixels.
    Raises: ValueError for a window that is not a multiple of the patch.
    """

    def __init__(self, window: int, patch: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if window % patch:
            raise ValueError(f"window must be a multiple of patch={patch}, got {window}")
        self.window, self.patch = window, patch

    def build(self, input_shape: Shape) -> None:
        if input_shape[-1] % 3:
            raise ValueError(f"{input_shape[-1]} channels cannot be divided into queries, keys and values")
        self.channels = input_shape[-1] // 3

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        _, height, width, _ = ops.shape(x)
        side, patch = self.window, self.patch
        down, right = -height % side, -width % side
        x = ops.pad(x, ((0, 0), (0, down), (0, right), (0, 0)))
        query, key, value = (self._patches(part) for part in ops.split(x, 3, axis=-1))
        y = ops.matmul(ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1))), axis=-1), value)
        y = ops.reshape(y, (-1, patch * patch, self.channels))
        y = from_windows(y, (-1, side, side), patch, patch)
        y = from_windows(ops.reshape(y, (-1, side * side, self.channels)), ops.shape(x), side, side)
        return y[:, :height, :width]

    def _patches(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """[N, H, W, C] -> [windows, patches, channels of all pixels of a patch]."""
        side, patch = self.window, self.patch
        windows = ops.reshape(to_windows(x, side, side), (-1, side, side, self.channels))
        return ops.reshape(to_windows(windows, patch, patch), (-1, (side // patch) ** 2, patch * patch * self.channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], input_shape[-1] // 3)

    def products(self) -> tuple[int, int]:
        """Multiply-adds per pixel: (of the products of queries and keys, of those with the values)."""
        both = (self.window // self.patch) ** 2 * self.channels
        return both, both

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "window": self.window, "patch": self.patch}


@keras.saving.register_keras_serializable("mobile_sr")
class MirrorPad(keras.layers.Layer):
    """Extends an image below and on the right by its mirror image, to multiples of a number: [N, H, W, C] -> [N, H', W', C].

    Args:
        multiple: int. The image needs as many rows and columns as are added, and with `repeat_edge=False` one more.
        repeat_edge: whether the border pixels are repeated, as in NumPy's mode 'symmetric'; otherwise as in 'reflect'.
        always: whether a side that already is a multiple is extended as well.
    """

    def __init__(self, multiple: int, repeat_edge: bool = False, always: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.multiple, self.repeat_edge, self.always = multiple, repeat_edge, always

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        for axis in (1, 2):
            side = ops.shape(x)[axis]
            last = side - 1 if self.repeat_edge else side - 2
            # A GATHER, which integer runtimes support for any tensor.
            index = ops.concatenate([ops.arange(side), last - ops.arange(self._added(side))])
            x = ops.take(x, index, axis=axis)
        return x

    def _added(self, side: Any) -> Any:
        return self.multiple - side % self.multiple if self.always else -side % self.multiple

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        n, h, w, c = input_shape
        return (n, h and h + self._added(h), w and w + self._added(w), c)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "multiple": self.multiple, "repeat_edge": self.repeat_edge, "always": self.always}


@keras.saving.register_keras_serializable("mobile_sr")
class CropLike(keras.layers.Layer):
    """The top left part of the first input, of the second's size times s: [N, H', W', C], [N, H, W, K] -> [N, H * s, W * s, C].

    Args:
        scale: s.
    """

    def __init__(self, scale: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs: tuple[keras.KerasTensor, keras.KerasTensor]) -> keras.KerasTensor:
        x, like = inputs
        height, width = (side * self.scale for side in ops.shape(like)[1:3])
        if isinstance(height, int) and isinstance(width, int) and x.shape[1:3] == (height, width):
            return x  # at a fixed size, no operator that copies the image
        return x[:, :height, :width]

    def compute_output_shape(self, input_shape: tuple[Shape, Shape]) -> Shape:
        x, like = input_shape
        return (x[0], *(side and side * self.scale for side in like[1:3]), x[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


def to_windows(x: keras.KerasTensor, height: int, width: int) -> keras.KerasTensor:
    """Divides an image into windows: [N, H, W, C] -> [N * windows, height * width, C]. H and W are multiples of the sides."""
    n, rows, columns, channels = ops.shape(x)
    x = ops.reshape(x, (n, rows // height, height, columns // width, width, channels))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height * width, channels))


def from_windows(x: keras.KerasTensor, shape: Shape, height: int, width: int) -> keras.KerasTensor:
    """Reverts `to_windows` for an image of the shape (N, H, W, ...): [N * windows, height * width, C] -> [N, H, W, C]."""
    n, rows, columns = shape[:3]
    channels = x.shape[-1]
    x = ops.reshape(x, (n, rows // height, columns // width, height, width, channels))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (n, rows, columns, channels))


def swin_layers(
    x: keras.KerasTensor, name: str, heads: int, window: int, hidden: int, layers: int = 2, norm: bool = True
) -> keras.KerasTensor:
    """Applies Swin Transformer layers, every other one with shifted windows (Liu et al., ICCV 2021, Fig. 3b).

    Args:
        x: [N, H, W, C]; H and W are multiples of `window`, and at least twice as large.
        name: prefix of the layers' names.
        heads, window: as for PositionedWindowAttention.
        hidden: channels inside of the multilayer perceptrons.
        layers: number of layers.
        norm: whether a layer normalizes what its attention and its perceptron read.
    Returns: [N, H, W, C].
    """
    channels = x.shape[-1]

    def normalized(y: keras.KerasTensor, part: str) -> keras.KerasTensor:
        return keras.layers.LayerNormalization(epsilon=1e-5, name=part)(y) if norm else y

    for index in range(layers):
        part = f"{name}_layer{index + 1}"
        y = linear(normalized(x, f"{part}_norm1"), 3 * channels, f"{part}_qkv_window{window}")
        y = PositionedWindowAttention(heads, window, index % 2 == 1, name=f"{part}_attention")(y)
        x = keras.layers.Add(name=f"{part}_attended")([x, linear(y, channels, f"{part}_project_window{window}")])
        y = gelu(linear(normalized(x, f"{part}_norm2"), hidden, f"{part}_mlp1_tokens"), f"{part}_mlp_act")
        x = keras.layers.Add(name=part)([x, linear(y, channels, f"{part}_mlp2_tokens")])
    return x
