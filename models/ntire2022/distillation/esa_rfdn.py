"""The network of team Alpan in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, Alpan's section: blocks of 3x3 convolutions with a skip, each followed by its own ESA; a block
joins its input and all of its features, and ends in one more ESA. Published for 0..1.
"""

import keras

from mobile_sr.models.ntire2022.blocks import SMALLEST_SIDE, all_fused, assemble, coarse_three, conv, conv1x1, esa, leaky

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]
RECEPTIVE_FIELD = None  # the grid of the attention's low resolution is aligned with the whole image


def build(
    scale: int = 4,
    output_activation: str = "clipped_relu",
    channels: int = 32,
    attention: int = 16,
    stages: int = 3,
    blocks: int = 4,
) -> keras.Model:
    """Alpan's network as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 325,616 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels: feature channels.
        attention: channels inside ESA.
        stages: 3x3 convolutions of a block.
        blocks: number of blocks.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15.
    Raises: ValueError for an unknown output activation.
    """

    def block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        kept = [x]
        for stage in range(1, stages + 1):
            prefix = f"{name}_stage{stage}"
            y = keras.layers.Add(name=f"{prefix}_sum")([conv(x, channels, f"{prefix}_refine"), x])
            x = esa(leaky(y, f"{prefix}_refined"), attention, f"{prefix}_esa", coarse_three)
            kept.append(x)
        x = conv1x1(keras.layers.Concatenate(name=f"{name}_concat")(kept), channels, f"{name}_fuse")
        return esa(x, attention, f"{name}_esa", coarse_three)

    return assemble("esa_rfdn", scale, output_activation, channels, all_fused([block] * blocks))
