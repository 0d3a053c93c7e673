"""The dilated RFDN of team whu_sigma in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, whu_sigma's section: RFDN with 64 channels, whose three stages have the dilations 1, 2 and 5.
Published for 0..1.
"""

from collections.abc import Sequence

import keras

from mobile_sr.models.ntire2022.distillation.rfdn import RECEPTIVE_FIELD, SMALLEST_SIDE, distillation_network

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 64,
    distilled: int = 32,
    attention: int = 16,
    blocks: int = 4,
    dilations: Sequence[int] = (1, 2, 5),
) -> keras.Model:
    """The dilated RFDN as a functional Keras model; 704,560 parameters at x4.

    Args:
        dilations: dilation of the 3x3 convolution of each stage.
        scale, output_activation, channels, distilled, attention, blocks: as for rfdn.build.
    Returns, Raises: as for rfdn.build.
    """
    return distillation_network(
        "dilated_rfdn", scale, output_activation, channels, distilled, attention, blocks, dilations=dilations
    )
