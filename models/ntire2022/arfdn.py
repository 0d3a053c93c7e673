"""ARFDN of team HiImageTeam, third of the complexity track of the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, Sec. 4.6: RFDN whose 3x3 convolutions are pairs of 3x1 and 1x3, in both orders. Published for
0..1.
"""

import keras

from mobile_sr.models.ntire2022.blocks import SMALLEST_SIDE, all_fused, assemble, coarse_three, conv, conv1x1, esa, leaky

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]
RECEPTIVE_FIELD = None  # the attention's low resolution lies on the picture as a whole


def build(scale=4, output_activation="clipped_relu", channels=50, distilled=25, attention=12, blocks=4):
    """ARFDN as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works); 241,548 parameters at x4.
        output_activation: 'clipped_relu' or 'linear' (the paper's).
        channels, distilled, attention: between the blocks, inside them, inside ESA. blocks: how many.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]; H and W at least 15.
    Raises: ValueError for another output activation.
    """

    def crossed(x, name):
        """3x1 then 1x3, and 1x3 then 3x1."""
        found = []
        for side, sizes in (("l", ((3, 1), (1, 3))), ("m", ((1, 3), (3, 1)))):
            y = leaky(conv(x, distilled, f"{name}_{side}1", sizes[0]), f"{name}_{side}_act")
            found.append(conv(y, distilled, f"{name}_{side}2", sizes[1]))
        return found

    def block(x, name):
        kept, previous = [], []
        for stage in (1, 2, 3):
            prefix = f"{name}_stage{stage}"
            kept.append(leaky(conv1x1(x, distilled, f"{prefix}_distill"), f"{prefix}_distilled"))
            total = keras.layers.Add(name=f"{prefix}_sum")([*crossed(x, prefix), *previous, *kept[::-1]])
            x = leaky(total, f"{prefix}_refined")
            previous = [x]
        kept.append(leaky(conv(x, distilled, f"{name}_stage4"), f"{name}_stage4_refined"))
        x = conv1x1(keras.layers.Concatenate(name=f"{name}_concat")(kept), channels, f"{name}_fuse")
        return esa(x, attention, f"{name}_esa", coarse_three)

    def wide_leaky(x, name):
        return leaky(x, name, 0.1)

    return assemble("arfdn", scale, output_activation, channels, all_fused(block, blocks, act=wide_leaky))
