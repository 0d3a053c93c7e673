"""ECBSR in the form that is deployed: 3x3 convolutions with PReLU, and the input added before the pixel shuffle.

Paper: Zhang et al., "Edge-oriented Convolution Block for Real-time Super Resolution on Mobile Devices", ACM MM 2021. Its
network is for Y. This is the RGB version of Chao et al., CVPR 2023, whose checkpoints `import-weights` reads.
The paper's parallel branches of a convolution exist during training only; the recipes' `ecb` gives them to any network
(train_time/branches.py).
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.layers import ClippedReLU, DepthToSpace, PReLU, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv


def build(
    scale: int = 3,
    output_activation: str = "clipped_relu",
    channels: int = 16,
    blocks: int = 4,
) -> keras.Model:
    """ECBSR as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works): 11,548 / 13,723 / 16,768 parameters (M4C16), with 32 channels 41,516 /
            45,851 / 51,920 (M4C32).
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: channels of the hidden layers, C in the paper's names.
        blocks: number of 3x3 convolutions between the first and the last one, M in the paper's names.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)
    lr = keras.Input((None, None, 3), name="lr")
    x = lr
    for index in range(blocks + 1):
        x = PReLU(name=f"conv{index + 1}_prelu")(conv(x, channels, f"conv{index + 1}"))
    x = conv(x, 3 * scale * scale, "tail")
    anchor = keras.layers.Concatenate(name="anchor")([lr] * (scale * scale)) if scale > 1 else lr
    x = keras.layers.Add(name="sum")([x, anchor])
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    return keras.Model(lr, DepthToSpace(scale, name="sr")(x), name=f"ecbsr_x{scale}")


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: the number of 3x3 convolutions."""
    return config["blocks"] + 2
