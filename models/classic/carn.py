"""CARN and CARN-M: residual blocks whose outputs cascade into 1x1 convolutions, locally and globally.

Paper: Ahn et al., "Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual Network", ECCV 2018, Figs. 2 to 4.
CARN-M (`groups=4`) has efficient residual blocks, Fig. 4b: two grouped convolutions and a 1x1 convolution.

- The paper trains all scales at once, with an upsampler for each; this network has the one of its scale.
- In CARN-M, the three residual blocks of a cascade share their weights. Here each has weights of its own; imported ones are
  equal.
- The mean of DIV2K is subtracted from the input. The one that is added to the output is part of the last bias.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from mobile_sr.models import DIV2K_MEAN
from mobile_sr.models.classic.upsampling import REACH, subpixel
from mobile_sr.models.layers import ClippedReLU, DepthToSpace, GroupedConv2D, Shape, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv
from mobile_sr.models.ntire2022.layers import Shift

STAGES = (1, 2, 3)  # of a cascade


@keras.saving.register_keras_serializable("mobile_sr")
class GroupedDepthToSpace(keras.layers.Layer):
    """A DepthToSpace of each group of channels: [N, H, W, C * s * s] -> [N, H * s, W * s, C].

    Behind a grouped convolution, a pixel shuffle moves the channels of each group to pixels of C / groups channels.

    Args:
        block_size: s.
        groups: number of groups; must divide C.
    """

    def __init__(self, block_size: int, groups: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block_size, self.groups = block_size, groups

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        parts = ops.split(x, self.groups, axis=-1)
        return ops.concatenate([ops.depth_to_space(part, self.block_size) for part in parts], axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        n, h, w, c = input_shape
        s = self.block_size
        return (n, h and h * s, w and w * s, c // (s * s))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "block_size": self.block_size, "groups": self.groups}


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 64,
    cascades: int = 3,
    groups: int = 1,
    grouped_form: str | None = None,
) -> keras.Model:
    """CARN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works): 964,166 / 1,148,806 / 1,111,878 parameters, with groups=4 393,350 / 439,750 /
            430,470. The paper's 1,592K are with the upsamplers of all scales; its 412K are without biases and duplicates, too.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, a multiple of `groups`.
        cascades: number of cascading blocks.
        groups: 1 for CARN; groups of the 3x3 convolutions in CARN-M, 4 in the paper.
        grouped_form: the form of layers.GroupedConv2D; None for training, 'grouped' for export.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation, or channels that are not a multiple of `groups`.
    """
    check_output_activation(output_activation)

    def three(x: keras.KerasTensor, filters: int, name: str, activation: str | None = None) -> keras.KerasTensor:
        if groups == 1:
            return conv(x, filters, name, activation=activation)
        return GroupedConv2D(filters, 3, groups, activation=activation, form=grouped_form, name=name)(x)

    def residual(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        y = three(x, channels, f"{name}_conv1", "relu")
        if groups == 1:
            y = three(y, channels, f"{name}_conv2")
        else:
            y = conv(three(y, channels, f"{name}_conv2", "relu"), channels, f"{name}_mix", 1)
        return keras.layers.ReLU(name=name)(keras.layers.Add(name=f"{name}_sum")([y, x]))

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return _cascade(x, residual, len(STAGES), f"{name}_")

    lr = keras.Input((None, None, 3), name="lr")
    x = conv(Shift([-value for value in DIV2K_MEAN], name="mean")(lr), channels, "head")
    shuffle = DepthToSpace if groups == 1 else functools.partial(GroupedDepthToSpace, groups=groups)
    x = _cascade(x, block, cascades, "")
    x = subpixel(x, scale, convolution=functools.partial(three, activation="relu"), shuffle=shuffle)
    sr = conv(x, 3, "tail", bias_initializer=keras.initializers.Constant(list(DIV2K_MEAN)))
    if output_activation == "clipped_relu":
        sr = ClippedReLU(name="sr")(sr)
    return keras.Model(lr, sr, name=f"carn_x{scale}")


def _cascade(
    x: keras.KerasTensor, block: Callable[[keras.KerasTensor, str], keras.KerasTensor], stages: int, prefix: str
) -> keras.KerasTensor:
    """Blocks in a row; a 1x1 convolution joins the input and all blocks so far for the next one (Fig. 3)."""
    channels, parts = x.shape[-1], [x]
    for stage in range(1, stages + 1):
        parts.append(block(x, f"{prefix}block{stage}"))
        joined = keras.layers.Concatenate(name=f"{prefix}concat{stage}")(parts)
        x = conv(joined, channels, f"{prefix}fuse{stage}", 1, "relu")
    return x


def receptive_field(config: Mapping[str, int]) -> int:
    """LR pixels to each side that an output pixel depends on: 1 for the head, 2 per residual block, and the upsampler's."""
    return 1 + 2 * len(STAGES) * config["cascades"] + REACH
