"""Building blocks shared by the networks of the NTIRE 2022 efficient super-resolution challenge.

Challenge: Li et al., "NTIRE 2022 Challenge on Efficient Super-Resolution: Methods and Results", CVPRW 2022. Most of them use
the attention ESA, from Liu et al., "Residual Feature Aggregation Network for Image Super-Resolution", CVPR 2020, Sec. 3.3.

Except for the sigmoids, every network here is positively homogeneous in its features and biases. A network published for
images in 0..255 is therefore the same network for 0..1 after its biases are divided by 255 and the kernels before its sigmoids
multiplied by 255 (converters/pytorch/keras_weights.py). No network here needs a data range.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops
from keras.src import backend

from mobile_sr.models.layers import ClippedReLU, DepthToSpace, Shape, check_output_activation

Block = Callable[[keras.KerasTensor, str], keras.KerasTensor]  # block(x, name)
Convolution = Callable[..., keras.KerasTensor]  # convolution(x, filters, name, options of keras.layers.Conv2D)


@keras.saving.register_keras_serializable("mobile_sr")
class ResizeLike(keras.layers.Layer):
    """Resizes the first of two inputs to the height and width of the second: [N, h, w, C], [N, H, W, K] -> [N, H, W, C].

    Bilinear with half-pixel centers and without antialiasing, as PyTorch's interpolate(mode="bilinear", align_corners=False)
    and RESIZE_BILINEAR with half_pixel_centers in a .tflite.
    """

    def call(self, inputs: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
        x, like = inputs
        size = ops.shape(like)[1:3]
        # keras.ops.image.resize compares the size with 0, which fails while TensorFlow traces a dynamic size.
        return backend.image.resize(x, size, interpolation="bilinear", data_format="channels_last")

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        x, like = input_shape
        return (*like[:3], x[-1])


@keras.saving.register_keras_serializable("mobile_sr")
class EdgePad(keras.layers.Layer):
    """Pads by repeating the border: [N, H, W, C] -> [N, H + 2, W + 2, C].

    Before a max-pooling this equals PyTorch's padding with -inf, because the repeated pixel is in the same window.
    """

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return edge_pad(x)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        n, h, w, c = input_shape
        return (n, h and h + 2, w and w + 2, c)


def edge_pad(x: keras.KerasTensor) -> keras.KerasTensor:
    """Repeats the border rows and columns once: [N, H, W, C] -> [N, H + 2, W + 2, C]."""
    x = ops.concatenate([x[:, :1], x, x[:, -1:]], axis=1)
    return ops.concatenate([x[:, :, :1], x, x[:, :, -1:]], axis=2)


@keras.saving.register_keras_serializable("mobile_sr")
class ChannelRange(keras.layers.Layer):
    """Selects the channels first..last - 1: [N, H, W, C] -> [N, H, W, last - first]."""

    def __init__(self, first: int, last: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first, self.last = first, last

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return x[..., self.first : self.last]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.last - self.first)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "first": self.first, "last": self.last}


def conv(
    x: keras.KerasTensor,
    filters: int,
    name: str,
    kernel_size: int | tuple[int, int] = 3,
    activation: str | None = None,
    **options: Any,
) -> keras.KerasTensor:
    """Applies a Conv2D, by default with SAME padding and stride 1.

    Args:
        x: [N, H, W, C].
        filters: output channels.
        name: name of the layer.
        kernel_size: int or (height, width).
        activation: None, 'relu' or 'sigmoid'.
        options: further arguments of keras.layers.Conv2D.
    """
    options.setdefault("padding", "same")
    options.setdefault("kernel_initializer", "glorot_uniform")
    return keras.layers.Conv2D(filters, kernel_size, activation=activation, name=name, **options)(x)


def conv1x1(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """Applies a 1x1 convolution; arguments as for `conv`."""
    return conv(x, filters, name, 1)


def linear(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """Applies a 1x1 convolution that is a linear layer in the published network; counts.py recognizes it by its name."""
    return conv(x, filters, f"{name}_linear", 1)


def blueprint_conv(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """Applies a blueprint-separable convolution: 1x1, then depthwise 3x3 (Haase and Amthor, CVPR 2020, BSConv-U)."""
    x = linear(x, filters, name)
    return keras.layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depthwise")(x)


def leaky(x: keras.KerasTensor, name: str, slope: float = 0.05) -> keras.KerasTensor:
    """Applies LeakyReLU: x if x > 0, slope * x otherwise."""
    return keras.layers.LeakyReLU(negative_slope=slope, name=name)(x)


def silu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Applies SiLU, x * sigmoid(x)."""
    return keras.layers.Activation("silu", name=name)(x)


def gelu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Applies the exact GELU, x * P(X < x) for the normal distribution, not its approximation by tanh."""
    return keras.layers.Activation(_gelu, name=name)(x)


@keras.saving.register_keras_serializable("mobile_sr")
def _gelu(x: keras.KerasTensor) -> keras.KerasTensor:
    return keras.activations.gelu(x, approximate=False)


# ESA --------------------------------------------------------------------------------------------------------------------------


def esa(
    x: keras.KerasTensor,
    width: int,
    name: str,
    coarse: Convolution,
    one: Convolution = conv1x1,
    skip: bool = True,
    gate: str = "sigmoid",
) -> keras.KerasTensor:
    """Enhanced spatial attention (Liu et al., CVPR 2020, Fig. 4): multiplies x by a mask computed at low resolution.

    Args:
        x: [N, H, W, C]; H and W at least SMALLEST_SIDE if `coarse` uses `strided`.
        width: channels inside.
        name: prefix of the layers' names.
        coarse: function(features [N, H, W, width], width, name) -> the same channels at a lower resolution.
        one: `conv1x1`, or `linear` if the published network has linear layers.
        skip: whether a 1x1 convolution is applied to the features that are added to those of the low resolution.
        gate: 'sigmoid' or 'hard_sigmoid'.
    Returns: [N, H, W, C].
    """
    reduced = one(x, width, f"{name}_reduce")
    low = ResizeLike(name=f"{name}_resize")([coarse(reduced, width, name), reduced])
    total = keras.layers.Add(name=f"{name}_sum")([low, one(reduced, width, f"{name}_skip") if skip else reduced])
    mask = keras.layers.Activation(gate, name=f"{name}_mask")(one(total, x.shape[-1], f"{name}_expand"))
    return keras.layers.Multiply(name=name)([x, mask])


def pixel_attention(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Multiplies x by a mask of its own 1x1 convolution (Zhao et al., ECCVW 2020, Fig. 2): [N, H, W, C] -> [N, H, W, C]."""
    mask = keras.layers.Activation("sigmoid", name=f"{name}_mask")(conv1x1(x, x.shape[-1], f"{name}_conv"))
    return keras.layers.Multiply(name=name)([x, mask])


SMALLEST_SIDE = 15  # LR pixels; after a 3x3 convolution with stride 2 the 7x7 pooling needs a whole window


def strided(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    """Reduces to ESA's low resolution: 3x3 with stride 2, then 7x7 max-pooling with stride 3, both without padding."""
    x = conv(x, width, f"{name}_stride", strides=2, padding="valid")
    return keras.layers.MaxPooling2D(7, 3, name=f"{name}_pool")(x)


def coarse_three(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    """ESA's low-resolution part as published: `strided`, 3x3 ReLU, 3x3 ReLU, 3x3."""
    x = conv(strided(x, width, name), width, f"{name}_conv1", activation="relu")
    return conv(conv(x, width, f"{name}_conv2", activation="relu"), width, f"{name}_conv3")


def coarse_one(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    """ESA's low-resolution part in RLFN: `strided`, 3x3."""
    return conv(strided(x, width, name), width, f"{name}_conv1")


def coarse_two(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    """ESA's low-resolution part in EFDN: 7x7 max-pooling with stride 7, two parallel 3x3 ReLU, 3x3 of both."""
    x = keras.layers.MaxPooling2D(7, 7, name=f"{name}_pool")(EdgePad(name=f"{name}_pad")(x))
    both = [conv(x, width, f"{name}_conv{k}", activation="relu") for k in (1, 2)]
    return conv(keras.layers.Concatenate(name=f"{name}_concat")(both), width, f"{name}_conv3")


# Blocks and whole networks ----------------------------------------------------------------------------------------------------


def distillation_block(
    x: keras.KerasTensor,
    distilled: int,
    name: str,
    attention: Block,
    residual: bool = True,
    one: Convolution = conv1x1,
    three: Convolution | Sequence[Convolution] = conv,
    act: Block = leaky,
    dilations: Sequence[int] = (1, 1, 1),
    fuse: Convolution | None = None,
    last: Convolution | None = None,
) -> keras.KerasTensor:
    """RFDN's block (Liu et al., ECCVW 2020, Fig. 2): stages that each set `distilled` channels aside, then attention.

    Args:
        x: [N, H, W, C].
        distilled: channels that each stage sets aside.
        name: prefix of the layers' names.
        attention: function(x, name).
        residual: whether the 3x3 convolutions of the stages have a skip.
        one: function(x, filters, name) for the 1x1 convolutions.
        three: function(x, filters, name) for the 3x3 convolutions, or one for each stage.
        act: function(x, name) for the activations.
        dilations: dilation of the 3x3 convolution of each stage; their number is that of the stages.
        fuse: as `one`, for the 1x1 convolution of all that was set aside; None for `one`.
        last: as `three`, for the last 3x3 convolution; None for that of the first stage.
    Returns: [N, H, W, C].
    """
    channels, kept = x.shape[-1], []
    refine = [three] * len(dilations) if callable(three) else three
    for stage, dilation in enumerate(dilations, 1):
        prefix = f"{name}_stage{stage}"
        kept.append(act(one(x, distilled, f"{prefix}_distill"), f"{prefix}_distilled"))
        dilated = {"dilation_rate": dilation} if dilation > 1 else {}
        y = refine[stage - 1](x, channels, f"{prefix}_refine", **dilated)
        x = act(keras.layers.Add(name=f"{prefix}_sum")([y, x]) if residual else y, f"{prefix}_refined")
    prefix = f"{name}_stage{len(dilations) + 1}"
    kept.append(act((last or refine[0])(x, distilled, prefix), f"{prefix}_refined"))
    x = (fuse or one)(keras.layers.Concatenate(name=f"{name}_concat")(kept), channels, f"{name}_fuse")
    return attention(x, f"{name}_esa")


def in_a_row(block: Block, blocks: int) -> Callable[[keras.KerasTensor], keras.KerasTensor]:
    """Returns a body for `assemble`: consecutive blocks block1, block2, ... and a 3x3 convolution.

    Args:
        block: function(x, name).
        blocks: number of blocks.
    """

    def body(x: keras.KerasTensor) -> keras.KerasTensor:
        channels = x.shape[-1]
        for index in range(blocks):
            x = block(x, f"block{index + 1}")
        return conv(x, channels, "body")

    return body


def all_fused(
    blocks: Sequence[Block], one: Convolution = conv1x1, three: Convolution = conv, act: Block = leaky
) -> Callable[[keras.KerasTensor], keras.KerasTensor]:
    """Returns RFDN's body for `assemble`: consecutive blocks, a 1x1 convolution of all outputs, an activation and a 3x3.

    Args:
        blocks: functions(x, name).
        one, three, act: as for `distillation_block`.
    """

    def body(x: keras.KerasTensor) -> keras.KerasTensor:
        channels, outputs = x.shape[-1], []
        for index, block in enumerate(blocks):
            x = block(x, f"block{index + 1}")
            outputs.append(x)
        x = act(one(keras.layers.Concatenate(name="blocks_concat")(outputs), channels, "blocks_fuse"), "blocks_fused")
        return three(x, channels, "body")

    return body


def assemble(
    name: str,
    scale: int,
    output_activation: str,
    channels: int,
    body: Callable[[keras.KerasTensor], keras.KerasTensor],
    head: Callable[[keras.KerasTensor], keras.KerasTensor] | None = None,
    tail: Callable[[keras.KerasTensor], keras.KerasTensor] | None = None,
    three: Convolution = conv,
) -> keras.Model:
    """Builds the common structure of these networks: 3x3 head, body, global skip, 3x3 convolution, depth_to_space.

    Args:
        name: name of the network.
        scale: positive int.
        output_activation: 'clipped_relu' or 'linear'.
        channels: feature channels.
        body: function(features) -> features, both [N, H, W, channels].
        head: function(lr) -> features that replaces the 3x3 head.
        tail: function(features) -> SR output, not clipped, that replaces the 3x3 convolution and depth_to_space.
        three: function(x, filters, name) for the 3x3 convolutions of head and tail.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)
    lr = keras.Input((None, None, 3), name="lr")
    features = three(lr, channels, "head") if head is None else head(lr)
    x = keras.layers.Add(name="body_skip")([body(features), features])
    if tail is not None:
        sr = tail(x)
        return keras.Model(
            lr, ClippedReLU(name="sr")(sr) if output_activation == "clipped_relu" else sr, name=f"{name}_x{scale}"
        )
    x = three(x, 3 * scale * scale, "tail")
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    return keras.Model(lr, DepthToSpace(scale, name="sr")(x), name=f"{name}_x{scale}")
