"""The network of team Express in the NTIRE 2022 efficient super-resolution challenge, untrained.

Paper: Li et al., CVPRW 2022, Express's section and Fig. 55: RFDN whose 3x3 convolutions with a skip were replaced by operations
that a differentiable search found (Liu et al., "DARTS", ICLR 2019): three separable convolutions in each block. Such a
convolution is a ReLU, a depthwise and a 1x1 convolution, all of that twice.

Neither code nor weights were published, and the text that we have lacks the sizes. With 6 blocks, 48 channels, 24 of them set
aside by a stage, 12 in the attention and separable convolutions of 3x3, 5x5 and 7x7 without biases, all figures of Table 1 are
reached. The order of the three kernels is our choice.
"""

from collections.abc import Sequence

import keras

from mobile_sr.models.ntire2022.blocks import (
    SMALLEST_SIDE,
    Convolution,
    all_fused,
    assemble,
    coarse_three,
    conv,
    distillation_block,
    esa,
)

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]
RECEPTIVE_FIELD = None  # the grid of the attention's low resolution is aligned with the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 48,
    distilled: int = 24,
    attention: int = 12,
    blocks: int = 6,
    kernels: Sequence[int] = (7, 5, 3),
) -> keras.Model:
    """Express's network as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 338,592 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        distilled: channels that each stage sets aside.
        attention: channels inside ESA.
        blocks: number of blocks.
        kernels: side of the kernels of the separable convolution of each of the three stages.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15.
    Raises: ValueError for an unknown output activation.
    """

    def attend(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return esa(x, attention, name, coarse_three)

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return distillation_block(x, distilled, name, attend, three=[_separable(size) for size in kernels], last=conv)

    return assemble("nas_rfdn", scale, output_activation, channels, all_fused([block] * blocks))


def _separable(kernel_size: int) -> Convolution:
    """Returns a function(x, filters, name) that applies a separable convolution with kernels of one size."""

    def apply(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
        for step in (1, 2):
            x = keras.layers.ReLU(name=f"{name}_act{step}")(x)
            depthwise = keras.layers.DepthwiseConv2D(
                kernel_size, padding="same", use_bias=False, name=f"{name}_depthwise{step}"
            )
            x = conv(depthwise(x), filters, f"{name}_mix{step}", 1, use_bias=False)
        return x

    return apply
