"""ETDS in the form that is deployed: a plain chain of 3x3 convolutions with ReLU.

Paper: Chao et al., "Equivalent Transformation and Dual Stream Network Construction for Mobile Image Super-Resolution",
CVPR 2023; the layers are those of the authors' code, https://github.com/ECNUSR/ETDS. It is trained as two streams: one
carries the image with a few channels (three in the published networks), the other refines it. The streams then become one
chain of wider convolutions with the same output. In the authors' code a 1x1 convolution between two ReLUs clips the output.
Here the clip is an activation of the last convolution: the same function with one operator less.

| name | size | channels | blocks | parameters, x2 | x3 | x4 |
|---|---|---|---|---|---|---|
| ETDS-T | M5C16 | 16 | 5 | 13,788 | 15,963 | 19,008 |
| ETDS-S | M4C32 | 32 | 4 | 41,356 | 45,691 | 51,760 |
| ETDS-M | M6C32 | 32 | 6 | 59,852 | 64,187 | 70,256 |
| ETDS-L | M7C48 | 48 | 7 | 152,028 | 158,523 | 167,616 |

The paper counts the clip's weights, too: at x3 16,920, 46,792, 65,288 and 159,768. `import-weights` reads the authors'
checkpoints, as trained and as deployed (converters/pytorch/maps/mobile.py).
"""

from collections.abc import Mapping
from typing import Any

import keras

from mobile_sr.models.layers import GRAY, ClippedReLU, DepthToSpace, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv


def build(
    scale: int = 3,
    output_activation: str = "clipped_relu",
    channels: int = 32,
    blocks: int = 4,
) -> keras.Model:
    """ETDS as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works).
        output_activation: 'clipped_relu' (the paper's) or 'linear'.
        channels: channels of the hidden layers, C in the paper's names.
        blocks: number of 3x3 convolutions between the first and the last one, M in the paper's names.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)
    lr = keras.Input((None, None, 3), name="lr")
    x = conv(lr, channels, "head", activation="relu")
    for index in range(blocks):
        x = conv(x, channels, f"conv{index + 1}", activation="relu")
    x = conv(x, 3 * scale * scale, "tail", bias_initializer=GRAY)
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    return keras.Model(lr, DepthToSpace(scale, name="sr")(x), name=f"etds_x{scale}")


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: the number of 3x3 convolutions."""
    return config["blocks"] + 2
