"""SAN: residual groups with an attention computed from the covariance of the channels, between two non-local layers.

Paper: Dai et al., "Second-order Attention Network for Single Image Super-Resolution", CVPR 2019, Figs. 2 and 3; the layers are
those of the authors' code, https://github.com/daitao/SAN. Every group adds the features behind the first non-local layer, times
one trained factor. The two non-local layers share their weights in that code; here each has its own, and imported ones are
equal. The code computes the covariance from at most 1000x1000 pixels in the middle; here it is from all.

It is meant for float: in 8 bits a softmax over many pixels and the iterations for the square root of a matrix are coarse. The
non-local layers need memory for the squared number of pixels of a quarter of the LR image. Multiply-adds are counted without
them and without the covariance.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from mobile_sr.models import DIV2K_MEAN
from mobile_sr.models.classic.upsampling import subpixel
from mobile_sr.models.layers import ClippedReLU, Shape, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv, conv1x1
from mobile_sr.models.ntire2022.layers import Shift

RECEPTIVE_FIELD = None  # the attention reads the whole image
SMALLEST_SIDE = 2  # LR pixels: the non-local layers divide the image into four regions
ITERATIONS = 5  # of the square root


@keras.saving.register_keras_serializable("mobile_sr")
class CovarianceRoot(keras.layers.Layer):
    """Means of the rows of the square root of the channels' covariance: [N, H, W, C] -> [N, 1, 1, C] (Eqs. 6 to 11).

    The root is computed by Newton and Schulz's iteration from the covariance divided by its trace.
    """

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        n, height, width, channels = ops.shape(x)
        centred = ops.reshape(x - ops.mean(x, axis=(1, 2), keepdims=True), (n, height * width, channels))
        squares = ops.sum(centred * centred, axis=2, keepdims=True)
        unit = centred * ops.rsqrt(ops.maximum(ops.sum(squares, axis=1, keepdims=True), 1e-12))
        a = ops.matmul(ops.transpose(unit, (0, 2, 1)), unit)  # the covariance divided by its trace
        three = ops.convert_to_tensor(3.0 * np.eye(x.shape[-1], dtype=np.float32), x.dtype)
        z = 0.5 * (three - a)
        y = ops.matmul(a, z)
        for _ in range(ITERATIONS - 2):
            correction = 0.5 * (three - ops.matmul(z, y))
            y, z = ops.matmul(y, correction), ops.matmul(correction, z)
        root = 0.5 * ops.matmul(y, three - ops.matmul(z, y)) * ops.sqrt(ops.mean(squares, axis=1, keepdims=True))
        return ops.reshape(ops.mean(root, axis=1), (n, 1, 1, channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], 1, 1, input_shape[-1])


@keras.saving.register_keras_serializable("mobile_sr")
class RegionAttention(keras.layers.Layer):
    """Attention among all pixels of each quarter of the image: queries, keys and values [N, H, W, C] -> [N, H, W, C] (Eq. 4).

    H and W are at least 2; the first quarter has H // 2 rows and W // 2 columns.
    """

    def call(self, inputs: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
        height, width = (side // 2 for side in ops.shape(inputs[0])[1:3])
        rows = []
        for upper in (True, False):
            half = [x[:, :height] if upper else x[:, height:] for x in inputs]
            left, right = ([x[:, :, :width] for x in half], [x[:, :, width:] for x in half])
            rows.append(ops.concatenate([self._attend(*left), self._attend(*right)], axis=2))
        return ops.concatenate(rows, axis=1)

    def _attend(self, query: keras.KerasTensor, key: keras.KerasTensor, value: keras.KerasTensor) -> keras.KerasTensor:
        n, height, width, channels = ops.shape(query)
        query, key, value = (ops.reshape(x, (n, height * width, channels)) for x in (query, key, value))
        weights = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1))), axis=-1)
        return ops.reshape(ops.matmul(weights, value), (n, height, width, channels))

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        return input_shape[0]


@keras.saving.register_keras_serializable("mobile_sr")
class ShareSource(keras.layers.Layer):
    """Multiplies by one trained factor that starts at 0 (Eq. 3): [N, H, W, C] -> [N, H, W, C]."""

    def build(self, input_shape: Shape) -> None:
        self.gamma = self.add_weight(shape=(1,), initializer="zeros", name="gamma")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return x * self.gamma

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


def build(
    scale: int = 2,
    output_activation: str = "clipped_relu",
    channels: int = 64,
    groups: int = 20,
    blocks: int = 10,
    reduction: int = 16,
) -> keras.Model:
    """SAN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 15,676,871 parameters at x2.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, a multiple of 8.
        groups: number of residual groups.
        blocks: number of residual blocks in each group.
        reduction: factor by which the channel attention reduces the channels.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)

    def non_local(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        parts = [conv1x1(x, channels // 8, f"{name}_{part}") for part in ("theta", "phi", "g")]
        y = RegionAttention(name=f"{name}_attention")(parts)
        return keras.layers.Add(name=name)([conv1x1(y, channels, f"{name}_w"), x])

    def second_order_attention(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        y = conv(CovarianceRoot(name=f"{name}_covariance")(x), channels // reduction, f"{name}_squeeze", 1, "relu")
        return keras.layers.Multiply(name=f"{name}_attention")([x, conv(y, channels, f"{name}_excite", 1, "sigmoid")])

    def group(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        y = x
        for block in range(1, blocks + 1):
            z = conv(conv(y, channels, f"{name}_block{block}_conv1", activation="relu"), channels, f"{name}_block{block}_conv2")
            y = keras.layers.Add(name=f"{name}_block{block}")([z, y])
        return keras.layers.Add(name=name)([conv(second_order_attention(y, name), channels, f"{name}_end"), x])

    lr = keras.Input((None, None, 3), name="lr")
    head = conv(Shift([-value for value in DIV2K_MEAN], name="mean")(lr), channels, "head")
    x = non_local(head, "non_local1")
    source = ShareSource(name="source")(x)
    for index in range(1, groups + 1):
        x = keras.layers.Add(name=f"shared{index}")([group(x, f"group{index}"), source])
    x = keras.layers.Add(name="body_skip")([non_local(x, "non_local2"), head])
    sr = conv(subpixel(x, scale), 3, "tail", bias_initializer=keras.initializers.Constant(list(DIV2K_MEAN)))
    if output_activation == "clipped_relu":
        sr = ClippedReLU(name="sr")(sr)
    return keras.Model(lr, sr, name=f"san_x{scale}")
