"""VLESR of team cceNBgdd in the NTIRE 2022 efficient super-resolution challenge, untrained.

Paper: Li et al., CVPRW 2022, cceNBgdd's section and Figs. 49-52: residual attention blocks (RAB) of light convolutions
(LConv), which are ShuffleNet's units with a progressive grouped convolution and without batch normalization. The features of
all blocks are fused from the pair in the middle outwards (FGFB). Attentions sum the weights of two global branches and a
local one (MWAB).

Neither code nor weights were published, and the report gives no sizes. Our choices:

- 64 channels; the grouped convolution has 4 groups, each of which reads the output of the previous group as well.
- The global branches pool means and maxima, with an eighth of the channels inside. The local one is a 1x1 convolution to a
  quarter of the channels, a depthwise 3x3 and a 1x1 convolution.
- Each fusion is a 1x1 convolution of two concatenated features. The features of the head are added to the result.

This gives 0.335 M parameters (Table 1: 0.339), 20.96 G FLOPs (21.11), 403.70 M activations (404.16) and 196 convolutions
(197).
"""

import keras

from mobile_sr.models.ntire2022.blocks import ChannelRange, assemble, conv, conv1x1
from mobile_sr.models.ntire2022.layers import ChannelShuffle, GlobalPool

RECEPTIVE_FIELD = None  # the attention pools over the whole image
GROUPS = 4


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 64,
    blocks: int = 4,
    units: int = 3,
) -> keras.Model:
    """VLESR as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 335,472 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels, a multiple of 8.
        blocks: number of blocks, an even number.
        units: number of units in a block.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation or channels or blocks that are not such multiples.
    """
    if blocks < 2 or blocks % 2:
        raise ValueError(f"blocks must be even, got {blocks}")
    if channels % 8:
        raise ValueError(f"channels must be a multiple of 8, got {channels}")

    def body(x: keras.KerasTensor) -> keras.KerasTensor:
        outputs = []
        for index in range(1, blocks + 1):
            x = _block(x, units, f"block{index}")
            outputs.append(x)
        pairs = [_joined([outputs[k], outputs[-1 - k]], f"pair{k + 1}") for k in range(blocks // 2)]
        x = pairs.pop()
        while pairs:
            x = _joined([pairs[-1], x], f"from_pair{len(pairs)}")
            pairs.pop()
        return _attention(x, "fused")

    return assemble("vlesr", scale, output_activation, channels, body)


def _joined(parts: list[keras.KerasTensor], name: str) -> keras.KerasTensor:
    return conv1x1(keras.layers.Concatenate(name=f"{name}_concat")(parts), parts[0].shape[-1], name)


def _block(x: keras.KerasTensor, units: int, name: str) -> keras.KerasTensor:
    """A RAB: units (LRCB) of two light convolutions with a skip, joined with their input; an attention and a skip."""
    y = x
    for index in range(1, units + 1):
        unit = f"{name}_unit{index}"
        z = y
        for step in (1, 2):
            z = keras.layers.ReLU(name=f"{unit}_act{step}")(_light_conv(z, f"{unit}_conv{step}"))
        y = _joined([keras.layers.Add(name=f"{unit}_sum")([z, y]), y], unit)
    return keras.layers.Add(name=name)([_attention(y, f"{name}_attention"), x])


def _light_conv(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """LConv: a progressive grouped 1x1 convolution, a channel shuffle, a depthwise 3x3 and a 1x1 convolution."""
    width = x.shape[-1] // GROUPS
    parts: list[keras.KerasTensor] = []
    for group in range(GROUPS):
        part = ChannelRange(group * width, (group + 1) * width, name=f"{name}_group{group + 1}_in")(x)
        if parts:
            part = keras.layers.Concatenate(name=f"{name}_group{group + 1}_concat")([part, parts[-1]])
        parts.append(conv1x1(part, width, f"{name}_group{group + 1}"))
    y = ChannelShuffle(GROUPS, name=f"{name}_shuffle")(keras.layers.Concatenate(name=f"{name}_concat")(parts))
    y = keras.layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depthwise")(y)
    return conv1x1(y, x.shape[-1], f"{name}_mix")


def _attention(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """MWAB: multiplies x by the sigmoid of the sum of two global weights and a local one."""
    channels = x.shape[-1]
    weights = []
    for kind in ("mean", "maximum"):
        squeezed = conv(GlobalPool(kind, name=f"{name}_{kind}")(x), channels // 8, f"{name}_{kind}_squeeze", 1, "relu")
        weights.append(conv1x1(squeezed, channels, f"{name}_{kind}_excite"))
    y = conv1x1(x, channels // 4, f"{name}_local_reduce")
    y = keras.layers.DepthwiseConv2D(3, padding="same", name=f"{name}_local_depthwise")(y)
    weights.append(conv1x1(y, channels, f"{name}_local_expand"))
    total = keras.layers.Add(name=f"{name}_sum")([weights[2], keras.layers.Add(name=f"{name}_global")(weights[:2])])
    return keras.layers.Multiply(name=name)([x, keras.layers.Activation("sigmoid", name=f"{name}_mask")(total)])
