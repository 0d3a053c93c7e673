"""Instructions of int8 operators on an Arm Cortex-A76, per LR pixel: an exact cost for a search.

The figures were counted with qemu (user mode, `-cpu cortex-a76`) for single-operator int8 files run by XNNPACK of LiteRT 2.3.0
at 64x64 with one thread. Counts are the same on every machine. They are not times: a core issues several instructions per
cycle and waits for memory.

XNNPACK's convolution kernels compute 16 outputs at once and read the inputs in fours. The six constants of `convolution` were
fitted to CONVOLUTIONS by least squares of the relative errors; they reproduce every figure to within 0.8 %. Other numbers of
channels and 1x1 convolutions of few channels are extrapolated. A grouped 3x3 convolution, 32 -> 32 in 4 groups, confirms the
form: 729 counted, four times 8 -> 8 estimated 740.
"""

from typing import TypeAlias

import keras
from keras import ops

Number: TypeAlias = float | keras.KerasTensor

# (taps, inputs, outputs): instructions per pixel; 9 taps for 3x3. A fused ReLU changes nothing.
CONVOLUTIONS: dict[tuple[int, int, int], int] = {
    (9, 3, 16): 142,
    (9, 3, 32): 269,
    (9, 8, 8): 184,
    (9, 12, 12): 240,
    (9, 16, 16): 268,
    (9, 16, 27): 525,
    (9, 16, 32): 521,
    (9, 24, 24): 716,
    (9, 28, 28): 826,
    (9, 32, 27): 881,
    (9, 32, 32): 876,
    (9, 48, 48): 1840,
    (9, 64, 64): 3160,
    (1, 16, 16): 63,
    (1, 32, 32): 153,
    (1, 64, 64): 453,
}
FIT_ERROR = 0.008  # largest relative error of `convolution` over CONVOLUTIONS
_PIXEL = 13.0
_BLOCK = 24.6  # for each 16 outputs
_TAP = 5.58  # for each tap of each 16 outputs
_INPUT = 1.244  # the same for each input channel,
_ODD_FOUR = 1.02  # for four channels that do not make eight,
_ODD_EIGHT = 0.85  # and for eight that do not make sixteen
_OUTPUTS, _INPUTS = 16, 4  # channels that a kernel processes at once


def convolution(taps: int, inputs: Number, outputs: Number) -> keras.KerasTensor:
    """Instructions per pixel of a convolution with stride 1. It is 0 without inputs or outputs.

    Channels are rounded up to the kernel's blocks. The gradient is that of unrounded channels: the slope of the line through
    the ends of the blocks. Within a block, the true slope would make channels free.

    Args:
        taps: 9 for 3x3, 1 for 1x1.
        inputs, outputs: channels; floats or scalar tensors with whole numbers.
    Returns: scalar float32 tensor.
    """
    blocks, fours = _blocks(outputs, _OUTPUTS), _blocks(inputs, _INPUTS)
    whole = ops.stop_gradient(fours)
    odd = _ODD_FOUR * (whole % 2) + _ODD_EIGHT * ops.floor(whole % 4 / 2)
    exists = ops.stop_gradient(ops.minimum(blocks, 1.0) * ops.minimum(fours, 1.0))
    return exists * (_PIXEL + blocks * (_BLOCK + taps * (_TAP + _INPUTS * _INPUT * fours + odd)))


def addition(channels: Number) -> Number:
    """Instructions per pixel of an addition of two tensors; 78 were counted for 32 channels."""
    return channels * (78 / 32)


def image_operators(outputs: float) -> float:
    """Instructions per LR pixel of a uint8 file's other operators.

    These are depth_to_space and the two QUANTIZE that convert uint8 images from and to int8, about 50. depth_to_space has 60 at
    x2 and 85 at x3; x4 is extrapolated.

    Args:
        outputs: channels in front of depth_to_space, 3 * scale**2.
    """
    return 50 + 40 + outputs * 25 / 15


def _blocks(channels: Number, size: int) -> keras.KerasTensor:
    """Number of blocks of `size` channels, rounded up; the gradient is 1 / size."""
    count = ops.convert_to_tensor(channels, "float32") / size
    return count + ops.stop_gradient(ops.ceil(count) - count)
