"""Blocks that the networks of the NTIRE 2022 efficient super-resolution challenge share.

Challenge: Li et al., "NTIRE 2022 Challenge on Efficient Super-Resolution: Methods and Results", CVPRW 2022. The attention of
most of them is ESA, from Liu et al., "Residual Feature Aggregation Network for Image Super-Resolution", CVPR 2020, Sec. 3.3.

Every network here is positively homogeneous in its features and biases but for the sigmoids: a network published for pictures
in 0..255 is the same network in 0..1 once its biases are divided by 255 and the kernels in front of its sigmoids multiplied by
it (converters/pytorch/keras_weights.py). So none of them carries a range.
"""

import keras
from keras import ops
from keras.src import backend

from mobile_sr.models.layers import ClippedReLU, DepthToSpace, check_output_activation


@keras.saving.register_keras_serializable("mobile_sr")
class ResizeLike(keras.layers.Layer):
    """Bilinear resize of the first of two inputs to the height and width of the second.

    [N, h, w, C], [N, H, W, K] -> [N, H, W, C]. Half-pixel centers, no antialiasing: torch's interpolate(mode="bilinear",
    align_corners=False), and RESIZE_BILINEAR with half_pixel_centers in a .tflite.
    """

    def call(self, inputs):
        x, like = inputs
        size = ops.shape(like)[1:3]
        # keras.ops.image.resize compares the size with 0, which it cannot while TensorFlow traces a dynamic one.
        return backend.image.resize(x, size, interpolation="bilinear", data_format="channels_last")

    def compute_output_shape(self, input_shape):
        x, like = input_shape
        return (*like[:3], x[-1])


@keras.saving.register_keras_serializable("mobile_sr")
class EdgePad(keras.layers.Layer):
    """Repeats the border: [N, H, W, C] -> [N, H + 2, W + 2, C].

    In front of a max-pooling it is the padding with -inf that torch's has: the neighbour is in the same window.
    """

    def call(self, x):
        return edge_pad(x)

    def compute_output_shape(self, input_shape):
        n, h, w, c = input_shape
        return (n, h and h + 2, w and w + 2, c)


def edge_pad(x):
    """The tensor with its border rows and columns repeated once."""
    x = ops.concatenate([x[:, :1], x, x[:, -1:]], axis=1)
    return ops.concatenate([x[:, :, :1], x, x[:, :, -1:]], axis=2)


@keras.saving.register_keras_serializable("mobile_sr")
class ChannelRange(keras.layers.Layer):
    """Channels first..last - 1: [N, H, W, C] -> [N, H, W, last - first]."""

    def __init__(self, first, last, **kwargs):
        super().__init__(**kwargs)
        self.first, self.last = first, last

    def call(self, x):
        return x[..., self.first : self.last]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.last - self.first)

    def get_config(self):
        return {**super().get_config(), "first": self.first, "last": self.last}


def conv(x, filters, name, kernel_size=3, activation=None, **options):
    """A convolution, SAME padding and stride 1 unless told otherwise; activation None, 'relu' or 'sigmoid'."""
    options.setdefault("padding", "same")
    options.setdefault("kernel_initializer", "glorot_uniform")
    return keras.layers.Conv2D(filters, kernel_size, activation=activation, name=name, **options)(x)


def conv1x1(x, filters, name):
    """A 1x1 convolution."""
    return conv(x, filters, name, 1)


def linear(x, filters, name):
    """A 1x1 convolution that the published network calculates as a linear layer; counts.py knows it by its name."""
    return conv(x, filters, f"{name}_linear", 1)


def blueprint_conv(x, filters, name):
    """Blueprint-separable convolution: 1x1, then 3x3 within each channel (Haase and Amthor, CVPR 2020, BSConv-U)."""
    x = linear(x, filters, name)
    return keras.layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depthwise")(x)


def leaky(x, name, slope=0.05):
    """x where x > 0, slope * x elsewhere."""
    return keras.layers.LeakyReLU(negative_slope=slope, name=name)(x)


def gelu(x, name):
    """x * P(X < x) of the normal distribution, exact: not the approximation by tanh."""
    return keras.layers.Activation(_gelu, name=name)(x)


@keras.saving.register_keras_serializable("mobile_sr")
def _gelu(x):
    return keras.activations.gelu(x, approximate=False)


# ESA --------------------------------------------------------------------------------------------------------------------------


def esa(x, width, name, coarse, one=conv1x1):
    """Enhanced spatial attention (Liu et al., CVPR 2020, Fig. 4): x times a mask that is found at low resolution.

    Args:
        x: [N, H, W, C]; H and W at least SMALLEST_SIDE with `strided` in `coarse`.
        width: channels inside.
        coarse: function(features [N, H, W, width], width, name) -> the same channels at a lower resolution.
        one: `conv1x1`, or `linear` where the published network has linear layers.
    Returns: [N, H, W, C].
    """
    reduced = one(x, width, f"{name}_reduce")
    low = ResizeLike(name=f"{name}_resize")([coarse(reduced, width, name), reduced])
    total = keras.layers.Add(name=f"{name}_sum")([low, one(reduced, width, f"{name}_skip")])
    mask = keras.layers.Activation("sigmoid", name=f"{name}_mask")(one(total, x.shape[-1], f"{name}_expand"))
    return keras.layers.Multiply(name=name)([x, mask])


SMALLEST_SIDE = 15  # LR pixels: a 3x3 convolution of stride 2 must leave the 7x7 pooling a window


def strided(x, width, name):
    """3x3 with stride 2, then 7x7 maxima with stride 3, both without padding: what ESA's low resolution is."""
    x = conv(x, width, f"{name}_stride", strides=2, padding="valid")
    return keras.layers.MaxPooling2D(7, 3, name=f"{name}_pool")(x)


def coarse_three(x, width, name):
    """ESA's own low-resolution part: `strided`, 3x3 ReLU, 3x3 ReLU, 3x3."""
    x = conv(strided(x, width, name), width, f"{name}_conv1", activation="relu")
    return conv(conv(x, width, f"{name}_conv2", activation="relu"), width, f"{name}_conv3")


def coarse_one(x, width, name):
    """RLFN's: `strided`, 3x3."""
    return conv(strided(x, width, name), width, f"{name}_conv1")


def coarse_two(x, width, name):
    """EFDN's: 7x7 maxima with stride 7, two 3x3 ReLU side by side, 3x3 of both."""
    x = keras.layers.MaxPooling2D(7, 7, name=f"{name}_pool")(EdgePad(name=f"{name}_pad")(x))
    both = [conv(x, width, f"{name}_conv{k}", activation="relu") for k in (1, 2)]
    return conv(keras.layers.Concatenate(name=f"{name}_concat")(both), width, f"{name}_conv3")


# Blocks and whole networks ----------------------------------------------------------------------------------------------------


def distillation_block(x, distilled, name, attention, residual=True, one=conv1x1, three=conv, act=leaky):
    """RFDN's block (Liu et al., ECCVW 2020, Fig. 2): three stages that each put `distilled` channels aside, then attention.

    Args:
        x: [N, H, W, C]. distilled: channels. attention: function(x, name).
        residual: whether the 3x3 convolutions of the stages have a skip.
        one, three, act: functions of its 1x1 and 3x3 convolutions (x, filters, name) and its activations (x, name).
    Returns: [N, H, W, C].
    """
    channels, kept = x.shape[-1], []
    for stage in (1, 2, 3):
        prefix = f"{name}_stage{stage}"
        kept.append(act(one(x, distilled, f"{prefix}_distill"), f"{prefix}_distilled"))
        y = three(x, channels, f"{prefix}_refine")
        x = act(keras.layers.Add(name=f"{prefix}_sum")([y, x]) if residual else y, f"{prefix}_refined")
    kept.append(act(three(x, distilled, f"{name}_stage4"), f"{name}_stage4_refined"))
    x = one(keras.layers.Concatenate(name=f"{name}_concat")(kept), channels, f"{name}_fuse")
    return attention(x, f"{name}_esa")


def in_a_row(block, blocks):
    """A body for `assemble`: block(x, name) so many times, named block1, block2, ..., and a 3x3 convolution."""

    def body(x):
        channels = x.shape[-1]
        for index in range(blocks):
            x = block(x, f"block{index + 1}")
        return conv(x, channels, "body")

    return body


def all_fused(block, blocks, one=conv1x1, three=conv, act=leaky):
    """RFDN's body for `assemble`: as `in_a_row`, of all blocks' outputs: 1x1 of their concatenation and an activation."""

    def body(x):
        channels, outputs = x.shape[-1], []
        for index in range(blocks):
            x = block(x, f"block{index + 1}")
            outputs.append(x)
        x = act(one(keras.layers.Concatenate(name="blocks_concat")(outputs), channels, "blocks_fuse"), "blocks_fused")
        return three(x, channels, "body")

    return body


def assemble(name, scale, output_activation, channels, body, head=None):
    """The frame of these networks: 3x3 head, body, global skip, 3x3 to the picture's pixels, depth_to_space.

    Args:
        name: of the network. body: function(features) -> features, both [N, H, W, channels].
        head: function(lr) -> features in place of the 3x3.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for another output activation.
    """
    check_output_activation(output_activation)
    lr = keras.Input((None, None, 3), name="lr")
    features = conv(lr, channels, "head") if head is None else head(lr)
    x = keras.layers.Add(name="body_skip")([body(features), features])
    x = conv(x, 3 * scale * scale, "tail")
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    return keras.Model(lr, DepthToSpace(scale, name="sr")(x), name=f"{name}_x{scale}")
