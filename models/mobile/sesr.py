"""SESR in the form that is deployed: a few 3x3 convolutions between two 5x5 ones, and two long skips.

Paper: Bhardwaj et al., "Collapsible Linear Blocks for Super-Efficient Super Resolution", MLSys 2022, Fig. 2. During training,
every convolution is a wide one followed by a 1x1 convolution, and the 3x3 ones have a skip; both are collapsed afterwards.
`import-weights` collapses published checkpoints (converters/pytorch/maps/aimet.py).

The paper's network is for Y and has PReLU behind the 3x3 convolutions. The RGB network of the AIMET Model Zoo
(https://github.com/quic/aimet-model-zoo), which phones run, has ReLU there and behind the first convolution. Both forms exist
here, in RGB.

| name | options | parameters, x2 | x3 | x4 | kernels of the paper, x2 |
|---|---|---|---|---|---|
| SESR-M3 | blocks=3 | 12,988 | 19,003 | 27,424 | 8,912 |
| SESR-M5 | blocks=5 | 17,628 | 23,643 | 32,064 | 13,520 |
| SESR-M7 | blocks=7 | 22,268 | 28,283 | 36,704 | 18,128 |
| SESR-M11 | blocks=11 | 31,548 | 37,563 | 45,984 | 27,344 |
| SESR-XL | blocks=11, channels=32 | 113,772 | 125,787 | 142,608 | 105,376 |
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.layers import ClippedReLU, DepthToSpace, PReLU, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv

ACTIVATIONS = ("relu", "prelu")


def build(
    scale: int = 2,
    output_activation: str = "clipped_relu",
    channels: int = 16,
    blocks: int = 5,
    activation: str = "relu",
) -> keras.Model:
    """SESR as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works).
        output_activation: 'clipped_relu' or 'linear' (the AIMET Model Zoo's).
        channels: channels of the hidden layers, f in the paper.
        blocks: number of 3x3 convolutions, m in the paper.
        activation: 'relu' behind all convolutions but the last, or 'prelu' (the paper's) behind the 3x3 ones.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown activation.
    """
    check_output_activation(output_activation)
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be 'relu' or 'prelu', got {activation!r}")
    relu = "relu" if activation == "relu" else None
    pixels = scale * scale
    lr = keras.Input((None, None, 3), name="lr")
    head = x = conv(lr, channels, "head", 5, relu)
    for index in range(blocks):
        x = conv(x, channels, f"conv{index + 1}", activation=relu)
        if relu is None:
            x = PReLU(name=f"conv{index + 1}_prelu")(x)
    x = conv(keras.layers.Add(name="body_skip")([x, head]), 3 * pixels, "tail", 5)
    anchor = keras.layers.Concatenate(name="anchor")([lr] * pixels) if pixels > 1 else lr
    x = keras.layers.Add(name="sum")([x, anchor])
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    return keras.Model(lr, DepthToSpace(scale, name="sr")(x), name=f"sesr_x{scale}")


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: 2 for head and tail each, 1 for each 3x3 convolution."""
    return config["blocks"] + 4
