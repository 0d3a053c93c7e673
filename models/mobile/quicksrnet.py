"""QuickSRNet: 3x3 convolutions with a ReLU clipped to 0..1, which start as the identity.

Paper: Berger et al., "QuickSRNet: Plain Single-Image Super-Resolution Architecture for Faster Inference on Mobile Platforms",
CVPRW 2023; the layers are those of https://github.com/quic/aimet-model-zoo (aimet_zoo_torch/common/super_resolution). Every
convolution starts as the identity plus the usual random weights: without these, the network starts as nearest-neighbour
upscaling. QuickSRNet-Large adds the input to the output, through a trained 1x1 convolution.

| name | options | parameters, x2 | x3 | x4 |
|---|---|---|---|---|
| QuickSRNet-S | channels=32, blocks=2 | 22,860 | 27,195 | 33,264 |
| QuickSRNet-M | channels=32, blocks=5 | 50,604 | 54,939 | 61,008 |
| QuickSRNet-L | channels=64, blocks=11, anchor=True | 414,972 | 423,687 | 435,888 |

The published networks also have a scale of 1.5, which is not supported here.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from mobile_sr.models.layers import ClippedReLU, DepthToSpace, Shape, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv


@keras.saving.register_keras_serializable("mobile_sr")
class IdentityStart(keras.initializers.Initializer):
    """Initial kernel [k, k, C_in, C_out]: output channel o copies input channel o % period, plus random weights.

    Args:
        period: number of input channels that are copied; the output channels beyond it, too, if `repeats`.
        repeats: whether the copies repeat, as in front of depth_to_space, or occur once.
        noise: bound of the uniform random weights, as a multiple of 1 / sqrt(k * k * C_in); 1 is PyTorch's default.
    """

    def __init__(self, period: int, repeats: bool = False, noise: float = 1.0) -> None:
        self.period, self.repeats, self.noise = period, repeats, noise

    def __call__(self, shape: Shape, dtype: str | None = None) -> keras.KerasTensor:
        taps = np.zeros(shape, np.float32)
        for output in range(shape[-1] if self.repeats else min(self.period, shape[-1])):
            taps[shape[0] // 2, shape[1] // 2, output % self.period, output] = 1.0
        bound = self.noise / float(np.prod(shape[:-1])) ** 0.5
        return ops.convert_to_tensor(taps, dtype=dtype) + keras.random.uniform(shape, -bound, bound, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {"period": self.period, "repeats": self.repeats, "noise": self.noise}


def build(
    scale: int = 2,
    output_activation: str = "clipped_relu",
    channels: int = 32,
    blocks: int = 2,
    anchor: bool = False,
) -> keras.Model:
    """QuickSRNet as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works).
        output_activation: 'clipped_relu' (the paper's) or 'linear'.
        channels: channels of the hidden layers.
        blocks: number of convolutions between the first and the last.
        anchor: whether a 1x1 convolution of the input is added before the clip (QuickSRNet-Large).
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output activation.
    """
    check_output_activation(output_activation)
    pixels = scale * scale
    lr = keras.Input((None, None, 3), name="lr")
    x = lr
    for index in range(blocks + 1):
        start = IdentityStart(x.shape[-1])
        x = ClippedReLU(name=f"act{index + 1}")(conv(x, channels, f"conv{index + 1}", kernel_initializer=start))
    if anchor:
        copied = conv(lr, 3 * pixels, "anchor", 1, kernel_initializer=IdentityStart(3, repeats=True, noise=0.0))
        x = keras.layers.Add(name="sum")([conv(x, 3 * pixels, "tail"), copied])
    else:
        x = conv(x, 3 * pixels, "tail", kernel_initializer=IdentityStart(3, repeats=True))
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    return keras.Model(lr, DepthToSpace(scale, name="sr")(x), name=f"quicksrnet_x{scale}")


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: the number of 3x3 convolutions."""
    return config["blocks"] + 2
